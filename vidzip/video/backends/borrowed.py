"""What a borrowed decoder is asked for: a file that was checked, the frames wanted of it, and what must come back.

Such a library is handed a file only after vidzip has opened it, and then the open file: its name means nothing. What
it gives is held against vidzip's own index; what cannot be checked is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import numpy as np
from jaxtyping import Int64, UInt8
from torch import Tensor

from vidzip.errors import DecodeError
from vidzip.video.containers import OpenVideo, open_video
from vidzip.video.geometry import shown_size
from vidzip.video.indexing import Index, index_of
from vidzip.video.limits import TimeLimit
from vidzip.video.opening import open_file
from vidzip.video.pictures import has_alpha
from vidzip.video.request import Request

_WHERE = re.compile(r"^.*\.(cc|cpp|h):\d+[:,] (\[/dev/fd/\d+\] ?)?")
"""What messages of libraries in C++ begin with: a function or a time, a line of code, and the file's name."""

_LONGEST_REASON = 200

_USE_THE_DEFAULT = "use the default decoder (auto), which reads such files"


@dataclass(frozen=True, kw_only=True, eq=False)
class Loan:
    """A file that is lent to a decoder.

    Attributes:
        library: the decoder's name, for messages.
        request: what is wanted.
        index: the file's frames.
        file: the file, open.
        frames: the number of the frame on screen at each moment, ascending, (F,).
        stream: the number of the stream of pictures among all streams.
        formats: the container's short names.
        codec: the codec's short name.
        stored: height and width of the stored pictures, turned upright, before their pixels are square.
        shown: height and width that they are shown at.
    """

    library: str
    request: Request
    index: Index
    file: BinaryIO
    frames: Int64[np.ndarray, " moments"]
    stream: int
    formats: frozenset[str]
    codec: str
    stored: tuple[int, int]
    shown: tuple[int, int]

    def refusal(self, why: str) -> DecodeError:
        """Say why the library cannot decode the file; to be raised."""
        return DecodeError(f"{self.library} cannot decode {self.request.path!r}: {why}", hint=_USE_THE_DEFAULT)

    def shape(self, pixels: UInt8[Tensor, "frames 3 height width"]) -> UInt8[Tensor, "frames 3 new_height new_width"]:
        """Bring upright pictures to the shape wanted.

        Raises:
            DecodeError: they are not of the size that the file's first picture has.
        """
        height, width = pixels.shape[-2:]
        if (height, width) != self.stored:
            raise self.refusal(f"it gives pictures of {width}x{height}, not {self.stored[1]}x{self.stored[0]}")
        return self.request.shape.apply(pixels, self.shown)


@contextmanager
def lend(
    request: Request, limit: TimeLimit, library: str, *, refused: Sequence[str] = (), believe_header: bool = True
) -> Iterator[Loan]:
    """Open a file for a decoder, and find the frames wanted.

    Args:
        request: what is wanted.
        limit: the file's clock.
        library: the decoder's name, for messages.
        refused: container formats, by FFmpeg's names, that the decoder does not get right.
        believe_header: False reads every packet for the index, which tells of keyframes that do not start anew.

    Raises:
        EndsEarly: the video ends before a moment.
        DecodeError: the file's frames cannot be told apart by their times, its pictures may be transparent, or its
            format is refused.
        VideoError: the file cannot be opened as a video.
    """
    index = index_of(request.path, believe_header=believe_header, time_limit_seconds=request.time_limit_seconds)
    frames = request.frames_on_screen(index, request.moments)
    with open_file(request.path) as file:
        with open_video(request.path, limit) as video:
            codec, turn = video.stream.codec_context, index.first.rotation
            loan = Loan(
                library=library,
                request=request,
                index=index,
                file=file,
                frames=frames,
                stream=video.stream.index,
                formats=frozenset(video.container.format.name.split(",")),
                codec=codec.codec.canonical_name,
                stored=shown_size(codec.height, codec.width, turn, Fraction(1)),
                shown=shown_size(codec.height, codec.width, turn, video.pixel_aspect),
            )
            oddity = _oddity(video)
        if wrong := sorted(loan.formats.intersection(refused)):
            raise loan.refusal(f"it gives wrong frames of containers of the format {wrong[0]}")
        if not index.is_labelled:
            raise loan.refusal("the file does not tell which frame is which, so what it gives cannot be checked")
        if oddity:
            raise loan.refusal(oddity)
        yield loan


def _oddity(video: OpenVideo) -> str:
    """Say what in the pictures others convert otherwise than vidzip; empty where there is nothing."""
    pixels = video.stream.codec_context.format
    if pixels is None:
        return "the file does not say how its pictures are stored"
    if has_alpha(pixels):
        return "its pictures may be transparent, and the library does not show them over black"
    return "it takes every grey picture for one of full range" if pixels.name.startswith("gray") else ""


def in_short(error: Exception | str) -> str:
    """Say in one line what a library said in many, without where in its code it did."""
    lines = [line.strip() for line in str(error).splitlines()]
    return _WHERE.sub("", next(filter(None, lines), "no reason is given"))[:_LONGEST_REASON]

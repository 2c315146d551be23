"""A checked file for a decoder library other than PyAV.

Such a library gets a file only after vidzip has opened it, and then the open file: its name is never used. Its results
are checked against vidzip's own index; files for which that is not possible are refused.
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
from vidzip.video.conversion import has_alpha
from vidzip.video.geometry import display_size
from vidzip.video.indexing import FrameIndex, index_frames
from vidzip.video.limits import TimeLimit
from vidzip.video.local_files import open_file
from vidzip.video.request import DecodeRequest

_LOCATION = re.compile(r"^.*\.(cc|cpp|h):\d+[:,] (\[/dev/fd/\d+\] ?)?")
"""The start of messages of C++ libraries: a function or a time, a line of code, and the file's name."""

_MAX_MESSAGE = 200


@dataclass(frozen=True, kw_only=True, eq=False)
class ExternalFile:
    """A file for an external decoder.

    Attributes:
        library: the decoder's name, for messages.
        request: the request.
        index: the file's index.
        file: the open file.
        frames: numbers of the frames on screen at the timestamps, ascending, (F,).
        stream: number of the video stream among all streams.
        formats: the container's short names.
        codec: the codec's short name.
        stored_size: height and width of the stored frames, upright.
        displayed_size: height and width of the displayed frames.
    """

    library: str
    request: DecodeRequest
    index: FrameIndex
    file: BinaryIO
    frames: Int64[np.ndarray, " timestamps"]
    stream: int
    formats: frozenset[str]
    codec: str
    stored_size: tuple[int, int]
    displayed_size: tuple[int, int]

    def error(self, reason: str) -> DecodeError:
        """Return the error to raise if the library cannot decode the file."""
        return DecodeError(
            f"{self.library} cannot decode {self.request.path!r}: {reason}",
            hint="use the default decoder (auto), which reads such files",
        )

    def resize(self, pixels: UInt8[Tensor, "frames 3 height width"]) -> UInt8[Tensor, "frames 3 new_height new_width"]:
        """Bring upright frames to the requested shape.

        Raises:
            DecodeError: their size differs from the file's first frame.
        """
        height, width = pixels.shape[-2:]
        if (height, width) != self.stored_size:
            stored_height, stored_width = self.stored_size
            raise self.error(f"it returned frames of {width}x{height}, not {stored_width}x{stored_height}")
        return self.request.shape.apply(pixels, self.displayed_size)


@contextmanager
def open_external(
    request: DecodeRequest,
    limit: TimeLimit,
    library: str,
    *,
    refused_formats: Sequence[str] = (),
    trust_header: bool = True,
) -> Iterator[ExternalFile]:
    """Open a file for a decoder, and find the wanted frames.

    Args:
        request: the request.
        limit: the file's time limit.
        library: the decoder's name, for messages.
        refused_formats: container formats, by FFmpeg's names, that the decoder gets wrong.
        trust_header: False reads every packet for the index, which finds keyframes of open groups.

    Raises:
        EndsEarly: the video ends before a timestamp.
        DecodeError: the file's timestamps are not reliable, its frames may be transparent, or its format is refused.
        VideoError: the file cannot be opened as a video.
    """
    index = index_frames(request.path, trust_header=trust_header, time_limit_seconds=request.time_limit_seconds)
    frames = request.frames_on_screen(index, request.timestamps_seconds)
    with open_file(request.path) as file:
        with open_video(request.path, limit) as video:
            codec, rotation = video.stream.codec_context, index.first.rotation
            external = ExternalFile(
                library=library,
                request=request,
                index=index,
                file=file,
                frames=frames,
                stream=video.stream.index,
                formats=frozenset(video.container.format.name.split(",")),
                codec=codec.codec.canonical_name,
                stored_size=display_size(codec.height, codec.width, rotation, Fraction(1)),
                displayed_size=display_size(codec.height, codec.width, rotation, video.pixel_aspect),
            )
            problem = _pixel_format_problem(video)
        if refused := sorted(external.formats.intersection(refused_formats)):
            raise external.error(f"it returns wrong frames for containers of the format {refused[0]}")
        if not index.has_reliable_timestamps:
            raise external.error("the file has no reliable timestamps to check its frames against")
        if problem:
            raise external.error(problem)
        yield external


def _pixel_format_problem(video: OpenVideo) -> str:
    """Return why the libraries would convert the frames differently from vidzip; empty if they would not."""
    pixels = video.stream.codec_context.format
    if pixels is None:
        return "the file has no pixel format"
    if has_alpha(pixels):
        return "its frames may be transparent, and the library does not blend them with black"
    return "it treats every gray frame as full range" if pixels.name.startswith("gray") else ""


def first_line(error: Exception | str) -> str:
    """Return the first line of a library's message, shortened, without its location in the library's code."""
    lines = [line.strip() for line in str(error).splitlines()]
    return _LOCATION.sub("", next(filter(None, lines), "without a message"))[:_MAX_MESSAGE]

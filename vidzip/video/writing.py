"""Writing pictures to a video file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream
from jaxtyping import UInt8

from vidzip.errors import BadArgument, WriteError
from vidzip.files import atomic_path, write_error

MAX_CRF = 51
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
"""x264's own scales: of loss, and of time spent on a smaller file."""

_REPRODUCIBLE = {"threads": "1", "mbtree": "0"}
"""x264's bytes depend on the number of threads; and, with its macroblock tree, on what lay in memory before: twelve
runs on one processor with AVX-512 made up to twelve files of the same pictures."""


def write(
    path: str | os.PathLike[str],
    pictures: Iterable[UInt8[np.ndarray, "height width 3"]],
    fps: float | Fraction,
    *,
    crf: int = 18,
    preset: str = "medium",
    reproducible: bool = False,
) -> int:
    """Write RGB pictures as H.264 in MP4, at a constant rate; the file appears once it is whole.

    Args:
        path: the new file; one that exists is not touched.
        pictures: (H, W, 3) uint8 each, all of one size, with even sides.
        fps: pictures a second.
        crf: x264's constant rate factor, 0 (no loss) to 51; at 18 an eye hardly sees the losses.
        preset: how long x264 searches, a name in :data:`PRESETS`; the faster, the larger the file.
        reproducible: make the same file in every run, at a larger size; one thread encodes then.

    Returns:
        How many pictures were written.

    Raises:
        BadArgument: no pictures, one of another shape or type, odd sides, a rate that is not positive, or an
            unknown ``crf`` or ``preset``.
        WriteError: the file exists already, or cannot be written.
        DiskFull: there is no room for it.
    """
    name = os.fspath(path)
    if not fps > 0:
        raise BadArgument(f"fps is {fps}", hint="give more than 0 pictures a second")
    if not 0 <= crf <= MAX_CRF:
        raise BadArgument(f"crf is {crf}", hint=f"give 0 (no loss) to {MAX_CRF}")
    if preset not in PRESETS:
        raise BadArgument(f"unknown preset {preset!r}", hint=f"use one of {', '.join(PRESETS)}")
    if os.path.lexists(name):
        raise WriteError(f"{name!r} exists already", hint="give a new name, or remove it first")
    options = {"crf": str(crf), "preset": preset, **(_REPRODUCIBLE if reproducible else {})}
    with atomic_path(name) as partial:
        try:
            return encode(partial, pictures, Fraction(fps).limit_denominator(100_000), "libx264", options)
        except av.FFmpegError as error:
            raise write_error(name, error) from error


def encode(path: str, pictures: Iterable[np.ndarray], fps: Fraction, encoder: str, options: dict[str, str]) -> int:
    """Encode pictures into MP4 with one of FFmpeg's encoders; returns how many there were.

    Raises:
        BadArgument: as :func:`write`.
        av.FFmpegError: they cannot be encoded, or not be written.
    """
    count, size = 0, (0, 0)
    with av.open(path, mode="w", format="mp4") as container:
        stream = cast("VideoStream", container.add_stream(encoder, rate=fps, options=options))
        for picture in pictures:
            _check(picture, count, size)
            if count == 0:
                size = (picture.shape[0], picture.shape[1])
                stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            count += 1
        if count == 0:
            raise BadArgument("there are no pictures to write", hint="give one or more")
        container.mux(stream.encode())
    return count


def _check(picture: np.ndarray, count: int, size: tuple[int, int]) -> None:
    shape = picture.shape
    if picture.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3:
        raise BadArgument(
            f"picture {count} is {picture.dtype} of shape {shape}", hint="give uint8 of (height, width, 3)"
        )
    if shape[0] % 2 or shape[1] % 2:
        raise BadArgument(f"picture {count} is {shape[1]}x{shape[0]}", hint="H.264 here takes even sides")
    if count and shape[:2] != size:
        raise BadArgument(
            f"picture {count} is {shape[1]}x{shape[0]}, but the first was {size[1]}x{size[0]}",
            hint="give pictures of one size",
        )

"""Writing frames to a video file."""

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

_REPRODUCIBLE = {"threads": "1", "mbtree": "0"}
"""x264's output depends on the number of threads; with its macroblock tree also on earlier content of the memory:
twelve runs on one CPU with AVX-512 wrote up to twelve different files."""


def write(
    path: str | os.PathLike[str],
    frames: Iterable[UInt8[np.ndarray, "height width 3"]],
    fps: float | Fraction,
    *,
    crf: int = 18,
    preset: str = "medium",
    reproducible: bool = False,
) -> int:
    """Write RGB frames as H.264 in MP4, at a constant rate; the file appears once it is complete.

    Args:
        path: the new file; an existing one is not overwritten.
        frames: (H, W, 3) uint8 each, all of one size, with even sides.
        fps: frames per second.
        crf: x264's constant rate factor, 0 (lossless) to 51; losses at 18 are hardly visible.
        preset: a name in :data:`PRESETS`; faster ones give larger files.
        reproducible: write the same bytes in every run; encodes with one thread, and gives a larger file.

    Returns:
        The number of frames.

    Raises:
        BadArgument: there are no frames, one has another shape or type, sides are odd, the rate is not positive, or
            ``crf`` or ``preset`` is unknown.
        WriteError: the file exists, or cannot be written.
        DiskFull: there is no space for it.
    """
    name = os.fspath(path)
    if not fps > 0:
        raise BadArgument(f"fps is {fps}", hint="give more than 0 frames per second")
    if not 0 <= crf <= MAX_CRF:
        raise BadArgument(f"crf is {crf}", hint=f"give 0 (lossless) to {MAX_CRF}")
    if preset not in PRESETS:
        raise BadArgument(f"unknown preset {preset!r}", hint=f"use one of {', '.join(PRESETS)}")
    if os.path.lexists(name):
        raise WriteError(f"{name!r} exists", hint="give a new name, or remove it first")
    options = {"crf": str(crf), "preset": preset, **(_REPRODUCIBLE if reproducible else {})}
    return encode_mp4(name, frames, Fraction(fps).limit_denominator(100_000), "libx264", options)


def encode_mp4(path: str, frames: Iterable[np.ndarray], fps: Fraction, encoder: str, options: dict[str, str]) -> int:
    """Write frames as MP4 with one of FFmpeg's encoders, and return their number; replaces an existing file.

    Raises:
        BadArgument: as :func:`write`.
        WriteError: the file cannot be written; ``DiskFull`` if there is no space.
    """
    count, size = 0, (0, 0)
    with atomic_path(path) as partial:
        try:
            with av.open(partial, mode="w", format="mp4") as container:
                stream = cast("VideoStream", container.add_stream(encoder, rate=fps, options=options))
                for frame in frames:
                    _check(frame, count, size)
                    if count == 0:
                        size = (frame.shape[0], frame.shape[1])
                        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                    count += 1
                if count == 0:
                    raise BadArgument("there are no frames to write", hint="give one or more")
                container.mux(stream.encode())
        except av.FFmpegError as error:
            raise write_error(path, error) from error
    return count


def _check(frame: np.ndarray, count: int, size: tuple[int, int]) -> None:
    shape = frame.shape
    if frame.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3:
        raise BadArgument(f"frame {count} is {frame.dtype} of shape {shape}", hint="give uint8 of (height, width, 3)")
    if shape[0] % 2 or shape[1] % 2:
        raise BadArgument(f"frame {count} is {shape[1]}x{shape[0]}", hint="give even sides")
    if count and shape[:2] != size:
        raise BadArgument(
            f"frame {count} is {shape[1]}x{shape[0]}, but the first was {size[1]}x{size[0]}",
            hint="give frames of one size",
        )

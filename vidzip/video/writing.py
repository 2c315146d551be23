"""Writing pictures to a video file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np
from jaxtyping import UInt8

from vidzip.errors import BadArgument, WriteError

_QUALITY = {"crf": "18"}
"""x264's constant rate factor: losses that an eye hardly sees."""


def write(
    path: str | os.PathLike[str], pictures: Iterable[UInt8[np.ndarray, "height width 3"]], fps: float | Fraction
) -> int:
    """Write RGB pictures as H.264 in MP4, at a constant rate; the file appears once it is whole.

    Args:
        path: the new file; one that exists is not touched.
        pictures: (H, W, 3) uint8 each, all of one size, with even sides.
        fps: pictures a second.

    Returns:
        How many pictures were written.

    Raises:
        BadArgument: no pictures, one of another shape or type, odd sides, or a rate that is not positive.
        WriteError: the file exists already, or cannot be written.
    """
    name = os.fspath(path)
    if not fps > 0:
        raise BadArgument(f"fps is {fps}", hint="give more than 0 pictures a second")
    if os.path.lexists(name):
        raise WriteError(f"{name!r} exists already", hint="give a new name, or remove it first")
    partial = f"{name}.part"
    try:
        count = _encode(partial, pictures, Fraction(fps).limit_denominator(100_000))
        os.replace(partial, name)
    except (OSError, av.FFmpegError) as error:
        raise WriteError(f"{name!r} cannot be written: {error}", hint="check the folder and the space left") from error
    finally:
        if os.path.exists(partial):
            os.remove(partial)
    return count


def _encode(name: str, pictures: Iterable[np.ndarray], fps: Fraction) -> int:
    count, size = 0, (0, 0)
    with av.open(name, mode="w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options=_QUALITY)
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

"""The pictures on screen at given moments."""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING

import torch
from jaxtyping import UInt8
from torch import Tensor

from vidzip.cpus import available_cpus
from vidzip.errors import BadArgument, DecodeError
from vidzip.video.backends import Backend, find_backend
from vidzip.video.limits import DEFAULT_TIME_LIMIT_SECONDS
from vidzip.video.request import Request
from vidzip.video.resizing import Filter, Shape
from vidzip.video.sampling import check_count

if TYPE_CHECKING:  # a decoder is loaded where a file is decoded
    from vidzip.video.pictures import Picture

_WAITING_BYTES = 64 << 20
"""What decoded pictures that wait for their turn may hold."""

_MOST_WORKERS = 16
"""Threads that are of use to one file; each holds an open decoder with its frames."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """Decoded pictures, upright.

    Attributes:
        pixels: RGB, (F, 3, H, W) uint8.
        timestamps_seconds: when each picture appears on screen, (F,): at or before the moment it was asked for.
        warnings: what is wrong with the file, in words.
        shape: what the pictures were resized and cropped to; ``Shape()`` for full-size pictures.
    """

    pixels: UInt8[Tensor, "frames 3 height width"]
    timestamps_seconds: tuple[float, ...]
    warnings: tuple[str, ...] = ()
    shape: Shape = field(default_factory=Shape)


def decode(  # noqa: PLR0917 - the options that everyone uses may be given by place
    path: str | os.PathLike[str],
    timestamps_seconds: Sequence[float],
    size: int | tuple[int, int] | None = None,
    crop: int | tuple[int, int] | None = None,
    resize: Filter = "bicubic",
    workers: int | None = None,
    backend: str = "auto",
    *,
    device: str = "cpu",
    strict: bool = False,
    time_limit_seconds: float = DEFAULT_TIME_LIMIT_SECONDS,
) -> Frames:
    """Decode the frame on screen at each moment, in the order given.

    Frames are exact: the one whose time on screen holds the moment, whatever the rate, the order of packets, or the
    start. Pictures are upright, with square pixels; colours are converted by the matrix and range that the file
    names; what is transparent shows black.

    Args:
        path: a local video file.
        timestamps_seconds: moments on the file's own clock, (F,), in any order. Before the first frame appears, the
            first frame counts as on screen.
        size: resize the shorter side to so many pixels, the aspect ratio kept; or to (height, width). Pictures agree
            with what Pillow makes of the full-size frame to within 1 of 255; rarely, at a pixel, to within 2.
        crop: then keep this much of the middle: a square's side, or (height, width).
        resize: ``"bicubic"`` or ``"bilinear"``, antialiased.
        workers: threads that decode; all cores the process may use when left out.
        backend: ``"auto"``, or the name of one of :data:`vidzip.video.backends.BACKENDS`.
        device: where the pixels end up.
        strict: whether any damage is an error. By default what can be decoded is used: where a frame cannot be, the
            one before it stays on screen, and ``warnings`` says so.
        time_limit_seconds: how long the file may be worked on.

    Raises:
        BadArgument: no moment, or one that is negative or not finite; or a size or a count below 1.
        EndsEarly: the video ends, or nothing more of it can be decoded, before a moment.
        DecodeError: its picture size changes between two moments and ``size`` does not even it out, its clock
            restarts, or it is damaged and ``strict`` is set.
        TimeLimitExceeded: it took too long.
        BackendUnavailable: the backend's library is not there.
        VideoError: the file cannot be opened as a video.
    """
    moments = _checked(timestamps_seconds)
    order = sorted(range(len(moments)), key=lambda i: moments[i])
    warnings: list[str] = []
    request = Request(
        path=os.fspath(path),
        moments=tuple(moments[i] for i in order),
        shape=Shape(size=size, crop=crop, resize=resize),
        workers=_workers(workers),
        device=device,
        strict=strict,
        time_limit_seconds=time_limit_seconds,
        max_waiting_bytes=math.inf,  # all of them are wanted at once
        warn=warnings.append,
    )
    with closing(find_backend(backend)(request)) as pictures:
        return _collect(request, pictures, order, warnings)


def decode_chunks(
    path: str | os.PathLike[str],
    timestamps_seconds: Sequence[float],
    chunk_frames: int = 8,
    *,
    size: int | tuple[int, int] | None = None,
    crop: int | tuple[int, int] | None = None,
    resize: Filter = "bicubic",
    workers: int | None = None,
    backend: str = "auto",
    device: str = "cpu",
    strict: bool = False,
    time_limit_seconds: float = DEFAULT_TIME_LIMIT_SECONDS,
) -> Generator[Frames, None, None]:
    """Decode as :func:`decode` does, and yield the frames a few at a time, in order, while later ones are decoded.

    The last frame is decoded before the first chunk is yielded, so that a video that ends early is known before any
    of it is used. Frames that wait to be yielded hold up to 64 MiB, beside those that share the last one's keyframe.
    A file with one keyframe, a GIF, and a file that does not label its frames are decoded as a whole first.

    Args:
        path: a local video file.
        timestamps_seconds: moments on the file's own clock, (F,), ascending.
        chunk_frames: frames of a chunk; the last one may hold fewer.
        size, crop, resize, workers, backend, device, strict: as in :func:`decode`.
        time_limit_seconds: as in :func:`decode`; what is done between two chunks does not count.

    Raises:
        BadArgument: moments that are not ascending; and all that :func:`decode` raises. ``EndsEarly`` comes before
            the first chunk.
    """
    moments = _checked(timestamps_seconds)
    if any(later < earlier for earlier, later in pairwise(moments)):
        raise BadArgument("the timestamps are not ascending", hint="sort them")
    chunk_frames = check_count(chunk_frames, "chunk_frames")
    warnings: list[str] = []
    request = Request(
        path=os.fspath(path),
        moments=moments,
        shape=Shape(size=size, crop=crop, resize=resize),
        workers=_workers(workers),
        device=device,
        strict=strict,
        time_limit_seconds=time_limit_seconds,
        max_waiting_bytes=_WAITING_BYTES,
        warn=warnings.append,
    )
    return _chunks(request, find_backend(backend), chunk_frames, warnings)


def _chunks(
    request: Request, backend: Backend, chunk_frames: int, warnings: list[str]
) -> Generator[Frames, None, None]:
    with closing(backend(request)) as pictures:
        for begins in range(0, len(request.moments), chunk_frames):
            count = min(chunk_frames, len(request.moments) - begins)
            yield _collect(request, islice(pictures, count), range(count), warnings)
            warnings.clear()


def _collect(request: Request, pictures: Iterator[Picture], order: Sequence[int], warnings: list[str]) -> Frames:
    """Put pictures together, each at its place."""
    first = next(pictures)
    pixels = torch.empty(len(order), *first.pixels.shape, dtype=torch.uint8, device=first.pixels.device)
    times = [0.0] * len(order)
    for i, picture in zip(order, chain([first], pictures), strict=True):
        _check_same_size(request.path, pixels, picture)
        _copy(picture.pixels, pixels[i])
        times[i] = picture.timestamp_seconds
    return Frames(
        pixels=pixels.to(request.device),
        timestamps_seconds=tuple(times),
        warnings=tuple(dict.fromkeys(warnings)),
        shape=request.shape,
    )


def _checked(timestamps_seconds: Sequence[float]) -> tuple[float, ...]:
    moments = tuple(float(moment) for moment in timestamps_seconds)
    if not moments:
        raise BadArgument("no timestamps were given", hint="give one or more, in seconds")
    for moment in moments:
        if not (math.isfinite(moment) and moment >= 0):
            raise BadArgument(f"a timestamp is {moment} s", hint="give moments of the video, 0 seconds or later")
    return moments


def _workers(workers: int | None) -> int:
    if workers is not None:
        return check_count(workers, "workers")
    return min(_MOST_WORKERS, available_cpus())


def _copy(source: Tensor, target: Tensor) -> None:
    """Copy a picture; through numpy where that works, since torch would wake a team of threads for it."""
    if source.device.type == "cpu":
        target.numpy()[:] = source.numpy()
    else:
        target.copy_(source)


def _check_same_size(path: str, pixels: Tensor, picture: Picture) -> None:
    height, width = pixels.shape[2:]
    new_height, new_width = picture.pixels.shape[1:]
    if (height, width) != (new_height, new_width):
        raise DecodeError(
            f"the picture size of {path!r} changes to {new_width}x{new_height} by {picture.timestamp_seconds:g} s, "
            f"from {width}x{height}",
            hint="decode the parts of one size apart, or give both sides of one size for all (size=(height, width))",
        )

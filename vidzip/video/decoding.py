"""Decoding the frames on screen at given timestamps."""

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
from vidzip.video.request import DecodeRequest
from vidzip.video.resizing import Filter, Shape
from vidzip.video.sampling import check_count

if TYPE_CHECKING:  # loads a decoder
    from vidzip.video.conversion import DecodedFrame

_MAX_QUEUED_BYTES = 64 << 20
"""Limit on the decoded frames that wait to be used."""

_MAX_WORKERS = 16
"""Limit on the default number of threads per file; each holds an open decoder with its frames."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """Decoded frames, upright.

    Attributes:
        pixels: RGB, (F, 3, H, W) uint8.
        timestamps_seconds: start of each frame, (F,): at or before the requested timestamp.
        warnings: problems of the file.
        shape: how the frames were resized and cropped; ``Shape()`` for full-size frames.
    """

    pixels: UInt8[Tensor, "frames 3 height width"]
    timestamps_seconds: tuple[float, ...]
    warnings: tuple[str, ...] = ()
    shape: Shape = field(default_factory=Shape)


def decode(  # noqa: PLR0917 - the common options may be positional
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
    """Decode the frame on screen at each timestamp, in the given order.

    Frames are exact, whatever the frame rate, the order of packets, or the start of the clock. They are upright, with
    square pixels; colors are converted by the matrix and range of the file; transparent pixels are black.

    Args:
        path: a local video file.
        timestamps_seconds: seconds on the file's own clock, (F,), in any order. The first frame also counts as on
            screen before its start.
        size: resize the shorter side to this, with the aspect ratio kept; or to (height, width). Levels differ from
            Pillow's resize of the full-size frame by at most 1 of 255, rarely at a pixel by 2.
        crop: then keep this much of the center: a square's side, or (height, width).
        resize: ``"bicubic"`` or ``"bilinear"``, antialiased.
        workers: number of decoding threads; None for all CPUs that the process may use, up to 16.
        backend: ``"auto"``, or a name in :data:`vidzip.video.backends.BACKENDS`.
        device: device of the pixels.
        strict: raise an error for any damage. By default a frame that cannot be decoded repeats the one before, and
            ``warnings`` says so.
        time_limit_seconds: limit on the time spent on the file.

    Raises:
        BadArgument: there are no timestamps, one is negative or not finite, or a size or a count is below 1.
        EndsEarly: the video ends, or nothing more can be decoded, before a timestamp.
        DecodeError: the frame size changes and ``size`` does not make all frames equal, the clock restarts, or the file
            is damaged and ``strict`` is set.
        TimeLimitExceeded: it took too long.
        BackendUnavailable: the backend's library is not installed.
        VideoError: the file cannot be opened as a video.
    """
    timestamps = _check_timestamps(timestamps_seconds)
    order = sorted(range(len(timestamps)), key=lambda i: timestamps[i])
    warnings: list[str] = []
    request = DecodeRequest(
        path=os.fspath(path),
        timestamps_seconds=tuple(timestamps[i] for i in order),
        shape=Shape(size=size, crop=crop, resize=resize),
        workers=_num_threads(workers),
        device=device,
        strict=strict,
        time_limit_seconds=time_limit_seconds,
        max_queued_bytes=math.inf,  # the caller gets all of them at once
        warn=warnings.append,
    )
    with closing(find_backend(backend)(request)) as frames:
        return _stack(request, frames, order, warnings)


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
    """Decode as :func:`decode`, and yield a few frames at a time, in order, while later ones are decoded.

    The last frame is decoded before the first chunk is yielded, so that a video that ends early is known before any of
    it is used. Decoded frames that wait take up to 64 MiB, plus those from the last keyframe on. A file with a single
    keyframe, a GIF, and a file without reliable timestamps are decoded completely before the first chunk.

    Args:
        path: a local video file.
        timestamps_seconds: seconds on the file's own clock, (F,), ascending.
        chunk_frames: frames per chunk; the last chunk may have fewer.
        size, crop, resize, workers, backend, device, strict: as in :func:`decode`.
        time_limit_seconds: as in :func:`decode`; the time between two chunks does not count.

    Raises:
        BadArgument: the timestamps are not ascending; and the errors of :func:`decode`. ``EndsEarly`` is raised before
            the first chunk.
    """
    timestamps = _check_timestamps(timestamps_seconds)
    if any(later < earlier for earlier, later in pairwise(timestamps)):
        raise BadArgument("the timestamps are not ascending", hint="sort them")
    chunk_frames = check_count(chunk_frames, "chunk_frames")
    warnings: list[str] = []
    request = DecodeRequest(
        path=os.fspath(path),
        timestamps_seconds=timestamps,
        shape=Shape(size=size, crop=crop, resize=resize),
        workers=_num_threads(workers),
        device=device,
        strict=strict,
        time_limit_seconds=time_limit_seconds,
        max_queued_bytes=_MAX_QUEUED_BYTES,
        warn=warnings.append,
    )
    return _chunks(request, find_backend(backend), chunk_frames, warnings)


def _chunks(
    request: DecodeRequest, backend: Backend, chunk_frames: int, warnings: list[str]
) -> Generator[Frames, None, None]:
    with closing(backend(request)) as frames:
        for start in range(0, len(request.timestamps_seconds), chunk_frames):
            count = min(chunk_frames, len(request.timestamps_seconds) - start)
            yield _stack(request, islice(frames, count), range(count), warnings)
            warnings.clear()


def _stack(request: DecodeRequest, frames: Iterator[DecodedFrame], order: Sequence[int], warnings: list[str]) -> Frames:
    """Stack frames, each at its position in ``order``."""
    first = next(frames)
    pixels = torch.empty(len(order), *first.pixels.shape, dtype=torch.uint8, device=first.pixels.device)
    timestamps = [0.0] * len(order)
    for i, frame in zip(order, chain([first], frames), strict=True):
        _check_same_size(request.path, pixels, frame)
        _copy(frame.pixels, pixels[i])
        timestamps[i] = frame.timestamp_seconds
    return Frames(
        pixels=pixels.to(request.device),
        timestamps_seconds=tuple(timestamps),
        warnings=tuple(dict.fromkeys(warnings)),
        shape=request.shape,
    )


def _check_timestamps(timestamps_seconds: Sequence[float]) -> tuple[float, ...]:
    timestamps = tuple(float(seconds) for seconds in timestamps_seconds)
    if not timestamps:
        raise BadArgument("no timestamps were given", hint="give one or more, in seconds")
    for seconds in timestamps:
        if not (math.isfinite(seconds) and seconds >= 0):
            raise BadArgument(f"a timestamp is {seconds} s", hint="give times in the video, 0 seconds or later")
    return timestamps


def _num_threads(workers: int | None) -> int:
    return min(_MAX_WORKERS, available_cpus()) if workers is None else check_count(workers, "workers")


def _copy(source: Tensor, target: Tensor) -> None:
    """Copy a frame; with numpy on the CPU, since torch would start threads for it."""
    if source.device.type == "cpu":
        target.numpy()[:] = source.numpy()
    else:
        target.copy_(source)


def _check_same_size(path: str, pixels: Tensor, frame: DecodedFrame) -> None:
    height, width = pixels.shape[2:]
    new_height, new_width = frame.pixels.shape[1:]
    if (height, width) != (new_height, new_width):
        raise DecodeError(
            f"the frame size of {path!r} changes to {new_width}x{new_height} by {frame.timestamp_seconds:g} s, "
            f"from {width}x{height}",
            hint="decode the parts of one size separately, or give both sides of one size (size=(height, width))",
        )

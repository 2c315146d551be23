"""The pictures on screen at given moments. Correct first: one pass in order, from the start to the last of them."""

from __future__ import annotations

import heapq
import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import av
import torch
from av.video.frame import VideoFrame
from jaxtyping import UInt8
from torch import Tensor

from vidzip.errors import BadArgument, DecodeError
from vidzip.video.containers import ROUNDING_SECONDS, OpenVideo, open_video, reason
from vidzip.video.probing import degrees_clockwise

_REORDERED = 4
"""Frames held back to put their timestamps in order. Decoders give pictures in the order they are shown, but some
AVI files label them in another; the k-th picture gets the k-th smallest label within this many."""

_CLOCK_SLIP = 1.0
"""Seconds by which timestamps may fall back, beyond what reordering explains, before the clock counts as restarted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """Decoded pictures, upright.

    Attributes:
        pixels: RGB, (F, 3, H, W) uint8.
        timestamps_seconds: when each picture appears on screen, (F,): at or before the moment it was asked for.
    """

    pixels: UInt8[Tensor, "frames 3 height width"]
    timestamps_seconds: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """One decoded picture, upright: RGB (3, H, W) uint8, and when it appears on screen, in seconds."""

    pixels: UInt8[Tensor, "3 height width"]
    timestamp_seconds: float


def decode(path: str | os.PathLike[str], timestamps_seconds: Sequence[float]) -> Frames:
    """Decode the frame on screen at each moment, in the order given.

    Args:
        path: a local video file.
        timestamps_seconds: moments on the file's own clock, (F,), in any order. Before the first frame appears, the
            first frame counts as on screen.

    Raises:
        BadArgument: no moment, or one that is negative or not finite.
        DecodeError: the video ends or breaks before a moment, or its picture size changes between two.
        VideoError: the file cannot be opened as a video.
    """
    order = sorted(range(len(timestamps_seconds)), key=lambda i: timestamps_seconds[i])
    ascending = pictures_at(path, [timestamps_seconds[i] for i in order])
    pixels: Tensor | None = None
    times = [0.0] * len(order)
    for i, picture in zip(order, ascending, strict=True):
        if pixels is None:
            pixels = torch.empty(len(order), *picture.pixels.shape, dtype=torch.uint8)
        if pixels.shape[1:] != picture.pixels.shape:
            raise DecodeError(
                f"the picture size of {os.fspath(path)!r} changes to {picture.pixels.shape[2]}x"
                f"{picture.pixels.shape[1]} by {picture.timestamp_seconds:g} s, from {pixels.shape[3]}x"
                f"{pixels.shape[2]}",
                hint="decode the parts of one size apart",
            )
        pixels[i] = picture.pixels
        times[i] = picture.timestamp_seconds
    if pixels is None:
        raise BadArgument("no timestamps were given", hint="give one or more, in seconds")
    return Frames(pixels=pixels, timestamps_seconds=tuple(times))


def pictures_at(path: str | os.PathLike[str], timestamps_seconds: Sequence[float]) -> Iterator[Picture]:
    """Yield the picture on screen at each of some ascending moments, holding no more than a few at a time.

    Raises:
        BadArgument: moments that are negative, not finite, or not ascending.
        DecodeError: the video ends or breaks before a moment.
        VideoError: the file cannot be opened as a video.
    """
    moments = [float(moment) for moment in timestamps_seconds]
    for moment in moments:
        if not (math.isfinite(moment) and moment >= 0):
            raise BadArgument(f"a timestamp is {moment} s", hint="give moments of the video, 0 seconds or later")
    if any(later < earlier for earlier, later in pairwise(moments)):
        raise BadArgument("the timestamps are not ascending", hint="sort them")
    with open_video(path) as video:
        video.stream.thread_type = "AUTO"
        waiting = deque(moments)
        shown: _Shown | None = None
        for following in _frames_in_order(video):
            while shown and waiting and waiting[0] < following.appears - ROUNDING_SECONDS:
                waiting.popleft()
                yield shown.picture()
            if not waiting:
                return
            shown = following
        while shown and waiting and waiting[0] <= shown.ends + video.frame_seconds:
            waiting.popleft()
            yield shown.picture()
        if waiting:
            ends = shown.ends if shown else 0.0
            raise DecodeError(
                f"{video.path!r} ends at {ends:.3f} s, before {waiting[0]:.3f} s, where a frame is wanted",
                hint=f"stay before the end (--end {ends:.3f}); if the file promises more, it is cut off: fetch it again",
            )


class _Shown:
    """A decoded frame with its time on screen; converted to RGB once, and only if it is wanted."""

    def __init__(self, frame: VideoFrame, appears: float, lasts: float) -> None:
        self._frame = frame
        self._picture: Picture | None = None
        self.appears = appears
        self.ends = appears + lasts

    def picture(self) -> Picture:
        if self._picture is None:
            rgb = torch.from_numpy(self._frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
            quarter_turns = degrees_clockwise(self._frame.rotation) // 90
            upright = torch.rot90(rgb, -quarter_turns, dims=(1, 2)).contiguous()
            self._picture = Picture(pixels=upright, timestamp_seconds=self.appears)
        return self._picture


def _frames_in_order(video: OpenVideo) -> Iterator[_Shown]:
    """Decode every frame, in the order shown, with ascending times."""
    frames: deque[VideoFrame] = deque()
    ticks: list[int] = []
    latest = 0
    released = -math.inf

    def release() -> _Shown:
        nonlocal released
        frame = frames.popleft()
        lasts = float(frame.duration * video.time_base) if frame.duration else video.frame_seconds
        appears = video.seconds(heapq.heappop(ticks))
        if appears < released - _CLOCK_SLIP:
            raise DecodeError(
                f"the clock of {video.path!r} falls back from {released:.3f} s to {appears:.3f} s",
                hint="files were joined without a new clock: join them again with a tool that rewrites timestamps",
            )
        released = max(released, appears)
        return _Shown(frame, released, lasts)

    try:
        for frame in video.container.decode(video.stream):
            tick = frame.pts if frame.pts is not None else frame.dts
            latest = latest + (frame.duration or 1) if tick is None else tick
            frames.append(frame)
            heapq.heappush(ticks, latest)
            if len(frames) > _REORDERED:
                yield release()
    except av.FFmpegError as error:
        while frames:
            yield release()
        broken = video.seconds(latest)
        raise DecodeError(
            f"{video.path!r} cannot be decoded past {broken:.3f} s ({reason(error)})",
            hint=f"the file is damaged or cut off: stay before that moment (--end {broken:.3f}), or fetch it again",
        ) from error
    while frames:
        yield release()

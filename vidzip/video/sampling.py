"""Sampling: from a number of frames to timestamps. Standard library only."""

from __future__ import annotations

import math
import operator
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from vidzip.errors import BadArgument
from vidzip.video.info import VideoInfo

Policy = Literal["middle", "linspace"]

_EDGE = 1e-3
"""A timestamp within this share of a frame's duration from the frame's edge may be on the neighboring frame: the
header's average rate and the file's rounded timestamps differ by such amounts."""


def sample(
    info: VideoInfo,
    num_frames: int,
    policy: Policy = "middle",
    start: float | None = None,
    end: float | None = None,
) -> tuple[float, ...]:
    """Choose timestamps, ascending, each on a different frame.

    Args:
        info: the video.
        num_frames: number of frames, F. If there are fewer frames between ``start`` and ``end``, all of them are
            chosen, and the result is shorter.
        policy: ``"middle"``: the middles of F equal parts. If two of them are on the same frame, or nearly are, one
            moves to the middle of a neighboring frame, or of its own frame. ``"linspace"``: the frames with the numbers
            ``linspace(0, n - 1, F)``, as in Video-LLaVA, each at its middle.
        start: seconds; None for the video's start.
        end: seconds; None, or a later time than the video's end, for the video's end.

    Returns:
        Seconds, (F,), ascending.

    Raises:
        BadArgument: the number of frames is below 1, the policy is unknown, the segment is empty or invalid, or the
            duration is unknown.
    """
    num_frames = check_count(num_frames, "num_frames")
    if policy not in get_args(Policy):
        raise BadArgument(f"unknown policy {policy!r}", hint=f"use one of {', '.join(get_args(Policy))}")
    segment = find_segment(info, start, end)
    num_frames = min(num_frames, segment.count)
    if policy == "linspace":
        spacing = max(1, num_frames - 1)
        frames = [segment.first + i * (segment.count - 1) // spacing for i in range(num_frames)]
        return tuple(segment.middle_of(frame) for frame in frames)
    step = (segment.end - segment.start) / num_frames
    middles = [segment.start + (i + 0.5) * step for i in range(num_frames)]
    on_screen = [segment.times.frame_at(middle) for middle in middles]
    frames = _make_distinct(on_screen, segment.first, segment.last)
    used = set(frames)
    return tuple(
        segment.middle_of(frame)
        if frame != shown or (not segment.is_well_inside(frame, middle) and used & {frame - 1, frame + 1})
        else middle
        for middle, shown, frame in zip(middles, on_screen, frames, strict=True)
    )


def count_frames(info: VideoInfo, start: float | None = None, end: float | None = None) -> int:
    """Count the frames between ``start`` and ``end``, in seconds.

    Raises:
        BadArgument: the segment is empty or invalid, or the duration is unknown.
    """
    return find_segment(info, start, end).count


class _FrameTimes(Protocol):
    """When each frame of a video is on screen."""

    def frame_at(self, seconds: float) -> int: ...
    def last_before(self, seconds: float) -> int: ...
    def on_screen(self, frame: int) -> tuple[float, float]: ...


@dataclass(frozen=True)
class _ConstantRate:
    """A constant rate: frame i starts at ``start + i * step``."""

    start: float
    step: float
    count: int

    def frame_at(self, seconds: float) -> int:
        return self._clamp(math.floor((seconds - self.start) / self.step + _EDGE))

    def last_before(self, seconds: float) -> int:
        return self._clamp(math.ceil((seconds - self.start) / self.step - _EDGE) - 1)

    def on_screen(self, frame: int) -> tuple[float, float]:
        return self.start + frame * self.step, self.start + (frame + 1) * self.step

    def _clamp(self, frame: int) -> int:
        return min(max(frame, 0), self.count - 1)


@dataclass(frozen=True)
class _ListedTimes:
    """A start time for each frame."""

    starts: tuple[float, ...]
    end: float

    def frame_at(self, seconds: float) -> int:
        return max(0, bisect_right(self.starts, seconds) - 1)

    def last_before(self, seconds: float) -> int:
        return max(0, bisect_left(self.starts, seconds) - 1)

    def on_screen(self, frame: int) -> tuple[float, float]:
        is_last = frame + 1 == len(self.starts)
        return self.starts[frame], self.end if is_last else self.starts[frame + 1]


@dataclass(frozen=True)
class Segment:
    """A part of a video: its start and end in seconds, and its first and last frame."""

    times: _FrameTimes
    start: float
    end: float
    first: int
    last: int

    @property
    def count(self) -> int:
        """Number of frames."""
        return self.last - self.first + 1

    def middle_of(self, frame: int) -> float:
        """Return the middle of a frame's time on screen within the segment."""
        start, end = self.times.on_screen(frame)
        return (max(start, self.start) + min(end, self.end)) / 2

    def is_well_inside(self, frame: int, seconds: float) -> bool:
        """Whether a timestamp is clear of the edges of a frame's time on screen."""
        start, end = self.times.on_screen(frame)
        edge = (end - start) * _EDGE
        return start + edge <= seconds <= end - edge


def find_segment(info: VideoInfo, start: float | None = None, end: float | None = None) -> Segment:
    """Find the frames between two timestamps.

    Raises:
        BadArgument: the segment is empty or invalid, or the video's duration or frame count is unknown.
    """
    times, video_end = _frame_times(info)
    for name, value in (("start", start), ("end", end)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise BadArgument(f"{name} is {value} s", hint="give a time in the video, 0 seconds or later")
    first_seconds = info.start_seconds if start is None else max(float(start), info.start_seconds)
    end_seconds = video_end if end is None else min(float(end), video_end)
    if start is not None and start >= video_end:
        raise BadArgument(f"start is {start:g} s, but the video ends at {video_end:g} s", hint="give an earlier start")
    if first_seconds >= end_seconds:
        raise BadArgument(f"nothing is between {first_seconds:g} s and {end_seconds:g} s", hint="give a later end")
    return Segment(
        times=times,
        start=first_seconds,
        end=end_seconds,
        first=times.frame_at(first_seconds),
        last=times.last_before(end_seconds),
    )


def check_count(value: int, name: str) -> int:
    """Check that a count is an integer of at least 1, and return it.

    Raises:
        BadArgument: it is not.
    """
    try:
        count = operator.index(value)
    except TypeError as error:
        raise BadArgument(f"{name} is {value!r}", hint="give a whole number, 1 or more") from error
    if count < 1:
        raise BadArgument(f"{name} is {count}", hint="give 1 or more")
    return count


def _frame_times(info: VideoInfo) -> tuple[_FrameTimes, float]:
    """Return when frames are on screen, and the end of the last one."""
    if info.duration_seconds is None or not info.duration_seconds > 0:
        raise BadArgument(
            f"the duration of {info.path!r} is unknown", hint="probe the file: this counts what the header lacks"
        )
    end = info.start_seconds + info.duration_seconds
    if info.frame_times_seconds is not None:
        return _ListedTimes(info.frame_times_seconds, end), end
    count = info.num_frames
    if count is None and info.fps is not None:
        count = max(1, round(info.duration_seconds * info.fps))
    if count is None:
        raise BadArgument(
            f"the frame count of {info.path!r} is unknown", hint="probe the file: this counts what the header lacks"
        )
    return _ConstantRate(info.start_seconds, info.duration_seconds / count, count), end


def _make_distinct(frames: list[int], first: int, last: int) -> list[int]:
    """Make ascending frame numbers strictly ascending within [first, last]; change as few as possible."""
    distinct = []
    floor = first
    for frame in frames:
        distinct.append(max(frame, floor))
        floor = distinct[-1] + 1
    ceiling = last
    for i in reversed(range(len(distinct))):
        distinct[i] = min(distinct[i], ceiling)
        ceiling = distinct[i] - 1
    return distinct

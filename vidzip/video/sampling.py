"""Which moments of a video to look at: from a number of frames to timestamps. Standard library only."""

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
"""A timestamp this close to a frame's edge, as a share of its time on screen, may turn out to lie on the other side:
the header's average rate and the file's rounded timestamps differ by such amounts."""


def sample(
    info: VideoInfo,
    num_frames: int,
    policy: Policy = "middle",
    start: float | None = None,
    end: float | None = None,
) -> tuple[float, ...]:
    """Choose timestamps, ascending, each on a frame of its own.

    Args:
        info: the video.
        num_frames: how many, F. Where fewer distinct frames are on screen between ``start`` and ``end``, all of
            them are chosen, and the result is shorter.
        policy: ``"middle"``: the middle of each of F equal stretches. ``"linspace"``: the frames that
            ``linspace(0, n - 1, F)`` numbers, as Video-LLaVA does, each at the middle of its time on screen.
            Where two timestamps of ``"middle"`` would, or nearly would, show the same frame, one moves to the middle
            of a neighbouring frame's, or of its own frame's, time on screen.
        start: seconds; the video's start when left out.
        end: seconds; the video's end when left out or when it lies past it.

    Returns:
        Seconds, (F,), ascending.

    Raises:
        BadArgument: no frames asked for, an unknown policy, an empty or impossible stretch, an unknown duration.
    """
    num_frames = check_count(num_frames, "num_frames")
    if policy not in get_args(Policy):
        raise BadArgument(f"unknown policy {policy!r}", hint=f"use one of {', '.join(get_args(Policy))}")
    stretch = stretch_of(info, start, end)
    num_frames = min(num_frames, stretch.count)
    if policy == "linspace":
        spacing = max(1, num_frames - 1)
        frames = [stretch.first + i * (stretch.count - 1) // spacing for i in range(num_frames)]
        return tuple(stretch.middle_of(frame) for frame in frames)
    step = (stretch.end - stretch.start) / num_frames
    targets = [stretch.start + (i + 0.5) * step for i in range(num_frames)]
    on_screen = [stretch.clock.frame_at(target) for target in targets]
    frames = _distinct(on_screen, stretch.first, stretch.last)
    taken = set(frames)
    return tuple(
        stretch.middle_of(frame)
        if frame != shown or (not stretch.is_well_inside(frame, target) and taken & {frame - 1, frame + 1})
        else target
        for target, shown, frame in zip(targets, on_screen, frames, strict=True)
    )


def count_frames(info: VideoInfo, start: float | None = None, end: float | None = None) -> int:
    """How many distinct frames are on screen between ``start`` and ``end`` (seconds).

    Raises:
        BadArgument: an empty or impossible stretch, or an unknown duration.
    """
    return stretch_of(info, start, end).count


class _Clock(Protocol):
    """When each frame of a video is on screen."""

    def frame_at(self, seconds: float) -> int: ...
    def last_before(self, seconds: float) -> int: ...
    def on_screen(self, frame: int) -> tuple[float, float]: ...


@dataclass(frozen=True)
class _SteadyClock:
    """A constant rate: frame i appears at ``start + i * step``."""

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
class _ListedClock:
    """Every frame's time is known."""

    times: tuple[float, ...]
    end: float

    def frame_at(self, seconds: float) -> int:
        return max(0, bisect_right(self.times, seconds) - 1)

    def last_before(self, seconds: float) -> int:
        return max(0, bisect_left(self.times, seconds) - 1)

    def on_screen(self, frame: int) -> tuple[float, float]:
        is_last = frame + 1 == len(self.times)
        return self.times[frame], self.end if is_last else self.times[frame + 1]


@dataclass(frozen=True)
class Stretch:
    """The part of a video between two moments: seconds, and the first and last frame on screen in it."""

    clock: _Clock
    start: float
    end: float
    first: int
    last: int

    @property
    def count(self) -> int:
        """How many frames are on screen in it."""
        return self.last - self.first + 1

    def middle_of(self, frame: int) -> float:
        """The middle of a frame's time on screen within the stretch."""
        appears, leaves = self.clock.on_screen(frame)
        return (max(appears, self.start) + min(leaves, self.end)) / 2

    def is_well_inside(self, frame: int, seconds: float) -> bool:
        """Whether a moment lies clear of the edges of a frame's time on screen."""
        appears, leaves = self.clock.on_screen(frame)
        edge = (leaves - appears) * _EDGE
        return appears + edge <= seconds <= leaves - edge


def stretch_of(info: VideoInfo, start: float | None = None, end: float | None = None) -> Stretch:
    """Find the frames on screen between two moments.

    Raises:
        BadArgument: an empty or impossible stretch, or a video of unknown duration or frame count.
    """
    clock, video_end = _clock_of(info)
    for name, value in (("start", start), ("end", end)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise BadArgument(f"{name} is {value} s", hint="give a moment of the video, 0 seconds or later")
    begins = info.start_seconds if start is None else max(float(start), info.start_seconds)
    ends = video_end if end is None else min(float(end), video_end)
    if start is not None and start >= video_end:
        raise BadArgument(f"start is {start:g} s, but the video ends at {video_end:g} s", hint="start earlier")
    if begins >= ends:
        raise BadArgument(f"nothing lies between {begins:g} s and {ends:g} s", hint="let the end come after the start")
    return Stretch(clock=clock, start=begins, end=ends, first=clock.frame_at(begins), last=clock.last_before(ends))


def check_count(value: int, name: str) -> int:
    """Read a count that must be an integer of at least 1.

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


def _clock_of(info: VideoInfo) -> tuple[_Clock, float]:
    """Return when frames are on screen, and when the last one ends."""
    if info.duration_seconds is None or not info.duration_seconds > 0:
        raise BadArgument(
            f"the duration of {info.path!r} is unknown", hint="probe the file: it counts what the header lacks"
        )
    end = info.start_seconds + info.duration_seconds
    if info.frame_times_seconds is not None:
        return _ListedClock(info.frame_times_seconds, end), end
    count = info.num_frames
    if count is None and info.fps is not None:
        count = max(1, round(info.duration_seconds * info.fps))
    if count is None:
        raise BadArgument(
            f"the frame count of {info.path!r} is unknown", hint="probe the file: it counts what the header lacks"
        )
    return _SteadyClock(info.start_seconds, info.duration_seconds / count, count), end


def _distinct(frames: list[int], first: int, last: int) -> list[int]:
    """Make ascending frame numbers strictly ascending within [first, last], moving none that need not."""
    moved = []
    floor = first
    for frame in frames:
        moved.append(max(frame, floor))
        floor = moved[-1] + 1
    ceiling = last
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], ceiling)
        ceiling = moved[i] - 1
    return moved

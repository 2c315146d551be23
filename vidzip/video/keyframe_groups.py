"""Groups of wanted frames: the parts of a video to decode, each from a keyframe to the last wanted frame after it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vidzip.video.indexing import FrameIndex

_MIN_FRAMES_SKIPPED = 3
"""A seek to the next keyframe pays off if it skips at least this many frames; otherwise decoding them is faster."""


@dataclass(frozen=True, kw_only=True)
class KeyframeGroup:
    """Frames that are decoded in one go.

    Attributes:
        keyframe: number of the keyframe, in the index, at which decoding starts.
        wanted: ticks of the wanted frames, ascending, at least one.
    """

    keyframe: int
    wanted: tuple[int, ...]


def group_by_keyframe(index: FrameIndex, wanted: Sequence[int]) -> list[KeyframeGroup]:
    """Group frames by the keyframe before them, and join groups if a seek between them would not pay off.

    Args:
        index: the video's index.
        wanted: ticks of frames of the index, ascending, each once.
    """
    groups: list[KeyframeGroup] = []
    latest = -1
    for tick, keyframe in zip(wanted, _keyframes_before(index, wanted), strict=True):
        if groups and (keyframe == latest or _is_near(index, groups[-1].wanted[-1], keyframe)):
            groups[-1] = KeyframeGroup(keyframe=groups[-1].keyframe, wanted=(*groups[-1].wanted, tick))
        else:
            groups.append(KeyframeGroup(keyframe=keyframe, wanted=(tick,)))
        latest = keyframe
    return groups


def split_last_keyframe(
    index: FrameIndex, group: KeyframeGroup, seek: Callable[[int], int | None]
) -> list[KeyframeGroup]:
    """Split off the frames from the group's last keyframe on: two groups, or one if all share a keyframe.

    Args:
        index: the video's index.
        group: the group.
        seek: returns the timestamp of the keyframe stored for a tick, since a header may list it some frames early.
    """
    for keyframe in range(_keyframes_before(index, group.wanted)[-1], group.keyframe, -1):
        listed = int(index.keyframes[keyframe])
        tick = seek(listed) if index.from_header else listed
        first = len(group.wanted) if tick is None else bisect_left(group.wanted, tick)
        if first < len(group.wanted):
            parts = ((group.keyframe, group.wanted[:first]), (keyframe, group.wanted[first:]))
            return [KeyframeGroup(keyframe=start, wanted=wanted) for start, wanted in parts if wanted]
    return [group]


def _keyframes_before(index: FrameIndex, ticks: Sequence[int]) -> list[int]:
    """Return the number of the keyframe at or before each frame."""
    numbers: list[int] = np.maximum(np.searchsorted(index.keyframes, ticks, side="right") - 1, 0).tolist()
    return numbers


def _is_near(index: FrameIndex, last: int, keyframe: int) -> bool:
    last_number, keyframe_number = np.searchsorted(index.ticks, (last, index.keyframes[keyframe]))
    return bool(keyframe_number - last_number - 1 < _MIN_FRAMES_SKIPPED)

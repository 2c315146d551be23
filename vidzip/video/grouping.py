"""Which stretches of a video to decode for some of its frames: from a keyframe to the last one wanted after it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vidzip.video.indexing import Index

_NOT_WORTH_A_SEEK = 3
"""With fewer frames between the last one wanted and the next keyframe, decoding them costs less than jumping."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """A stretch that is decoded in one go.

    Attributes:
        key: number of the keyframe, in the index, that decoding begins at.
        wanted: ticks of the frames wanted, ascending, one or more.
    """

    key: int
    wanted: tuple[int, ...]


def group(index: Index, wanted: Sequence[int]) -> list[Group]:
    """Group frames by the keyframe that their decoding begins at, and join groups where a jump would not pay.

    Args:
        index: the video's.
        wanted: ticks of frames of the index, ascending, each once.
    """
    groups: list[Group] = []
    latest = -1
    for tick, key in zip(wanted, _keys_before(index, wanted), strict=True):
        if groups and (key == latest or _is_near(index, groups[-1].wanted[-1], key)):
            groups[-1] = Group(key=groups[-1].key, wanted=(*groups[-1].wanted, tick))
        else:
            groups.append(Group(key=key, wanted=(tick,)))
        latest = key
    return groups


def split_last_keyframe(index: Index, joined: Group, seek: Callable[[int], int | None]) -> list[Group]:
    """Split off the frames that share the last one's keyframe: two groups, or one if all of them do.

    Args:
        index: the video's.
        joined: what to split.
        seek: returns when the keyframe stored for a tick appears: a header may list it some frames early.
    """
    for key in range(_keys_before(index, joined.wanted)[-1], joined.key, -1):
        tick = int(index.keys[key]) if index.step is None else seek(int(index.keys[key]))
        first = len(joined.wanted) if tick is None else bisect_left(joined.wanted, tick)
        if first < len(joined.wanted):
            parts = ((joined.key, joined.wanted[:first]), (key, joined.wanted[first:]))
            return [Group(key=key, wanted=wanted) for key, wanted in parts if wanted]
    return [joined]


def _keys_before(index: Index, wanted: Sequence[int]) -> list[int]:
    """Number the keyframe at or before each frame."""
    keys: list[int] = np.maximum(np.searchsorted(index.keys, wanted, side="right") - 1, 0).tolist()
    return keys


def _is_near(index: Index, last: int, key: int) -> bool:
    last_frame, key_frame = np.searchsorted(index.ticks, (last, index.keys[key]))
    return bool(key_frame - last_frame - 1 < _NOT_WORTH_A_SEEK)

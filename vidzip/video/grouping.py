"""Which stretches of a video to decode for some of its frames: from a keyframe to the last one wanted after it."""

from __future__ import annotations

from collections.abc import Sequence
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
    of_key = np.maximum(np.searchsorted(index.keys, wanted, side="right") - 1, 0)
    latest = -1
    for tick, key in zip(wanted, of_key.tolist(), strict=True):
        if groups and (key == latest or _is_near(index, groups[-1].wanted[-1], key)):
            groups[-1] = Group(key=groups[-1].key, wanted=(*groups[-1].wanted, tick))
        else:
            groups.append(Group(key=key, wanted=(tick,)))
        latest = key
    return groups


def _is_near(index: Index, last: int, key: int) -> bool:
    last_frame, key_frame = np.searchsorted(index.ticks, (last, index.keys[key]))
    return bool(key_frame - last_frame - 1 < _NOT_WORTH_A_SEEK)

"""Moving moments to keyframes, where decoding begins: much faster on long videos, and other frames."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from vidzip.video.indexing import Index, index_of


def snap_to_keyframes(
    path: str | os.PathLike[str], timestamps_seconds: Sequence[float]
) -> tuple[tuple[float, ...], float]:
    """Move each moment to the nearest keyframe, where one appears within half the way to its neighbours.

    No two moments move to the same keyframe. Files whose frames have no labels are left as they are: they are decoded
    from the start in any case.

    Args:
        path: a local video file.
        timestamps_seconds: moments, ascending, (F,).

    Returns:
        The moments, ascending, (F,), those that moved in the middle of their keyframe's time on screen; and the
        largest shift, in seconds.

    Raises:
        VideoError: the file cannot be opened as a video.
    """
    index = index_of(path)
    moments = [float(moment) for moment in timestamps_seconds]
    if not index.is_labelled:
        return tuple(moments), 0.0
    middles = _middles_of_keyframes(index)
    gaps = [later - earlier for earlier, later in pairwise(moments)] or [2 * (index.ends_seconds - index.seconds[0])]
    before, after = [gaps[0], *gaps], [*gaps, gaps[-1]]
    moved: list[float] = []
    taken = -1
    for moment, gap_before, gap_after in zip(moments, before, after, strict=True):
        nearest = int(np.abs(middles - moment).argmin())
        shift = float(middles[nearest]) - moment
        if nearest > taken and -gap_before / 2 <= shift <= gap_after / 2:
            taken = nearest
            moved.append(moment + shift)
        else:
            moved.append(moment)
    return tuple(moved), max(abs(new - old) for new, old in zip(moved, moments, strict=True))


def _middles_of_keyframes(index: Index) -> np.ndarray:
    """The middle of each keyframe's time on screen, in seconds, (K,)."""
    frames = np.searchsorted(index.ticks, index.keys)
    edges = np.append(index.seconds, index.ends_seconds)
    middles: np.ndarray = (edges[frames] + edges[frames + 1]) / 2
    return middles

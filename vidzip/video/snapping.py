"""Moving moments to keyframes, where decoding begins: much faster on long videos, and other frames."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Int64

from vidzip.video.containers import open_video
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
    keys = _keyframes_near(path, index, moments)
    if not index.is_labelled or not len(keys):
        return tuple(moments), 0.0
    middles = _middles(index, keys)
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    alone = [2 * (index.ends_seconds - float(index.seconds[0]))]
    before, after = (gaps[:1] or alone) + gaps, gaps + (gaps[-1:] or alone)
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


def _keyframes_near(
    path: str | os.PathLike[str], index: Index, moments: Sequence[float]
) -> Int64[np.ndarray, " keyframes"]:
    """When keyframes appear, ascending, in ticks: all of them, or those about the moments.

    A header lists frames in the order stored, where a keyframe may come before frames that are shown before it: so
    those that it lists near a moment are read.
    """
    if index.step is None:
        return index.keys
    after = np.searchsorted(index.to_seconds(index.keys), moments)
    near = set(np.clip(after[:, None] + np.array([-2, -1, 0]), 0, len(index.keys) - 1).flatten().tolist())
    with open_video(path) as video:
        found = {video.seek(tick) for tick in index.keys[sorted(near)].tolist()}
    keyframes = np.array(sorted(tick for tick in found if tick is not None), dtype=np.int64)
    return keyframes[np.isin(keyframes, index.ticks)]


def _middles(index: Index, keys: Int64[np.ndarray, " keyframes"]) -> Float64[np.ndarray, " keyframes"]:
    """The middle of each keyframe's time on screen, in seconds, (K,)."""
    frames = np.searchsorted(index.ticks, keys)
    edges = np.append(index.seconds, index.ends_seconds)
    middles: np.ndarray = (edges[frames] + edges[frames + 1]) / 2
    return middles

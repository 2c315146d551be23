"""Moving timestamps to keyframes, at which decoding starts: much faster for long videos, but with other frames."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Int64

from vidzip.video.containers import open_video
from vidzip.video.indexing import FrameIndex, index_frames


def snap_to_keyframes(
    path: str | os.PathLike[str], timestamps_seconds: Sequence[float]
) -> tuple[tuple[float, ...], float]:
    """Move each timestamp to the nearest keyframe, if that is at most halfway to the next timestamp.

    No two timestamps move to the same keyframe. Timestamps of files without reliable frame timestamps do not move:
    these files are decoded from the start in any case.

    Args:
        path: a local video file.
        timestamps_seconds: ascending, (F,).

    Returns:
        The timestamps, ascending, (F,), those that moved at the middle of their keyframe; and the largest shift, in
        seconds.

    Raises:
        VideoError: the file cannot be opened as a video.
    """
    index = index_frames(path)
    timestamps = [float(seconds) for seconds in timestamps_seconds]
    keyframes = _keyframes_near(path, index, timestamps)
    if not index.has_reliable_timestamps or not len(keyframes):
        return tuple(timestamps), 0.0
    middles = _middles(index, keyframes)
    gaps = [later - earlier for earlier, later in pairwise(timestamps)]
    single = [2 * (index.end_seconds - float(index.seconds[0]))]
    before, after = (gaps[:1] or single) + gaps, gaps + (gaps[-1:] or single)
    snapped: list[float] = []
    latest = -1
    for seconds, gap_before, gap_after in zip(timestamps, before, after, strict=True):
        nearest = int(np.abs(middles - seconds).argmin())
        shift = float(middles[nearest]) - seconds
        if nearest > latest and -gap_before / 2 <= shift <= gap_after / 2:
            latest = nearest
            snapped.append(seconds + shift)
        else:
            snapped.append(seconds)
    return tuple(snapped), max(abs(new - old) for new, old in zip(snapped, timestamps, strict=True))


def _keyframes_near(
    path: str | os.PathLike[str], index: FrameIndex, timestamps: Sequence[float]
) -> Int64[np.ndarray, " keyframes"]:
    """Return the ticks of keyframes, ascending: all of them, or with an index from a header those near timestamps.

    A header lists frames in stored order, where a keyframe may precede frames that are displayed before it: so the
    keyframes that it lists near a timestamp are read.
    """
    if not index.from_header:
        return index.keyframes
    after = np.searchsorted(index.to_seconds(index.keyframes), timestamps)
    near = set(np.clip(after[:, None] + np.array([-2, -1, 0]), 0, len(index.keyframes) - 1).flatten().tolist())
    with open_video(path) as video:
        found = {video.seek(tick) for tick in index.keyframes[sorted(near)].tolist()}
    keyframes = np.array(sorted(tick for tick in found if tick is not None), dtype=np.int64)
    return keyframes[np.isin(keyframes, index.ticks)]


def _middles(index: FrameIndex, keyframes: Int64[np.ndarray, " keyframes"]) -> Float64[np.ndarray, " keyframes"]:
    """Return the middle of each keyframe's time on screen, in seconds, (K,)."""
    frames = np.searchsorted(index.ticks, keyframes)
    edges = np.append(index.seconds, index.end_seconds)
    middles: np.ndarray = (edges[frames] + edges[frames + 1]) / 2
    return middles

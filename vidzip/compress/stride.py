"""Evenly spaced patches: a baseline that looks at where tokens stand, and not at what they say."""

from __future__ import annotations

import math

import torch

from vidzip.compress.counts import Counts, per_frame, to_device
from vidzip.compress.zipped import ZippedFrames
from vidzip.features import FrameFeatures
from vidzip.planner import split_budget


def stride(features: FrameFeatures, tokens_per_frame: Counts) -> ZippedFrames:
    """Keep CLS and patches spread evenly over the picture, in raster order; the others are dropped.

    n patches of a square grid stand in about as many rows as columns: round(sqrt(n)) rows, each with its share of n,
    rows and patches at the middles of equal stretches; 16 of 16 by 16 are a grid of 4 by 4. Patches that form no square
    are taken as one line.

    Args:
        features: F frames of S tokens, CLS first.
        tokens_per_frame: tokens to keep, CLS included, one integer or one a frame. 0 gives a frame no tokens; S or
            more leaves it unchanged.

    Raises:
        BadArgument: counts that are negative, not integers, on a GPU, or of another number than the frames.
    """
    num_frames, size = features.num_frames, features.tokens_per_frame
    places = [_places(min(k, size), size) for k in per_frame(tokens_per_frame, num_frames, "tokens_per_frame")]
    frame_of = torch.tensor([frame for frame, kept in enumerate(places) for _ in kept], dtype=torch.long)
    anchor_of = torch.tensor([place for kept in places for place in kept], dtype=torch.long)
    source = torch.full((num_frames, size), -1)
    source[frame_of, anchor_of] = torch.arange(len(frame_of))
    device = features.hidden.device
    frame_of, anchor_of, source = (to_device(values, device) for values in (frame_of, anchor_of, source))
    return ZippedFrames(
        tokens=features.hidden[frame_of, anchor_of], frame_of=frame_of, anchor_of=anchor_of, source=source
    )


def _places(count: int, size: int) -> list[int]:
    """Where ``count`` of a frame's ``size`` tokens stand, ascending, CLS first."""
    if count == 0:
        return []
    return [0, *(1 + patch for patch in _spread(count - 1, size - 1))]


def _spread(count: int, num_patches: int) -> list[int]:
    """Numbers of ``count`` patches, spread over all."""
    if count == 0:
        return []
    side = math.isqrt(num_patches)
    if side * side != num_patches:
        return _middles(count, num_patches)
    rows = round(math.sqrt(count))
    shares = split_budget(count, rows)
    return [
        row * side + column
        for row, share in zip(_middles(rows, side), shares, strict=True)
        for column in _middles(share, side)
    ]


def _middles(count: int, length: int) -> list[int]:
    """The middles of ``count`` equal stretches of a line of ``length`` places; all differ where ``count`` fits it."""
    return [(2 * i + 1) * length // (2 * count) for i in range(count)]

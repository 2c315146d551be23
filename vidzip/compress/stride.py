"""Evenly spaced patches: a baseline that uses the positions of tokens, and not their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from vidzip.compress.counts import to_device
from vidzip.compress.grid import places_per_row
from vidzip.compress.method import Method
from vidzip.compress.top_k import keep_masked
from vidzip.compress.zipped import ZippedFrames
from vidzip.features import VisionFeatures


@dataclass(frozen=True, kw_only=True)
class Stride(Method):
    """CLS and evenly spaced patches, in raster order; the others are dropped.

    Patches are in rows, see :func:`~vidzip.compress.grid.places_per_row`; rows, and patches within a row, are at the
    middles of equal intervals. 16 of 16 x 16 patches are a grid of 4 x 4.
    """

    summary: ClassVar[str] = "keeps CLS and evenly spaced patches"
    origin: ClassVar[str] = "baseline for every choice of patches"
    keeps_cls: ClassVar[bool] = True

    def compress(self, features: VisionFeatures, counts: list[int]) -> ZippedFrames:
        """Keep ``counts[f]`` tokens of frame f."""
        mask = torch.zeros(features.num_frames, features.tokens_per_frame, dtype=torch.bool)
        for frame, count in enumerate(counts):
            mask[frame, _positions(count, features)] = True
        return keep_masked(features, to_device(mask, features.patches.device), sum(counts))


def _positions(count: int, features: VisionFeatures) -> list[int]:
    """Choose the source positions of ``count`` tokens of a frame, ascending."""
    cls = [0] if features.has_cls and count else []
    rows, columns = features.grid
    per_row = places_per_row(count - len(cls), features.grid)
    return cls + [
        features.num_cls + row * columns + column
        for row, num_places in zip(_middles(len(per_row), rows), per_row, strict=True)
        for column in _middles(num_places, columns)
    ]


def _middles(count: int, length: int) -> list[int]:
    """Return the middles of ``count`` equal intervals of [0, length); all differ if ``count`` is at most ``length``."""
    return [(2 * i + 1) * length // (2 * count) for i in range(count)]

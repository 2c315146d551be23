"""Evenly spaced patches: a baseline that looks at where tokens stand, and not at what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from vidzip.compress.choosing import keep
from vidzip.compress.counts import to_device
from vidzip.compress.grid import places_per_row
from vidzip.compress.method import Method
from vidzip.compress.zipped import ZippedFrames
from vidzip.features import VisionFeatures


@dataclass(frozen=True, kw_only=True)
class Stride(Method):
    """CLS and patches spread evenly over the picture, in raster order; the others are dropped.

    Patches lie in rows, see :func:`vidzip.compress.grid.places_per_row`; rows, and patches within a row, are at the
    middles of equal stretches. 16 of 16 x 16 patches are a grid of 4 x 4.
    """

    summary: ClassVar[str] = "CLS and patches spread evenly over the picture"
    origin: ClassVar[str] = "a baseline for every choice of patches"
    keeps_cls: ClassVar[bool] = True

    def compress(self, features: VisionFeatures, counts: list[int]) -> ZippedFrames:
        """Keep ``counts[f]`` tokens of frame f."""
        kept = torch.zeros(features.num_frames, features.tokens_per_frame, dtype=torch.bool)
        for frame, count in enumerate(counts):
            kept[frame, _positions(count, features)] = True
        return keep(features, to_device(kept, features.patches.device), sum(counts))


def _positions(count: int, features: VisionFeatures) -> list[int]:
    """Choose the source positions of ``count`` tokens of a frame, ascending."""
    cls = [0] if features.has_cls and count else []
    rows, columns = features.grid
    per_row = places_per_row(count - len(cls), features.grid)
    return [
        *cls,
        *(
            features.num_cls + row * columns + column
            for row, share in zip(_middles(len(per_row), rows), per_row, strict=True)
            for column in _middles(share, columns)
        ),
    ]


def _middles(count: int, length: int) -> list[int]:
    """The middles of ``count`` equal stretches of a line of ``length`` places; all differ where ``count`` fits it."""
    return [(2 * i + 1) * length // (2 * count) for i in range(count)]

"""Evenly spaced patches: a baseline that looks at where tokens stand, and not at what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from vidzip.compress.counts import to_device
from vidzip.compress.grid import rows_of
from vidzip.compress.method import Method
from vidzip.compress.zipped import ZippedFrames
from vidzip.features import FrameFeatures


@dataclass(frozen=True, kw_only=True)
class Stride(Method):
    """CLS and patches spread evenly over the picture, in raster order; the others are dropped.

    n patches of a square grid stand in about as many rows as columns, see :func:`vidzip.compress.grid.rows_of`, rows
    and patches at the middles of equal stretches; 16 of 16 by 16 are a grid of 4 by 4. Patches that form no square are
    taken as one line.
    """

    summary: ClassVar[str] = "CLS and patches spread evenly over the picture"
    origin: ClassVar[str] = "a baseline for every choice of patches"

    def compress(self, features: FrameFeatures, counts: list[int]) -> ZippedFrames:
        """Keep just so many tokens of each frame."""
        num_frames, size = features.num_frames, features.tokens_per_frame
        places = [_places(count, size) for count in counts]
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
    rows, side = rows_of(count - 1, size - 1)
    return [
        0,
        *(
            1 + row * side + column
            for row, share in zip(_middles(len(rows), (size - 1) // side), rows, strict=True)
            for column in _middles(share, side)
        ),
    ]


def _middles(count: int, length: int) -> list[int]:
    """The middles of ``count`` equal stretches of a line of ``length`` places; all differ where ``count`` fits it."""
    return [(2 * i + 1) * length // (2 * count) for i in range(count)]

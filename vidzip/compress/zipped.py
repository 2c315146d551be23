"""The value that every compression method returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class ZippedFrames:
    """The T tokens kept of F frames, and the kept token in which every source token ended.

    The source positions of a frame: CLS is 0 if the tower has one, patches follow in raster order.

    Attributes:
        tokens: the kept tokens, before the projector, (T, D); frame by frame, in the method's order within a frame.
        frame_of: the frame of each token, (T,), ascending.
        anchor_of: the source position of each token in its frame, (T,).
        source: the index in ``tokens`` where each source token ended, -1 if it was dropped; all frames' source tokens
            in order, (sum of S,). :meth:`source_of` selects a frame's.
        grids: rows and columns of each frame's patches, (F,).
        has_cls: whether frames have a CLS token.
    """

    tokens: Float[Tensor, "kept dim"]
    frame_of: Int[Tensor, " kept"]
    anchor_of: Int[Tensor, " kept"]
    source: Int[Tensor, " source_tokens"]
    grids: tuple[tuple[int, int], ...]
    has_cls: bool

    @property
    def num_tokens(self) -> int:
        """T, the number of kept tokens."""
        return self.tokens.shape[0]

    @property
    def num_frames(self) -> int:
        """F, the number of frames."""
        return len(self.grids)

    @property
    def frame_starts(self) -> tuple[int, ...]:
        """The index in ``source`` at which each frame begins, and its length at the end, (F + 1,)."""
        return frame_starts(self.grids, has_cls=self.has_cls)

    def source_of(self, frame: int) -> Int[Tensor, " source_tokens"]:
        """Select a frame's entries of ``source``: CLS first if there is one, then patches in raster order, (S,)."""
        starts = self.frame_starts
        return self.source[starts[frame] : starts[frame + 1]]

    @staticmethod
    def cat(parts: Sequence[ZippedFrames]) -> ZippedFrames:
        """Join the zipped frames of consecutive runs, one or more, of the same tower."""
        if len(parts) == 1:
            return parts[0]
        first_frames = accumulate((part.num_frames for part in parts), initial=0)
        first_tokens = accumulate((part.num_tokens for part in parts), initial=0)
        return ZippedFrames(
            tokens=torch.cat([part.tokens for part in parts]),
            frame_of=torch.cat([part.frame_of + first for part, first in zip(parts, first_frames, strict=False)]),
            anchor_of=torch.cat([part.anchor_of for part in parts]),
            source=torch.cat(
                [
                    part.source.where(part.source < 0, part.source + n)
                    for part, n in zip(parts, first_tokens, strict=False)
                ]
            ),
            grids=tuple(grid for part in parts for grid in part.grids),
            has_cls=parts[0].has_cls,
        )


def frame_starts(grids: Sequence[tuple[int, int]], *, has_cls: bool) -> tuple[int, ...]:
    """Count the source tokens before each frame, and those of all frames at the end, (F + 1,)."""
    return tuple(accumulate((rows * columns + has_cls for rows, columns in grids), initial=0))

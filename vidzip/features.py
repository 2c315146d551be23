"""Features of frames at one layer of a vision tower: what encoding returns and compression takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vidzip.errors import BadArgument


@dataclass(frozen=True, kw_only=True, eq=False)
class VisionFeatures:
    """Features of F frames of N patches each.

    The source tokens of a frame, S in all, are its CLS token, if the tower has one, and its patches in raster order.

    Attributes:
        patches: the layer's output, before any post layer norm, (F, N, D).
        scores: importance of each patch: the attention that CLS pays to it, summed over heads, (F, N).
        keys: keys of the layer's attention, averaged over heads, for similarity, (F, N, K).
        grid: rows and columns of patches; their product is N.
        cls: the layer's output for the CLS token, (F, D); None if the tower has no CLS token.

    Raises:
        BadArgument: the shapes do not fit each other or the grid.
    """

    patches: Float[Tensor, "frames patches dim"]
    scores: Float[Tensor, "frames patches"]
    keys: Float[Tensor, "frames patches key_dim"]
    grid: tuple[int, int]
    cls: Float[Tensor, "frames dim"] | None = None

    def __post_init__(self) -> None:
        rows, columns = self.grid
        patches, scores, keys = (tuple(part.shape) for part in (self.patches, self.scores, self.keys))
        fits = len(patches) == len(keys) == 3 and patches[:2] == keys[:2] == scores
        if not fits or (self.cls is not None and tuple(self.cls.shape) != (patches[0], patches[2])):
            cls = "" if self.cls is None else f", cls {tuple(self.cls.shape)}"
            raise BadArgument(
                f"the shapes do not fit: patches {patches}, scores {scores}, keys {keys}{cls}",
                hint="give (frames, patches, dim), (frames, patches), (frames, patches, key_dim) and (frames, dim)",
            )
        if rows < 1 or columns < 1 or rows * columns != patches[1]:
            raise BadArgument(
                f"a grid of {rows} rows and {columns} columns for {patches[1]} patches",
                hint="rows times columns must be the number of patches",
            )

    @property
    def num_frames(self) -> int:
        """F."""
        return self.patches.shape[0]

    @property
    def num_patches(self) -> int:
        """N, the patches of a frame."""
        return self.patches.shape[1]

    @property
    def has_cls(self) -> bool:
        """Whether frames have a CLS token."""
        return self.cls is not None

    @property
    def num_cls(self) -> int:
        """CLS tokens of a frame, 0 or 1: the source position of the first patch."""
        return int(self.has_cls)

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        """The grid of each frame, (F,)."""
        return (self.grid,) * self.num_frames

    @property
    def tokens_per_frame(self) -> int:
        """S, the source tokens of a frame: N, plus 1 with CLS."""
        return self.num_patches + self.num_cls

    @property
    def tokens(self) -> Float[Tensor, "frames tokens dim"]:
        """The source tokens, CLS first, (F, S, D); a copy if there is a CLS token."""
        return self.patches if self.cls is None else torch.cat([self.cls[:, None], self.patches], dim=1)

    def __getitem__(self, frames: slice | list[int] | Tensor) -> VisionFeatures:
        """Select frames, in the given order."""
        return VisionFeatures(
            patches=self.patches[frames],
            scores=self.scores[frames],
            keys=self.keys[frames],
            grid=self.grid,
            cls=None if self.cls is None else self.cls[frames],
        )

    @staticmethod
    def cat(parts: Sequence[VisionFeatures]) -> VisionFeatures:
        """Join features of consecutive frames, such as those encoded in chunks.

        Raises:
            BadArgument: there are no parts, or their grids, widths or CLS differ.
        """
        if not parts:
            raise BadArgument("no frames were encoded", hint="give at least one frame")
        if len(parts) == 1:
            return parts[0]
        kinds = {(part.grid, part.has_cls, part.patches.shape[2], part.keys.shape[2]) for part in parts}
        if len(kinds) > 1:
            raise BadArgument(
                f"features of different kinds cannot be joined: (grid, has_cls, dim, key_dim) are {sorted(kinds)}",
                hint="give frames of one tower and one grid, or a sequence of features to zip_frames",
            )
        cls = [part.cls for part in parts if part.cls is not None]
        return VisionFeatures(
            patches=torch.cat([part.patches for part in parts]),
            scores=torch.cat([part.scores for part in parts]),
            keys=torch.cat([part.keys for part in parts]),
            grid=parts[0].grid,
            cls=torch.cat(cls) if cls else None,
        )

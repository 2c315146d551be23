"""What a vision tower says about frames: the value that stands between encoding and compressing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vidzip.errors import BadArgument


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameFeatures:
    """Observed features of F frames, each of S tokens (CLS first), at one encoder layer.

    Attributes:
        hidden: the layer's output before any post layer norm, (F, S, D).
        keys: the layer's ``k_proj`` output (bias included, unscaled), averaged over heads, (F, S, head_dim).
        attention: the CLS query's post-softmax attention, summed over heads, (F, S); column 0 is CLS to itself.
    """

    hidden: Float[Tensor, "frames tokens dim"]
    keys: Float[Tensor, "frames tokens head_dim"]
    attention: Float[Tensor, "frames tokens"]

    def __post_init__(self) -> None:
        shapes = (tuple(self.hidden.shape), tuple(self.keys.shape), tuple(self.attention.shape))
        if not (self.hidden.ndim == self.keys.ndim == 3 and self.attention.ndim == 2) or (
            not self.hidden.shape[:2] == self.keys.shape[:2] == self.attention.shape
        ):
            raise BadArgument(
                f"hidden, keys and attention have shapes {shapes[0]}, {shapes[1]} and {shapes[2]}",
                hint="they must be (frames, tokens, dim), (frames, tokens, head_dim) and (frames, tokens)",
            )

    @property
    def num_frames(self) -> int:
        """F, the number of frames."""
        return self.hidden.shape[0]

    @property
    def tokens_per_frame(self) -> int:
        """S, the number of tokens of one uncompressed frame, CLS included."""
        return self.hidden.shape[1]

    def __getitem__(self, frames: slice | list[int] | Tensor) -> FrameFeatures:
        """The features of some of the frames, in the given order."""
        return FrameFeatures(hidden=self.hidden[frames], keys=self.keys[frames], attention=self.attention[frames])

    @staticmethod
    def cat(parts: list[FrameFeatures]) -> FrameFeatures:
        """Join features of consecutive frames, encoded in chunks.

        Raises:
            BadArgument: there is nothing to join.
        """
        if not parts:
            raise BadArgument("no frames were encoded", hint="give at least one frame")
        if len(parts) == 1:
            return parts[0]
        return FrameFeatures(
            hidden=torch.cat([part.hidden for part in parts]),
            keys=torch.cat([part.keys for part in parts]),
            attention=torch.cat([part.attention for part in parts]),
        )

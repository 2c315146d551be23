"""The value that every compression method returns."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class ZippedFrames:
    """The T tokens kept of F frames of S source tokens each, and where every source token went.

    Attributes:
        tokens: the kept tokens, before the projector, (T, D); frame by frame, in the method's order within a frame.
        frame_of: the frame each token belongs to, (T,), ascending.
        anchor_of: the source position each token stands on, in [0, S), (T,).
        source: the index in ``tokens`` where each source token ended, -1 where it was dropped, (F, S).
    """

    tokens: Float[Tensor, "kept dim"]
    frame_of: Int[Tensor, " kept"]
    anchor_of: Int[Tensor, " kept"]
    source: Int[Tensor, "frames tokens"]

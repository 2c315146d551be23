"""Unified spatiotemporal compression (arXiv 2603.21957): one pool of patches for the whole video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from vidzip.compress.method import option
from vidzip.compress.selecting import (
    AcrossFrames,
    Choice,
    Patches,
    density_peaks,
    in_range,
    most_similar,
    num_candidates,
    ordered,
)


@dataclass(frozen=True, kw_only=True)
class UnifiedSt(AcrossFrames):
    """Patches of the whole video by attention, no two alike, and density peaks that the rest joins.

    All patches are ranked by CLS attention. In this order, one is accepted if its greatest cosine to those accepted is
    below ``threshold``, until all but ``floor(refilled * B)`` of B tokens are taken. The others are filled with the
    greatest :func:`~vidzip.compress.selecting.density_peaks` of what was not accepted, also where the threshold lets
    fewer pass; each patch that is left joins the most similar of these. What is accepted stays as it is.

    It differs from the published method in this. Tokens are the tower's, before the projector. Accepted ones and peaks
    are looked for among the ``pool`` times B patches of the most attention, but at most
    :data:`~vidzip.compress.selecting.MOST_CANDIDATES`, unless B is larger: all with all others would not fit into
    memory. Its merging inside the language model is left out. The paper does not tell how many neighbours a density is
    taken of; here it is FastVID's number. Counts are exact.

    With N candidates it takes 2 * N^2 * dim multiplications, a step of N comparisons for each patch accepted, and
    F * P * refilled * B * dim multiplications to join.
    """

    summary: ClassVar[str] = "patches of all frames by attention, no two alike; the rest joins density peaks"
    origin: ClassVar[str] = "Unified Spatiotemporal Token Compression, CVPR 2026, arXiv 2603.21957"

    threshold: float = option(0.7, "a patch is accepted if it is less similar than this to all accepted ones")
    refilled: float = option(0.3, "share of the patches kept that the rest is merged into")
    neighbours: int = option(4, "nearest candidates that a density is taken of")
    pool: int = option(16, "candidates for each patch kept")

    def __post_init__(self) -> None:
        in_range("threshold", self.threshold, -1, 1)
        in_range("refilled", self.refilled, 0, 1)
        in_range("neighbours", self.neighbours, 1)
        in_range("pool", self.pool, 1)

    def _choose(self, patches: Patches, count: int) -> Choice:
        values = patches.values(self.compare)
        unit = F.normalize(values, dim=-1)
        candidates = ordered(-patches.scores)[: num_candidates(self.pool, count, patches.count)]
        own = unit.flatten(0, 1)[candidates]
        is_accepted = accept(own @ own.T < self.threshold, count - int(self.refilled * count))

        score = density_peaks(values.flatten(0, 1)[candidates][None], ~is_accepted[None], self.neighbours)[0]
        kept = ordered(~is_accepted, -score)[:count]
        anchors = candidates[kept]
        may_join = (~is_accepted[kept]).expand(patches.num_frames, -1)
        return Choice(anchors=anchors, ends=most_similar(unit, anchors, may_join))


def accept(is_unlike: Bool[Tensor, "points points"], most: int) -> Bool[Tensor, " points"]:
    """Accept points in order, each that is unlike all accepted before it, ``most`` of them at most.

    Args:
        is_unlike: which pairs may both be accepted, (N, N); a point with itself does not matter.
        most: steps to take.
    """
    unlike = is_unlike.to(torch.uint8)
    unlike.diagonal().zero_()
    is_open = torch.ones_like(unlike[0])
    picks = []
    for _ in range(most):
        pick = is_open.argmax(dim=0, keepdim=True)  # the first that is open; where none is, the very first again
        picks.append(pick)
        is_open = is_open * unlike.index_select(0, pick)[0]
    is_accepted = torch.zeros_like(is_open, dtype=torch.bool)
    return is_accepted.scatter(0, torch.cat(picks), value=True) if picks else is_accepted

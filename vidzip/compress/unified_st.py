"""Unified spatiotemporal compression (arXiv 2603.21957): one pool of patches for the whole video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from vidzip.compress.across_frames import (
    AcrossFrames,
    Choice,
    Patches,
    argsort_by,
    density_peak_scores,
    most_similar,
    num_candidates,
)
from vidzip.compress.method import check_range, option


@dataclass(frozen=True, kw_only=True)
class UnifiedSt(AcrossFrames):
    """Dissimilar patches of the whole video by attention, and density peaks that the others are merged into.

    Patches are visited by CLS attention, the highest first. One is accepted if its highest cosine similarity to the
    accepted ones is below ``threshold``, until all but ``floor(refilled * B)`` of B tokens are used. The rest of the
    budget goes to the highest :func:`~vidzip.compress.across_frames.density_peak_scores` of the patches that were not
    accepted; each remaining patch is merged into the most similar of these. Accepted patches stay unchanged.

    Differences from the published method: tokens are the tower's, before the projector. Candidates are the ``pool``
    times B patches with the most attention, within :data:`~vidzip.compress.across_frames.MAX_CANDIDATES`, because all
    pairs of patches would not fit into memory. Merging inside the language model is left out. The paper does not state
    the number of neighbours of a density; FastVID's is used. Counts are exact.

    With C candidates it takes 2 * C^2 * dim multiplications, a step of C comparisons for each accepted patch, and
    F * N * refilled * B * dim multiplications to merge.
    """

    summary: ClassVar[str] = "keeps dissimilar patches of all frames by attention; merges the rest into density peaks"
    origin: ClassVar[str] = "Unified Spatiotemporal Token Compression, CVPR 2026, arXiv 2603.21957"

    threshold: float = option(0.7, "a patch is accepted if it is less similar than this to all accepted ones")
    refilled: float = option(0.3, "share of the kept patches that the rest is merged into")
    neighbours: int = option(4, "nearest candidates that determine a density")
    pool: int = option(16, "candidates for each kept patch")

    def __post_init__(self) -> None:
        check_range("threshold", self.threshold, -1, 1)
        check_range("refilled", self.refilled, 0, 1)
        check_range("neighbours", self.neighbours, 1)
        check_range("pool", self.pool, 1)

    def _choose(self, patches: Patches, count: int) -> Choice:
        values = patches.values(self.compare)
        unit = F.normalize(values, dim=-1)
        candidates = argsort_by(-patches.scores)[: num_candidates(self.pool, count, patches.total)]
        own = unit.flatten(0, 1)[candidates]
        is_accepted = accept_dissimilar(own @ own.T < self.threshold, count - int(self.refilled * count))

        score = density_peak_scores(values.flatten(0, 1)[candidates][None], ~is_accepted[None], self.neighbours)[0]
        kept = argsort_by(~is_accepted, -score)[:count]
        anchors = candidates[kept]
        is_allowed = (~is_accepted[kept]).expand(patches.num_frames, -1)
        return Choice(anchors=anchors, targets=most_similar(unit, anchors, is_allowed))


def accept_dissimilar(is_dissimilar: Bool[Tensor, "points points"], max_accepted: int) -> Bool[Tensor, " points"]:
    """Accept points in order, each one that is dissimilar to all accepted before it.

    Args:
        is_dissimilar: which pairs may both be accepted, (n, n); the diagonal is ignored.
        max_accepted: the limit of accepted points.
    """
    dissimilar = is_dissimilar.to(torch.uint8)
    dissimilar.diagonal().zero_()
    is_open = torch.ones_like(dissimilar[0])
    accepted = []
    for _ in range(max_accepted):
        first = is_open.argmax(dim=0, keepdim=True)  # the first open point; if there is none, point 0 again
        accepted.append(first)
        is_open = is_open * dissimilar.index_select(0, first)[0]
    is_accepted = torch.zeros_like(is_open, dtype=torch.bool)
    return is_accepted.scatter(0, torch.cat(accepted), value=True) if accepted else is_accepted

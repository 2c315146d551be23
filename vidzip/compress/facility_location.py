"""Facility location: greedily chosen patches that together are the most similar to all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vidzip.compress.across_frames import AcrossFrames, Choice, Patches, most_similar, num_candidates
from vidzip.compress.method import check_range, option
from vidzip.planner import split_evenly


@dataclass(frozen=True, kw_only=True)
class FacilityLocation(AcrossFrames):
    """The patches U that greedily increase ``sum over v of max over u in U of cos(v, u)`` the most.

    With similarities shifted by 1, so that none is negative, the greedy choice reaches at least 1 - 1/e of the optimum.
    Sums are over candidates: of each frame, the same number of patches with the most CLS attention, ``pool`` times as
    many in all as are kept, within :data:`~vidzip.compress.across_frames.MAX_CANDIDATES`. By default, kept patches are
    unchanged; with ``merge``, each other patch of the video is merged into the most similar kept one.

    With C candidates it takes C^2 * dim multiplications, a step of C^2 comparisons for each kept patch and, to merge
    into B patches, F * N * B * dim multiplications.
    """

    summary: ClassVar[str] = "keeps patches that together are the most similar to all, chosen greedily"
    origin: ClassVar[str] = "Nemhauser, Wolsey and Fisher, Mathematical Programming 14 (1978), 265-294"

    merge: Literal["mean", "sum", "none"] = option(
        "none",
        "what happens to other tokens: they are dropped (none), or each is averaged into the most similar kept one "
        "(mean), or their mean is added to it (sum)",
    )
    pool: int = option(16, "candidates for each kept patch")

    def __post_init__(self) -> None:
        check_range("pool", self.pool, 1)

    def _choose(self, patches: Patches, count: int) -> Choice:
        size = num_candidates(self.pool, count, patches.total)
        anchors = self._candidates(patches, size)
        unit = F.normalize(patches.values(self.compare), dim=-1)
        if count < size:
            own = unit.flatten(0, 1)[anchors]
            anchors = anchors[self._cover(own @ own.T, patches, anchors, count).sort().values]
        return Choice(anchors=anchors, targets=None if self.merge == "none" else most_similar(unit, anchors))

    def _candidates(self, patches: Patches, size: int) -> Int[Tensor, " candidates"]:
        """Return the indices of the candidates, ascending."""
        return patches.take_first(patches.by_score(), split_evenly(size, patches.num_frames)).sort().values

    def _cover(
        self, similarity: Float[Tensor, "size size"], patches: Patches, candidates: Int[Tensor, " size"], count: int
    ) -> Int[Tensor, " chosen"]:
        """Choose ``count`` candidates by their place, given their cosine similarities."""
        # 1 more than a cosine adds 1 to the gain of every candidate that is not chosen, and makes rounding the same as
        # that of published results.
        similarity.diagonal().fill_(2)
        return greedy_cover(similarity, count, min_similarity=-1)


def greedy_cover(
    similarity: Float[Tensor, "points points"],
    count: int,
    weights: Float[Tensor, " points"] | None = None,
    min_similarity: float = 0,
) -> Int[Tensor, " chosen"]:
    """Choose points one by one: the one that most increases the sum over all points of the highest similarity.

    Args:
        similarity: symmetric, (n, n).
        count: number of points to choose, in [1, n].
        weights: weights of the sum, at least 0, (n,); 1 each by default.
        min_similarity: a lower bound of the similarities, which counts before the first point is chosen.

    Returns:
        The indices of the points, in the order of choice, (count,).
    """
    covered = similarity.new_full(similarity.shape[:1], min_similarity)
    is_chosen = torch.zeros_like(covered, dtype=torch.bool)
    increase = torch.empty_like(similarity)
    chosen = []
    for _ in range(count):
        torch.sub(similarity, covered, out=increase).relu_()
        gain = increase.sum(1) if weights is None else increase @ weights
        best = gain.masked_fill(is_chosen, -1).argmax(dim=0, keepdim=True)
        chosen.append(best)
        is_chosen = is_chosen.scatter(0, best, value=True)
        covered = torch.maximum(covered, similarity.index_select(0, best)[0])
    return torch.cat(chosen)

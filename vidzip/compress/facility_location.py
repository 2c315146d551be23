"""Facility location: the patches that together are the most similar to all, chosen greedily."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vidzip.compress.method import option
from vidzip.compress.selecting import (
    AcrossFrames,
    Choice,
    Patches,
    in_range,
    most_similar,
    num_candidates,
)
from vidzip.planner import split_evenly


@dataclass(frozen=True, kw_only=True)
class FacilityLocation(AcrossFrames):
    """Greedily, the patches U that raise ``sum over v of max over u in U of cos(v, u)`` the most.

    Similarities are shifted by 1, so that none is negative; the greedy choice then reaches at least 1 - 1/e of the
    best one. Sums run over candidates: of each frame, the same number of patches that CLS attends to most, ``pool``
    times as many in all as are kept, but at most
    :data:`~vidzip.compress.selecting.MOST_CANDIDATES`, unless more are kept. By default a kept patch stands for those
    around it as it is; with ``merge``, each other patch of the video joins the most similar kept one.

    With N candidates it takes N^2 * dim multiplications, a step for each patch kept of N^2 comparisons, and, to merge,
    F * P * B * dim multiplications.
    """

    summary: ClassVar[str] = "patches that together are the most similar to all, chosen greedily"
    origin: ClassVar[str] = "Nemhauser, Wolsey and Fisher, Mathematical Programming 14 (1978), 265-294"

    merge: Literal["mean", "sum", "none"] = option(
        "none",
        "others are dropped (none), or join the most similar kept one, which is averaged with them (mean) or gets their "
        "mean added (sum)",
    )
    pool: int = option(16, "candidates for each patch kept")

    def __post_init__(self) -> None:
        in_range("pool", self.pool, 1)

    def _choose(self, patches: Patches, count: int) -> Choice:
        size = num_candidates(self.pool, count, patches.count)
        candidates = patches.firsts(patches.by_score(), split_evenly(size, patches.num_frames)).sort().values
        unit = F.normalize(patches.values(self.compare), dim=-1)
        anchors = candidates
        if count < size:
            own = unit.flatten(0, 1)[candidates]
            anchors = candidates[most_covering(own @ own.T, count).sort().values]
        if self.merge == "none":
            return Choice(anchors=anchors, ends=torch.full_like(patches.numbers(), -1))
        return Choice(anchors=anchors, ends=most_similar(unit, anchors))


def most_covering(similarity: Float[Tensor, "points points"], count: int) -> Int[Tensor, " chosen"]:
    """Choose points one by one, each time the one that raises the sum of greatest similarities to all points the most.

    Args:
        similarity: cosines, symmetric, (N, N); what it holds is used up.
        count: how many, in [1, N].

    Returns:
        Their places, in the order in which they are chosen, (count,).
    """
    covered = similarity.new_full(similarity.shape[:1], -1)
    # To itself, a point is similar by 1 more than it is. That raises the gain of each by 1, but of those chosen: they
    # gain nothing, whatever the rounding, so that none is chosen twice and no step has to say which were.
    similarity.diagonal().fill_(2)
    room = torch.empty_like(similarity)
    chosen = []
    for _ in range(count):
        gain = torch.sub(similarity, covered, out=room).relu_().sum(1)
        pick = gain.argmax(dim=0, keepdim=True)
        chosen.append(pick)
        covered = torch.maximum(covered, similarity.index_select(0, pick)[0])
    return torch.cat(chosen)

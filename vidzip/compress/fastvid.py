"""FastVID (arXiv 2503.11187): segments, and density peaks of every fourth frame that the rest is merged into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidzip.compress.across_frames import (
    AcrossFrames,
    Choice,
    Patches,
    argsort_by,
    density_peak_scores,
    find_segments,
    most_similar,
)
from vidzip.compress.counts import int_tensor
from vidzip.compress.method import check_range, option
from vidzip.compress.top_k import rank
from vidzip.planner import split_evenly


@dataclass(frozen=True, kw_only=True)
class FastVid(AcrossFrames):
    """Salient patches of every frame, and density peaks of every fourth frame of a segment.

    The frames' mean patches divide the video into segments (:func:`~vidzip.compress.across_frames.find_segments`). Of B
    patches, ``floor(pooled * B)`` are pooled and the others salient: those with the most CLS attention, the same number
    in each frame. The pooled patches of a segment are in its anchor frames, the last one and every fourth before it: the
    highest :func:`~vidzip.compress.across_frames.density_peak_scores` of patches that are not salient. The rest of a
    segment is merged into the most similar of its pooled patches.

    With ``merge="mean"``, a pooled patch y that n others are merged into becomes ``w * y + (1 - w) * their mean``, with
    ``w = max(anchor_weight, 1 / (n + 1))``.

    Differences from the published code: tokens are the tower's, before the projector. A patch is merged into one pooled
    patch, not into one in each anchor frame of its segment. n does not count the anchor, so that a weight of 0 is the
    plain mean. Counts are exact: they need not be equal in all frames, and if an anchor frame has too few patches left,
    the highest scores of all frames replace them. A segment without a pooled patch drops the rest of its patches.

    It takes F * N^2 * dim multiplications for the densities, and F * N * pooled * dim to merge.
    """

    summary: ClassVar[str] = "keeps patches by CLS attention; merges the rest into density peaks of every fourth frame"
    origin: ClassVar[str] = "FastVID, NeurIPS 2025, arXiv 2503.11187"

    pooled: float = option(0.4, "share of the kept patches that the rest is merged into")
    segments: int = option(8, "minimum number of segments, if there are as many frames")
    threshold: float = option(0.9, "a frame less similar than this to the one before begins a segment")
    every: int = option(4, "interval of the anchor frames of a segment")
    neighbours: int = option(4, "nearest patches that determine a density")
    anchor_weight: float = option(0.6, "minimum weight of a pooled patch in its mean with those merged into it")

    def __post_init__(self) -> None:
        check_range("pooled", self.pooled, 0, 1)
        check_range("segments", self.segments, 1)
        check_range("threshold", self.threshold, -1, 1)
        check_range("every", self.every, 1)
        check_range("neighbours", self.neighbours, 1)
        check_range("anchor_weight", self.anchor_weight, 0, 1)

    def _choose(self, patches: Patches, count: int) -> Choice:
        values = patches.values(self.compare)
        num_pooled = int(self.pooled * count)
        salient = patches.take_first(patches.by_score(), split_evenly(count - num_pooled, patches.num_frames))
        segment, _ = find_segments(values.mean(dim=1), self.segments, self.threshold)
        pooled = self._pool(values, patches.mask(salient), segment, num_pooled)
        is_allowed = segment[:, None] == segment[pooled // patches.per_frame]
        targets = most_similar(F.normalize(values, dim=-1), pooled, is_allowed)
        return Choice(anchors=torch.cat([salient, pooled]), targets=targets)

    def _pool(
        self,
        values: Float[Tensor, "frames patches dim"],
        is_salient: Bool[Tensor, "frames patches"],
        segment: Int[Tensor, " frames"],
        count: int,
    ) -> Int[Tensor, " pooled"]:
        """Choose the pooled patches."""
        if count == 0:
            return segment.new_empty(0)
        score = density_peak_scores(values, ~is_salient, self.neighbours)
        is_within_count = rank(score) < self._pooled_per_frame(segment, count)[:, None]
        return argsort_by(is_salient, ~is_within_count, -score)[:count]

    def _pooled_per_frame(self, segment: Int[Tensor, " frames"], count: int) -> Int[Tensor, " frames"]:
        """Split pooled patches among segments by their frames, and within each among its anchor frames."""
        even = int_tensor(split_evenly(count, len(segment)), segment.device)
        place = torch.arange(len(segment), device=segment.device)
        is_same = segment[:, None] == segment
        is_anchor = (is_same & (place > place[:, None])).sum(1) % self.every == 0
        anchors = is_same & is_anchor
        total, num_anchors = (is_same * even).sum(1), anchors.sum(1)
        nth = (anchors & (place < place[:, None])).sum(1)
        return (((nth + 1) * total) // num_anchors - (nth * total) // num_anchors).where(is_anchor, 0)

    def _merge(
        self, anchor: Float[Tensor, "kept dim"], total: Float[Tensor, "kept dim"], count: Int[Tensor, "kept 1"]
    ) -> Float[Tensor, "kept dim"]:
        if self.merge == "sum":
            return super()._merge(anchor, total, count)
        weight = (1 / (count.to(anchor.dtype) + 1)).clamp(min=self.anchor_weight)
        return weight * anchor + (1 - weight) * (total / count)

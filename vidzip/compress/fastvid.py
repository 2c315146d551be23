"""FastVID (arXiv 2503.11187): segments, and in each the density peaks of every fourth frame, which the rest joins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidzip.compress.choosing import rank
from vidzip.compress.counts import to_device
from vidzip.compress.method import option
from vidzip.compress.selecting import (
    AcrossFrames,
    Choice,
    Patches,
    density_peaks,
    in_range,
    most_similar,
    ordered,
    segments,
)
from vidzip.planner import split_evenly


@dataclass(frozen=True, kw_only=True)
class FastVid(AcrossFrames):
    """Salient patches of every frame, and in each segment the density peaks of every fourth frame.

    The video is cut into segments (:func:`~vidzip.compress.selecting.segments`, of the frames' mean patches). Of B
    patches, ``floor(pooled * B)`` are pooled ones and the others salient: those that CLS attends to most, the same
    number in each frame. The pooled ones of a segment stand in its anchor frames, its last frame and every fourth
    before that: the patches of the greatest :func:`~vidzip.compress.selecting.density_peaks` among those that are not
    salient. What is left of a segment joins the most similar of its pooled patches.

    With ``merge="mean"``, a pooled patch y that n others join becomes ``w * y + (1 - w) * their mean``, with
    ``w = max(anchor_weight, 1 / (n + 1))``.

    It differs from the published code in this. Tokens are the tower's, before the projector. A patch joins one pooled
    patch; there, it joins one in each anchor frame of its segment. n does not count the anchor itself, so that a weight
    of 0 is the plain mean. Counts are exact: they need not be the same in all frames, and where an anchor frame has
    too few patches left, the greatest scores of all frames take their place. A segment without a pooled patch drops
    what is left of it.

    It takes F * P^2 * dim multiplications for the densities, and F * P * pooled * dim to join.
    """

    summary: ClassVar[str] = "what CLS attends to, and density peaks of every fourth frame, which the rest joins"
    origin: ClassVar[str] = "FastVID, NeurIPS 2025, arXiv 2503.11187"

    pooled: float = option(0.4, "share of the patches kept that the rest is merged into")
    segments: int = option(8, "segments at least, where there are as many frames")
    threshold: float = option(0.9, "frames less similar than this to the one before begin a segment")
    every: int = option(4, "every so-many-th frame of a segment is an anchor frame")
    neighbours: int = option(4, "nearest patches that a density is taken of")
    anchor_weight: float = option(0.6, "least weight of a pooled patch in its mean with those that join it")

    def __post_init__(self) -> None:
        in_range("pooled", self.pooled, 0, 1)
        in_range("segments", self.segments, 1)
        in_range("threshold", self.threshold, -1, 1)
        in_range("every", self.every, 1)
        in_range("neighbours", self.neighbours, 1)
        in_range("anchor_weight", self.anchor_weight, 0, 1)

    def _choose(self, patches: Patches, count: int) -> Choice:
        values = patches.values(self.compare)
        num_pooled = int(self.pooled * count)
        salient = patches.firsts(patches.by_score(), split_evenly(count - num_pooled, patches.num_frames))
        segment, _ = segments(values.mean(dim=1), self.segments, self.threshold)
        pooled = self._pool(values, patches.mark(salient), segment, num_pooled)
        may_join = segment[:, None] == segment[pooled // patches.per_frame]
        ends = most_similar(F.normalize(values, dim=-1), pooled, may_join)
        return Choice(anchors=torch.cat([salient, pooled]), ends=ends)

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
        score = density_peaks(values, ~is_salient, self.neighbours)
        is_within = rank(score) < self._quotas(segment, count)[:, None]
        return ordered(is_salient, ~is_within, -score)[:count]

    def _quotas(self, segment: Int[Tensor, " frames"], count: int) -> Int[Tensor, " frames"]:
        """Pooled patches of each frame: its segment's, shared among the anchor frames of the segment."""
        shares = to_device(torch.tensor(split_evenly(count, len(segment))), segment.device)
        place = torch.arange(len(segment), device=segment.device)
        is_same = segment[:, None] == segment
        is_anchor = (is_same & (place > place[:, None])).sum(1) % self.every == 0
        anchors = is_same & is_anchor
        total, num_anchors = (is_same * shares).sum(1), anchors.sum(1)
        nth = (anchors & (place < place[:, None])).sum(1)
        return (((nth + 1) * total) // num_anchors - (nth * total) // num_anchors).where(is_anchor, 0)

    def _blend(
        self, anchor: Float[Tensor, "kept dim"], total: Float[Tensor, "kept dim"], count: Int[Tensor, "kept 1"]
    ) -> Float[Tensor, "kept dim"]:
        if self.merge == "sum":
            return super()._blend(anchor, total, count)
        weight = (1 / (count.to(anchor.dtype) + 1)).clamp(min=self.anchor_weight)
        return weight * anchor + (1 - weight) * (total / count)

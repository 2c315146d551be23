"""FlashVID (arXiv 2602.08024): diverse patches of every frame; the others form trees over time that are pruned."""

from __future__ import annotations

import math
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
    row_chunks,
    split_in_proportion,
)
from vidzip.compress.method import check_range, option
from vidzip.compress.top_k import rank
from vidzip.planner import split_evenly


@dataclass(frozen=True, kw_only=True)
class FlashVid(AcrossFrames):
    """Diverse and relevant patches, and roots of trees of patches that continue from frame to frame.

    Of B patches, ``ceil(diverse * B)`` are diverse, the same number in each frame, chosen one by one: the patch j with
    the largest ``a_j * e_j * (1 - highest cosine similarity to the chosen ones)``; the first is the farthest from its
    nearest neighbour. a is CLS attention; e_j, relevance, is the dot product with the mean patch of the frame's segment,
    at least 0.

    Each other patch links to the most similar patch of the frame before that is not diverse, if their cosine similarity
    exceeds ``threshold`` and no segment begins between them (:func:`~vidzip.compress.across_frames.find_segments`).
    Linked patches form trees, whose roots are the earliest. If there are fewer trees than tokens left, the weakest links
    are cut. Otherwise, the tokens are split among frames in proportion to their roots, and the roots with the highest
    :func:`~vidzip.compress.across_frames.density_peak_scores` of each frame are kept; another root is merged, with its
    tree, into the most similar of them in its frame, or dropped if its frame keeps none. Every patch of a tree is merged
    into the root.

    Differences from the published code: tokens are the tower's, before the projector. Densities are of roots, not of the
    means of trees; a mean is over all patches, not over means of trees. Merging inside the language model, and the
    surplus of tokens that is kept until then, are left out. Counts are exact: they need not be equal in all frames.

    It takes 3 * F * N^2 * dim multiplications, F * N * (1 - diverse) * B * dim to merge, and a step of F * N * dim for
    each diverse patch of a frame.
    """

    summary: ClassVar[str] = "keeps diverse patches by CLS attention; merges the rest into the roots of trees over time"
    origin: ClassVar[str] = "FlashVID, ICLR 2026, arXiv 2602.08024"

    diverse: float = option(0.7, "share of the kept patches that are diverse, which nothing is merged into")
    threshold: float = option(0.8, "a patch links to one of the frame before that is more similar than this")
    segments: int = option(8, "minimum number of segments, if there are as many frames")
    segment_threshold: float = option(0.9, "a frame less similar than this to the one before begins a segment")
    neighbours: int = option(7, "nearest roots that determine a density")

    def __post_init__(self) -> None:
        check_range("diverse", self.diverse, 0, 1)
        check_range("threshold", self.threshold, -1, 1)
        check_range("segments", self.segments, 1)
        check_range("segment_threshold", self.segment_threshold, -1, 1)
        check_range("neighbours", self.neighbours, 1)

    def _choose(self, patches: Patches, count: int) -> Choice:
        values = patches.values(self.compare)
        unit = F.normalize(values, dim=-1)
        frame_means = values.mean(dim=1)
        segment, is_cut = find_segments(frame_means, self.segments, self.segment_threshold)

        num_diverse = math.ceil(self.diverse * count)
        per_frame = split_evenly(num_diverse, patches.num_frames)
        weights = patches.scores * _relevance(values, frame_means, segment)
        diverse = patches.take_first(diverse_patches(unit, weights, max(per_frame)), per_frame)
        is_diverse = patches.mask(diverse)

        similarity, parent = _links(unit, is_diverse, is_cut)
        is_root, root = self._trees(similarity, parent, is_diverse, count - num_diverse)
        kept_roots = self._keep_roots(values, is_root, count - num_diverse)
        frames = torch.arange(patches.num_frames, device=kept_roots.device)
        nearest = most_similar(unit, kept_roots, frames[:, None] == kept_roots // patches.per_frame)
        root_target = patches.indices().where(patches.mask(kept_roots), nearest)
        return Choice(anchors=torch.cat([diverse, kept_roots]), targets=root_target.flatten()[root])

    def _trees(
        self,
        similarity: Float[Tensor, "frames patches"],
        parent: Int[Tensor, "frames patches"],
        is_diverse: Bool[Tensor, "frames patches"],
        min_roots: int,
    ) -> tuple[Bool[Tensor, "frames patches"], Int[Tensor, "frames patches"]]:
        """Mark the roots, and find the index of each patch's root."""
        indices = torch.arange(similarity.numel(), device=similarity.device).view_as(parent)
        weakest = argsort_by(is_diverse, similarity)[:min_roots]
        is_weakest = torch.zeros_like(is_diverse).flatten().scatter(0, weakest, value=True).view_as(is_diverse)
        is_root = ~is_diverse & ((similarity <= self.threshold) | is_weakest)
        root = indices.where(is_root | is_diverse, parent).flatten()
        for _ in range((len(similarity) - 1).bit_length()):
            root = root[root]
        return is_root, root.view_as(parent)

    def _keep_roots(
        self, values: Float[Tensor, "frames patches dim"], is_root: Bool[Tensor, "frames patches"], count: int
    ) -> Int[Tensor, " kept"]:
        """Choose the roots to keep."""
        if count == 0:
            return is_root.new_empty(0, dtype=torch.long)
        ranks = rank(density_peak_scores(values, is_root, self.neighbours))
        is_kept = is_root & (ranks < split_in_proportion(is_root.sum(1), count)[:, None])
        return argsort_by(~is_kept)[:count]


def diverse_patches(
    unit: Float[Tensor, "frames patches dim"], weights: Float[Tensor, "frames patches"], steps: int
) -> Int[Tensor, "frames steps"]:
    """Choose patches of each frame one by one: the largest product of weight and cosine distance to the chosen ones.

    The first has the largest product of weight and distance to its nearest neighbour.

    Args:
        unit: values of patches, of length 1, (F, N, dim).
        weights: (F, N).
        steps: patches to choose in each frame, at most N.

    Returns:
        Positions within frames, in the order of choice, (F, steps).
    """
    num_frames, per_frame, _ = unit.shape
    nearest = []
    for rows in row_chunks(num_frames, per_frame * per_frame):
        distance = 1 - unit[rows] @ unit[rows].transpose(1, 2)
        distance.diagonal(dim1=1, dim2=2).fill_(2)  # the largest distance, also of a patch alone in its frame
        nearest.append(distance.amin(-1))
    distance = torch.cat(nearest)
    is_chosen = torch.zeros_like(distance, dtype=torch.bool)
    chosen: list[Tensor] = []
    for step in range(steps):
        best = (distance * weights).masked_fill(is_chosen, -torch.inf).argmax(dim=1, keepdim=True)
        chosen.append(best)
        is_chosen.scatter_(1, best, value=True)
        to_best = 1 - (unit @ unit.take_along_dim(best[:, :, None], 1).transpose(1, 2)).squeeze(-1)
        distance = to_best if step == 0 else torch.minimum(distance, to_best)
    return torch.cat(chosen, dim=1) if chosen else is_chosen.new_empty((num_frames, 0), dtype=torch.long)


def _relevance(
    values: Float[Tensor, "frames patches dim"], frame_means: Float[Tensor, "frames dim"], segment: Int[Tensor, " f"]
) -> Float[Tensor, "frames patches"]:
    """Return the dot product of each patch with the mean patch of its segment, at least 0."""
    is_same = (segment[:, None] == segment).to(frame_means.dtype)
    mean = is_same @ frame_means / is_same.sum(1, keepdim=True)
    return (values @ mean[:, :, None]).squeeze(-1).clamp(min=0)


def _links(
    unit: Float[Tensor, "frames patches dim"],
    is_diverse: Bool[Tensor, "frames patches"],
    is_cut: Bool[Tensor, " cuts"],
) -> tuple[Float[Tensor, "frames patches"], Int[Tensor, "frames patches"]]:
    """Find the most similar patch of the frame before that is not diverse: the cosine similarity, and its index.

    The similarity is -inf in the first frame, after a cut, and if all patches of the frame before are diverse.
    """
    num_frames, per_frame = is_diverse.shape
    similarities = [unit.new_full((1, per_frame), -torch.inf)]
    positions = [torch.zeros_like(is_diverse[:1], dtype=torch.long)]
    for rows in row_chunks(num_frames - 1, per_frame * per_frame):
        cosine = unit[1:][rows] @ unit[:-1][rows].transpose(1, 2)
        is_excluded = is_diverse[:-1][rows][:, None, :] | is_cut[rows][:, None, None]
        similarity, position = cosine.masked_fill(is_excluded, -torch.inf).max(dim=-1)
        similarities.append(similarity)
        positions.append(position)
    frames = torch.arange(num_frames, device=unit.device)[:, None]
    return torch.cat(similarities), (frames - 1).clamp(min=0) * per_frame + torch.cat(positions)

"""FlashVID (arXiv 2602.08024): diverse patches of every frame; the rest forms trees over time, cut down to a few."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidzip.compress.choosing import rank
from vidzip.compress.method import option
from vidzip.compress.selecting import (
    AcrossFrames,
    Choice,
    Patches,
    density_peaks,
    in_range,
    most_similar,
    ordered,
    parts,
    proportional,
    segments,
)
from vidzip.planner import split_evenly


@dataclass(frozen=True, kw_only=True)
class FlashVid(AcrossFrames):
    """Diverse patches that matter, and trees of patches that go on from frame to frame.

    Of B patches, ``ceil(diverse * B)`` are diverse ones, the same number in each frame, chosen one by one: the patch j
    of the greatest ``a_j * e_j * (1 - greatest cosine to those chosen)``; the first is the farthest from its nearest. a
    is CLS attention; e_j, relevance, is the dot product with the mean patch of the frame's segment, at least 0.

    Each other patch links to the most similar patch of the frame before that is not a diverse one, where their cosine
    passes ``threshold`` and no segment begins between them (:func:`~vidzip.compress.selecting.segments`). Linked patches
    form trees, whose roots are the earliest. Where there are fewer trees than tokens left, the weakest links are cut.
    Else the tokens are shared among frames in proportion to their roots, and in each the roots of the greatest
    :func:`~vidzip.compress.selecting.density_peaks` stay; another root joins the most similar of them in its frame,
    with its tree, and is dropped where its frame keeps none. Every patch of a tree ends in its root.

    It differs from the published code in this. Tokens are the tower's, before the projector. Densities are of roots as
    they are, not of their trees' means; a mean is one over all patches, not over means of trees. Its merging inside the
    language model, and the surplus of tokens that it keeps until then, are left out. Counts are exact: they need not be
    the same in all frames.

    It takes 3 * F * P^2 * dim multiplications and F * P * (1 - diverse) * B * dim to join; and a step for each diverse
    patch of one frame, F * P * dim each.
    """

    summary: ClassVar[str] = (
        "diverse patches that CLS attends to, and the roots of trees over time, which the rest joins"
    )
    origin: ClassVar[str] = "FlashVID, ICLR 2026, arXiv 2602.08024"

    diverse: float = option(0.7, "share of the patches kept that are diverse ones, which nothing joins")
    threshold: float = option(0.8, "a patch links to one of the frame before that is more similar than this")
    segments: int = option(8, "segments at least, where there are as many frames")
    segment_threshold: float = option(0.9, "frames less similar than this to the one before begin a segment")
    neighbours: int = option(7, "nearest roots that a density is taken of")

    def __post_init__(self) -> None:
        in_range("diverse", self.diverse, 0, 1)
        in_range("threshold", self.threshold, -1, 1)
        in_range("segments", self.segments, 1)
        in_range("segment_threshold", self.segment_threshold, -1, 1)
        in_range("neighbours", self.neighbours, 1)

    def _choose(self, patches: Patches, count: int) -> Choice:
        values = patches.values(self.compare)
        unit = F.normalize(values, dim=-1)
        frame_means = values.mean(dim=1)
        segment, is_cut = segments(frame_means, self.segments, self.segment_threshold)

        num_diverse = math.ceil(self.diverse * count)
        shares = split_evenly(num_diverse, patches.num_frames)
        weights = patches.scores * _relevance(values, frame_means, segment)
        diverse = patches.firsts(diverse_patches(unit, weights, max(shares)), shares)
        is_diverse = patches.mark(diverse)

        cosine, parent = _links(unit, is_diverse, is_cut)
        is_root, root = self._trees(cosine, parent, is_diverse, count - num_diverse)
        heads = self._heads(values, is_root, count - num_diverse)
        frames = torch.arange(patches.num_frames, device=heads.device)
        nearest = most_similar(unit, heads, frames[:, None] == heads // patches.per_frame)
        head = patches.numbers().where(patches.mark(heads), nearest)
        return Choice(anchors=torch.cat([diverse, heads]), ends=head.flatten()[root])

    def _trees(
        self,
        cosine: Float[Tensor, "frames patches"],
        parent: Int[Tensor, "frames patches"],
        is_diverse: Bool[Tensor, "frames patches"],
        least: int,
    ) -> tuple[Bool[Tensor, "frames patches"], Int[Tensor, "frames patches"]]:
        """Which patches are roots, ``least`` of them at least, and the number of each one's root."""
        numbers = torch.arange(cosine.numel(), device=cosine.device).view_as(parent)
        weakest = ordered(is_diverse, cosine)[:least]
        is_weakest = torch.zeros_like(is_diverse).flatten().scatter(0, weakest, value=True).view_as(is_diverse)
        is_root = ~is_diverse & ((cosine <= self.threshold) | is_weakest)
        root = numbers.where(is_root | is_diverse, parent).flatten()
        for _ in range((len(cosine) - 1).bit_length()):
            root = root[root]
        return is_root, root.view_as(parent)

    def _heads(
        self, values: Float[Tensor, "frames patches dim"], is_root: Bool[Tensor, "frames patches"], count: int
    ) -> Int[Tensor, " heads"]:
        """Choose the roots that stay."""
        if count == 0:
            return is_root.new_empty(0, dtype=torch.long)
        place = rank(density_peaks(values, is_root, self.neighbours))
        is_head = is_root & (place < proportional(is_root.sum(1), count)[:, None])
        return ordered(~is_head)[:count]


def diverse_patches(
    unit: Float[Tensor, "frames patches dim"], weights: Float[Tensor, "frames patches"], steps: int
) -> Int[Tensor, "frames steps"]:
    """Choose patches of each frame one by one: of the greatest weight times cosine distance to those chosen before.

    The first is the one of the greatest weight times distance to its nearest other patch.

    Args:
        unit: what is compared, of length 1, (F, P, dim).
        weights: (F, P).
        steps: how many of each frame, at most P.

    Returns:
        Positions within frames, in the order in which they are chosen, (F, steps).
    """
    num_frames, per_frame, _ = unit.shape
    nearest = []
    for part in parts(num_frames, per_frame * per_frame):
        distance = 1 - unit[part] @ unit[part].transpose(1, 2)
        distance.diagonal(dim1=1, dim2=2).fill_(2)  # nothing is farther: a patch alone in its frame is far from all
        nearest.append(distance.amin(-1))
    apart = torch.cat(nearest)
    is_chosen = torch.zeros_like(apart, dtype=torch.bool)
    chosen: list[Tensor] = []
    for step in range(steps):
        pick = (apart * weights).masked_fill(is_chosen, -torch.inf).argmax(dim=1, keepdim=True)
        chosen.append(pick)
        is_chosen.scatter_(1, pick, value=True)
        to_pick = 1 - (unit @ unit.take_along_dim(pick[:, :, None], 1).transpose(1, 2)).squeeze(-1)
        apart = to_pick if step == 0 else torch.minimum(apart, to_pick)
    return torch.cat(chosen, dim=1) if chosen else is_chosen.new_empty((num_frames, 0), dtype=torch.long)


def _relevance(
    values: Float[Tensor, "frames patches dim"], frame_means: Float[Tensor, "frames dim"], segment: Int[Tensor, " f"]
) -> Float[Tensor, "frames patches"]:
    """The dot product of each patch with the mean patch of its segment, at least 0."""
    is_same = (segment[:, None] == segment).to(frame_means.dtype)
    mean = is_same @ frame_means / is_same.sum(1, keepdim=True)
    return (values @ mean[:, :, None]).squeeze(-1).clamp(min=0)


def _links(
    unit: Float[Tensor, "frames patches dim"],
    is_diverse: Bool[Tensor, "frames patches"],
    is_cut: Bool[Tensor, " cuts"],
) -> tuple[Float[Tensor, "frames patches"], Int[Tensor, "frames patches"]]:
    """The cosine to the most similar patch of the frame before that is not a diverse one, and that patch's number.

    In the first frame, after a cut, and where all of the frame before are diverse, the cosine is -inf.
    """
    num_frames, per_frame = is_diverse.shape
    cosines = [unit.new_full((1, per_frame), -torch.inf)]
    positions = [torch.zeros_like(is_diverse[:1], dtype=torch.long)]
    for part in parts(num_frames - 1, per_frame * per_frame):
        similarity = unit[1:][part] @ unit[:-1][part].transpose(1, 2)
        cannot = is_diverse[:-1][part][:, None, :] | is_cut[part][:, None, None]
        cosine, position = similarity.masked_fill(cannot, -torch.inf).max(dim=-1)
        cosines.append(cosine)
        positions.append(position)
    frames = torch.arange(num_frames, device=unit.device)[:, None]
    return torch.cat(cosines), (frames - 1).clamp(min=0) * per_frame + torch.cat(positions)

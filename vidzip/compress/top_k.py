"""Choose source tokens by score, and keep the chosen tokens unchanged."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidzip.compress.counts import int_tensor
from vidzip.compress.zipped import ZippedFrames
from vidzip.features import VisionFeatures


def rank(scores: Float[Tensor, "frames patches"]) -> Int[Tensor, "frames patches"]:
    """Rank the patches of each frame from 0, the highest score first; on ties, the first in raster order."""
    return scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1)


def top_k_mask(
    scores: Float[Tensor, "frames patches"], k: Int[Tensor, " frames"], *, has_cls: bool, keep_cls: bool = True
) -> Bool[Tensor, "frames tokens"]:
    """Mark k source tokens of each frame: the patches with the highest scores, and CLS.

    Args:
        scores: of the patches, (F, N).
        k: tokens to mark in each frame, (F,).
        has_cls: whether frames have a CLS token, which is then the first column of the mask.
        keep_cls: whether CLS comes before all patches or after them.
    """
    ranks = rank(scores)
    if not has_cls:
        return ranks < k[:, None]
    cls_rank = ranks.new_full((len(ranks), 1), -1 if keep_cls else ranks.shape[1])
    return torch.cat([cls_rank, ranks], dim=1) < (k - int(keep_cls))[:, None]


def keep_top_k(
    features: VisionFeatures, scores: Float[Tensor, "frames patches"], counts: list[int], *, keep_cls: bool = True
) -> ZippedFrames:
    """Keep the ``counts[f]`` source tokens of frame f that :func:`top_k_mask` marks, in raster order."""
    k = int_tensor(counts, scores.device)
    return keep_masked(features, top_k_mask(scores, k, has_cls=features.has_cls, keep_cls=keep_cls), sum(counts))


def keep_masked(features: VisionFeatures, mask: Bool[Tensor, "frames tokens"], num_kept: int) -> ZippedFrames:
    """Keep the source tokens under a mask unchanged, in raster order, and drop the others.

    Args:
        features: F frames of S source tokens each.
        mask: which tokens to keep, (F, S).
        num_kept: how many the mask marks, T; given by the host, so that the device is not waited for.
    """
    size, flat = features.tokens_per_frame, mask.flatten()
    kept = (~flat).to(torch.uint8).argsort(stable=True)[:num_kept]
    frame_of = kept // size
    return ZippedFrames(
        tokens=features.tokens.flatten(0, 1)[kept],
        frame_of=frame_of,
        anchor_of=kept - frame_of * size,
        source=torch.where(flat, flat.cumsum(0) - 1, -1),
        grids=features.grids,
        has_cls=features.has_cls,
    )

"""Choose tokens by score and keep them unchanged: shared by the methods that do not merge."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidzip.compress.zipped import ZippedFrames
from vidzip.features import VisionFeatures


def rank(scores: Float[Tensor, "frames patches"]) -> Int[Tensor, "frames patches"]:
    """Rank the patches of each frame from 0, the greatest score first; of equals, the first in raster order."""
    return scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1)


def top_k_mask(
    scores: Float[Tensor, "frames patches"], k: Int[Tensor, " frames"], *, has_cls: bool, keep_cls: bool = True
) -> Bool[Tensor, "frames tokens"]:
    """Mark the k source tokens of each frame to keep: patches of the greatest scores, and CLS.

    Args:
        scores: of the patches, (F, N).
        k: tokens to keep in each frame, (F,).
        has_cls: whether frames have a CLS token; the mask's first column is then CLS.
        keep_cls: whether CLS is chosen before all patches or after them.
    """
    ranks = rank(scores)
    if not has_cls:
        return ranks < k[:, None]
    cls_rank = ranks.new_full((len(ranks), 1), -1 if keep_cls else ranks.shape[1])
    return torch.cat([cls_rank, ranks], dim=1) < (k - int(keep_cls))[:, None]


def keep(features: VisionFeatures, kept: Bool[Tensor, "frames tokens"], num_kept: int) -> ZippedFrames:
    """Keep tokens unchanged, in raster order, and drop the others.

    Args:
        features: F frames of S source tokens each.
        kept: which tokens to keep, (F, S).
        num_kept: their number, T, given by the host so that the device is not waited for.
    """
    size = features.tokens_per_frame
    flat = kept.flatten()
    places = (~flat).to(torch.uint8).argsort(stable=True)[:num_kept]
    frame_of = places // size
    return ZippedFrames(
        tokens=features.tokens.flatten(0, 1)[places],
        frame_of=frame_of,
        anchor_of=places - frame_of * size,
        source=torch.where(flat, flat.cumsum(0) - 1, -1),
        grids=features.grids,
        has_cls=features.has_cls,
    )

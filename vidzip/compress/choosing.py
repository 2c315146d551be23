"""What methods that keep tokens as they are share: marking the best of each frame, and keeping what is marked."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidzip.compress.zipped import ZippedFrames
from vidzip.features import FrameFeatures


def best(
    scores: Float[Tensor, "frames tokens"], counts: Int[Tensor, " frames"], *, keep_cls: bool = True
) -> Bool[Tensor, "frames tokens"]:
    """Mark each frame's tokens of the greatest scores; of equals, the first in raster order.

    Args:
        scores: (F, S); that of CLS, the first of a frame, does not matter.
        counts: how many of each frame, (F,).
        keep_cls: whether CLS comes before all patches, or after them.
    """
    order = scores[:, 1:].argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1)
    cls_rank = rank.new_full((len(rank), 1), -1 if keep_cls else rank.shape[1])
    return torch.cat([cls_rank, rank], dim=1) < (counts - int(keep_cls))[:, None]


def keep(features: FrameFeatures, kept: Bool[Tensor, "frames tokens"], num_kept: int) -> ZippedFrames:
    """Keep tokens as they are, in raster order, and drop the others.

    Args:
        features: F frames of S tokens each.
        kept: which tokens stay, (F, S).
        num_kept: how many these are, T; known beforehand, so that the device need not be asked.
    """
    size = features.tokens_per_frame
    flat = kept.flatten()
    places = (~flat).to(torch.uint8).argsort(stable=True)[:num_kept]
    frame_of = places // size
    return ZippedFrames(
        tokens=features.hidden.flatten(0, 1)[places],
        frame_of=frame_of,
        anchor_of=places - frame_of * size,
        source=torch.where(flat, flat.cumsum(0) - 1, -1).reshape(kept.shape),
    )

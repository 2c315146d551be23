"""The patches that CLS attends to most, as they are: what VisionZip keeps, without what it merges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from vidzip.compress.choosing import keep, top_k_mask
from vidzip.compress.counts import to_device
from vidzip.compress.method import Method, option
from vidzip.compress.zipped import ZippedFrames
from vidzip.features import VisionFeatures


@dataclass(frozen=True, kw_only=True)
class Attention(Method):
    """Patches by CLS attention, in raster order; the others are dropped."""

    summary: ClassVar[str] = "the patches that CLS attends to most"
    origin: ClassVar[str] = "FasterVLM, arXiv 2412.01818"
    keeps_cls: ClassVar[bool] = True

    keep_cls: bool = option(default=True, explanation="whether CLS is the first token kept of a frame, or the last")

    def compress(self, features: VisionFeatures, counts: list[int]) -> ZippedFrames:
        """Keep just so many tokens of each frame."""
        k = to_device(torch.tensor(counts, dtype=torch.long), features.scores.device)
        kept = top_k_mask(features.scores, k, has_cls=features.has_cls, keep_cls=self.keep_cls)
        return keep(features, kept, sum(counts))

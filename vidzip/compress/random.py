"""Random patches: the baseline that a choice of patches has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from vidzip.compress.choosing import keep, top_k_mask
from vidzip.compress.counts import to_device
from vidzip.compress.method import Method, option
from vidzip.compress.zipped import ZippedFrames
from vidzip.errors import BadArgument
from vidzip.features import VisionFeatures


@dataclass(frozen=True, kw_only=True)
class Random(Method):
    """Patches drawn anew for each frame, in raster order; the others are dropped. A seed draws the same anywhere."""

    summary: ClassVar[str] = "patches drawn at random, anew for each frame"
    origin: ClassVar[str] = "a baseline for every choice of patches"
    keeps_cls: ClassVar[bool] = True

    seed: int = option(0, "0 or more; another one draws other patches")
    keep_cls: bool = option(default=True, explanation="whether CLS is the first token kept of a frame, or the last")

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise BadArgument(f"seed is {self.seed}", hint="give 0 or more, below 2 to the power of 63")

    def compress(self, features: VisionFeatures, counts: list[int]) -> ZippedFrames:
        """Keep just so many tokens of each frame."""
        device = features.scores.device
        # One number for each source token, so that results stay the same as those that are published in docs/.
        shape = (features.num_frames, features.tokens_per_frame)
        drawn = torch.rand(shape, generator=torch.Generator().manual_seed(self.seed))[:, features.num_cls :]
        k = to_device(torch.tensor(counts, dtype=torch.long), device)
        kept = top_k_mask(to_device(drawn, device), k, has_cls=features.has_cls, keep_cls=self.keep_cls)
        return keep(features, kept, sum(counts))

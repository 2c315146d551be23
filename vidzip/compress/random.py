"""Random patches: the baseline for every choice of patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from vidzip.compress.counts import to_device
from vidzip.compress.method import Method, option
from vidzip.compress.top_k import keep_top_k
from vidzip.compress.zipped import ZippedFrames
from vidzip.errors import BadArgument
from vidzip.features import VisionFeatures


@dataclass(frozen=True, kw_only=True)
class Random(Method):
    """Random patches of each frame, in raster order; the others are dropped. A seed draws the same on all devices."""

    summary: ClassVar[str] = "keeps random patches, drawn separately for each frame"
    origin: ClassVar[str] = "baseline for every choice of patches"
    keeps_cls: ClassVar[bool] = True

    seed: int = option(0, "seed of the random numbers, 0 or more")
    keep_cls: bool = option(default=True, explanation="whether CLS is kept before all patches or after them")

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise BadArgument(f"seed is {self.seed}", hint="give 0 or more, below 2 to the power of 63")

    def compress(self, features: VisionFeatures, counts: list[int]) -> ZippedFrames:
        """Keep ``counts[f]`` tokens of frame f."""
        # CLS takes a random number too, so that a seed keeps drawing the patches of published results.
        shape = (features.num_frames, features.tokens_per_frame)
        drawn = torch.rand(shape, generator=torch.Generator().manual_seed(self.seed))[:, features.num_cls :]
        return keep_top_k(features, to_device(drawn, features.scores.device), counts, keep_cls=self.keep_cls)

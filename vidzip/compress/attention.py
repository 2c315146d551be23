"""Keep the patches with the most CLS attention, unchanged: VisionZip's dominant tokens, without its merged ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vidzip.compress.method import Method, option
from vidzip.compress.top_k import keep_top_k
from vidzip.compress.zipped import ZippedFrames
from vidzip.features import VisionFeatures


@dataclass(frozen=True, kw_only=True)
class Attention(Method):
    """Patches with the most CLS attention, in raster order; the others are dropped."""

    summary: ClassVar[str] = "keeps the patches with the most CLS attention"
    origin: ClassVar[str] = "FasterVLM, arXiv 2412.01818"
    keeps_cls: ClassVar[bool] = True

    keep_cls: bool = option(default=True, explanation="whether CLS is kept before all patches or after them")

    def compress(self, features: VisionFeatures, counts: list[int]) -> ZippedFrames:
        """Keep ``counts[f]`` tokens of frame f."""
        return keep_top_k(features, features.scores, counts, keep_cls=self.keep_cls)

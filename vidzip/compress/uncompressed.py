"""No compression: whole frames, and an error if there are not enough tokens for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from vidzip.compress.method import Method
from vidzip.compress.top_k import keep_top_k
from vidzip.compress.zipped import ZippedFrames
from vidzip.errors import BadArgument
from vidzip.features import VisionFeatures


@dataclass(frozen=True, kw_only=True)
class Uncompressed(Method):
    """Every token of every frame."""

    summary: ClassVar[str] = "keeps whole frames; refuses counts that would shorten one"
    origin: ClassVar[str] = "baseline for all compression"
    keeps_cls: ClassVar[bool] = True
    takes_any_budget: ClassVar[bool] = False

    def check_counts(self, counts: Sequence[int], size: int) -> None:
        """Refuse counts other than 0 and ``size``.

        Raises:
            BadArgument: there is such a count.
        """
        partial = next((count for count in counts if count not in (0, size)), None)
        if partial is not None:
            raise BadArgument(
                f"without compression a frame takes all of its {size} tokens, but one was given {partial}",
                hint=f"give {size} tokens per frame: {size * len(counts):,} for {len(counts)}, or choose another method",
            )

    def compress(self, features: VisionFeatures, counts: list[int]) -> ZippedFrames:
        """Keep whole frames."""
        self.check_counts(counts, features.tokens_per_frame)
        return keep_top_k(features, features.scores, counts)

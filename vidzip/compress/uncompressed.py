"""No compression: whole frames, and an error where there are not the tokens for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from vidzip.compress.choosing import keep
from vidzip.compress.counts import to_device
from vidzip.compress.method import Method
from vidzip.compress.zipped import ZippedFrames
from vidzip.errors import BadArgument
from vidzip.features import VisionFeatures


@dataclass(frozen=True, kw_only=True)
class Uncompressed(Method):
    """Every token of every frame."""

    summary: ClassVar[str] = "whole frames; refuses counts that would cut one"
    origin: ClassVar[str] = "the baseline for all compression"
    keeps_cls: ClassVar[bool] = True
    takes_any_budget: ClassVar[bool] = False

    def check_counts(self, counts: Sequence[int], size: int) -> None:
        """Refuse counts other than 0 and all tokens.

        Raises:
            BadArgument: there is one.
        """
        cut = next((count for count in counts if count not in (0, size)), None)
        if cut is not None:
            raise BadArgument(
                f"without compression a frame takes all of its {size} tokens, but one was given {cut}",
                hint=f"give {size} tokens a frame: {size * len(counts):,} for {len(counts)}, or choose another method",
            )

    def compress(self, features: VisionFeatures, counts: list[int]) -> ZippedFrames:
        """Keep whole frames."""
        self.check_counts(counts, features.tokens_per_frame)
        k = to_device(torch.tensor(counts, dtype=torch.long), features.patches.device)
        return keep(features, (k > 0)[:, None].expand(-1, features.tokens_per_frame), sum(counts))

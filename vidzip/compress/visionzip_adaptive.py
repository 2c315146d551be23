"""VisionZip with more tokens for the frames that change most, within an exact budget.

A frame's representation f_t is the mean of its patches, scaled to length 1. Frames are weighted by
``softmax(signal / temperature)``:

- *curvature* (V-CAST, arXiv 2603.27650): ``1 - cos(f_t - f_(t-1), f_(t+1) - f_t)``, and 1 for the first and the last
  frame. It is large at turning points of the video. If a frame equals a neighbour, the cosine is 0.
- *novelty*: ``1 - cos(f_t, f_1 + ... + f_(t-1))``, divided by the largest of the video, and 1 for the first frame. It
  is large if a frame shows new content.

Counts are computed on the device and never read by the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vidzip.compress.counts import largest_remainder, to_device
from vidzip.compress.method import Method, option
from vidzip.compress.visionzip import TokenSplit, compress_to_split, split_tokens
from vidzip.compress.zipped import ZippedFrames
from vidzip.errors import BadArgument
from vidzip.features import VisionFeatures

_MIN_TEMPERATURE = 1e-3
"""At this temperature, the frames with the largest weight get all tokens; below, float32 overflows."""

_MIN_NOVELTY = 1e-4
"""A video's largest novelty, 1 minus a cosine, is taken to be at least this: below, it is noise."""


@dataclass(frozen=True, kw_only=True)
class AdaptiveVisionZip(Method):
    """VisionZip, with a frame's count by how much it changes."""

    summary: ClassVar[str] = "VisionZip with more tokens for the frames that change most"
    origin: ClassVar[str] = "counts by V-CAST, arXiv 2603.27650; frames by VisionZip, CVPR 2025, arXiv 2412.04467"
    is_across_frames: ClassVar[bool] = True
    keeps_cls: ClassVar[bool] = True

    signal: Literal["curvature", "novelty"] = option(
        "curvature", "what gives a frame weight: a turning point of the video, or new content"
    )
    temperature: float = option(
        0.7, "0.001 or more; lower temperatures give more tokens to the frames with most weight"
    )
    min_tokens: int = option(
        1, "minimum tokens of a frame; if the budget is too small, frames with least weight get none"
    )
    merge: Literal["sum", "mean"] = option("sum", "how tokens are merged, as in visionzip")

    def __post_init__(self) -> None:
        if self.temperature < _MIN_TEMPERATURE:
            raise BadArgument(f"temperature is {self.temperature:g}", hint=f"give {_MIN_TEMPERATURE:g} or more")
        if self.min_tokens < 0:
            raise BadArgument(f"min_tokens is {self.min_tokens}", hint="give 0 or more")

    def compress(self, features: VisionFeatures, counts: list[int]) -> ZippedFrames:
        """Keep exactly ``sum(counts)`` tokens in all; a frame may get none."""
        total, size = sum(counts), features.tokens_per_frame
        kept = largest_remainder(self._weights(features), total, min_tokens=self.min_tokens, max_tokens=size)
        splits = [split_tokens(k, size) for k in range(size + 1)]
        dominant, contextual = to_device(torch.tensor(splits).T.contiguous(), kept.device)[:, kept]
        split = TokenSplit(
            dominant=dominant,
            contextual=contextual,
            total=total,
            max_contextual=max(merged for _, merged in splits[: total + 1]),
        )
        return compress_to_split(features, split, self.merge)

    def _weights(self, features: VisionFeatures) -> Float[Tensor, " frames"]:
        means = frame_means(features.patches)
        signal = curvature(means) if self.signal == "curvature" else novelty(means)
        return torch.softmax(signal.nan_to_num(nan=1.0) / self.temperature, dim=0)  # NaN: as the first frame


def frame_means(patches: Float[Tensor, "frames patches dim"]) -> Float[Tensor, "frames dim"]:
    """Average each frame's patches, and scale the mean to length 1."""
    return F.normalize(patches.mean(dim=1, dtype=torch.promote_types(patches.dtype, torch.float32)), dim=-1)


def curvature(means: Float[Tensor, "frames dim"]) -> Float[Tensor, " frames"]:
    """Measure how sharply the path through the frames turns at each, in [0, 2]; 1 at its ends, and if it stands still."""
    steps = F.normalize(means.diff(dim=0), dim=-1)
    return F.pad(1 - (steps[:-1] * steps[1:]).sum(dim=-1), (1, 1), value=1.0)[: len(means)]


def novelty(means: Float[Tensor, "frames dim"]) -> Float[Tensor, " frames"]:
    """Measure how dissimilar each frame is to the sum of those before, relative to the largest; 1 for the first."""
    # A product with a triangle, because a cumulative sum of floats is not reproducible on a GPU.
    before = torch.ones(len(means), len(means), dtype=means.dtype, device=means.device).tril(-1) @ means
    distance = (1 - (means * F.normalize(before, dim=-1)).sum(dim=-1))[1:]
    if len(distance):
        distance = distance / distance.amax().clamp(min=_MIN_NOVELTY)
    return F.pad(distance, (1, 0), value=1.0)

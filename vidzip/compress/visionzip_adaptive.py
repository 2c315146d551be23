"""VisionZip with more tokens for the frames that change most; what they sum to stays exact.

A frame's representation f_t is the mean of its patches, at length 1. Frames are weighted by ``softmax(signal / T)``:

- *curvature* (V-CAST, arXiv 2603.27650): ``1 - cos(f_t - f_(t-1), f_(t+1) - f_t)``, and 1 for the first and the last
  frame. It is large where the video turns. Where a frame equals a neighbour, the cosine is 0.
- *novelty*: ``1 - cos(f_t, f_1 + ... + f_(t-1))``, divided by the largest of the video, and 1 for the first frame. It
  is large where something is seen that was not there before.

Counts are made on the device and never read: their sum is what was asked for, whatever the frames show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vidzip.compress.counts import allot, to_device
from vidzip.compress.method import Method, option
from vidzip.compress.visionzip import Split, merge_into, split_tokens
from vidzip.compress.zipped import ZippedFrames
from vidzip.errors import BadArgument
from vidzip.features import VisionFeatures

_COLDEST = 1e-3
"""All then goes to the frames of the greatest weight; below, float32 overflows."""

_STILL = 1e-4
"""The largest novelty of a video, 1 less a cosine, is at least this: below, it is noise."""


@dataclass(frozen=True, kw_only=True)
class AdaptiveVisionZip(Method):
    """VisionZip, a frame's count by how much it changes."""

    summary: ClassVar[str] = "VisionZip with more tokens for the frames that change most"
    origin: ClassVar[str] = "counts by V-CAST, arXiv 2603.27650; frames by VisionZip, CVPR 2025, arXiv 2412.04467"
    is_across_frames: ClassVar[bool] = True
    keeps_cls: ClassVar[bool] = True

    signal: Literal["curvature", "novelty"] = option(
        "curvature", "what makes a frame weigh: that the video turns there, or that it is new"
    )
    temperature: float = option(0.7, "0.001 or more; the lower, the more goes to the frames that weigh most")
    min_tokens: int = option(1, "tokens of every frame; with too few for all, frames that weigh least get none")
    merge: Literal["sum", "mean"] = option("sum", "how a merged token is made, as of visionzip")

    def __post_init__(self) -> None:
        if self.temperature < _COLDEST:
            raise BadArgument(f"temperature is {self.temperature:g}", hint=f"give {_COLDEST:g} or more")
        if self.min_tokens < 0:
            raise BadArgument(f"min_tokens is {self.min_tokens}", hint="give 0 or more")

    def compress(self, features: VisionFeatures, counts: list[int]) -> ZippedFrames:
        """Keep ``sum(counts)`` tokens in all; a frame may get none."""
        total, size = sum(counts), features.tokens_per_frame
        kept = allot(self._weights(features), total, least=self.min_tokens, most=size)
        splits = [split_tokens(k, size) for k in range(size + 1)]
        dominant, contextual = to_device(torch.tensor(splits).T.contiguous(), kept.device)[:, kept]
        split = Split(
            dominant=dominant,
            contextual=contextual,
            total=total,
            most_contextual=max(join for _, join in splits[: total + 1]),
        )
        return merge_into(features, split, self.merge)

    def _weights(self, features: VisionFeatures) -> Float[Tensor, " frames"]:
        means = frame_means(features.patches)
        signal = curvature(means) if self.signal == "curvature" else novelty(means)
        # A frame that is no number says nothing, and weighs what the first one does.
        return torch.softmax(signal.nan_to_num(nan=1.0) / self.temperature, dim=0)


def frame_means(patches: Float[Tensor, "frames patches dim"]) -> Float[Tensor, "frames dim"]:
    """Average each frame's patches, and scale the mean to length 1."""
    return F.normalize(patches.mean(dim=1, dtype=torch.promote_types(patches.dtype, torch.float32)), dim=-1)


def curvature(means: Float[Tensor, "frames dim"]) -> Float[Tensor, " frames"]:
    """How sharply the line through the frames turns at each, in [0, 2]; 1 at its ends, and where it stands still."""
    steps = F.normalize(means.diff(dim=0), dim=-1)
    return F.pad(1 - (steps[:-1] * steps[1:]).sum(dim=-1), (1, 1), value=1.0)[: len(means)]


def novelty(means: Float[Tensor, "frames dim"]) -> Float[Tensor, " frames"]:
    """How little each frame is like those before it together, in shares of the largest; 1 for the first."""
    # A product with a triangle, since a running sum of floats differs from run to run on a GPU.
    before = torch.ones(len(means), len(means), dtype=means.dtype, device=means.device).tril(-1) @ means
    distance = (1 - (means * F.normalize(before, dim=-1)).sum(dim=-1))[1:]
    if len(distance):
        distance = distance / distance.amax().clamp(min=_STILL)
    return F.pad(distance, (1, 0), value=1.0)

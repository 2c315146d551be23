"""Coverage: few tokens that represent what CLS attends to, anywhere in the video. Made for many frames.

Methods within frames pay for the same object in every frame that shows it. Here one budget serves the whole video: an
object that stands still is kept once or twice, one that moves is kept at several places, and one that appears briefly
does not compete with the others of its frame only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vidzip.compress.across_frames import Patches
from vidzip.compress.facility_location import FacilityLocation, greedy_cover
from vidzip.compress.method import check_range, option


@dataclass(frozen=True, kw_only=True)
class Coverage(FacilityLocation):
    """The patches U that greedily increase ``sum over v of w_v * max over u in U of max(0, cos(v, u))`` the most.

    This is weighted facility location: w_v is the CLS attention to v as a share of its frame's, so that the focus of
    every frame must be represented, and background need not be. Sums are over candidates: the patches with the largest
    weights in the whole video, ``pool`` times as many as are kept, within
    :data:`~vidzip.compress.across_frames.MAX_CANDIDATES`. The greedy choice reaches at least 1 - 1/e of the optimum
    (Nemhauser, Wolsey and Fisher 1978).

    CLS tokens mark frames for the model and cost one token each: at most ``cls_share`` of the budget is spent on them,
    evenly spread over the frames.
    """

    summary: ClassVar[str] = "keeps few patches that represent what CLS attends to in the whole video; vidzip's own"
    origin: ClassVar[str] = "vidzip; weighted facility location (Nemhauser, Wolsey and Fisher 1978) over a whole video"
    recommended_for: ClassVar[str] = "many frames, 17 or more"

    compare: Literal["hidden", "keys"] = option(
        "keys", "what similarities are computed from: the tower's output (hidden) or its keys, as in VisionZip (keys)"
    )
    cls_share: float = option(
        0.06, "share of the budget that CLS tokens may take, 0 to 1; one CLS token is always kept"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("cls_share", self.cls_share, 0, 1)

    def _max_cls(self, total: int) -> int:
        return max(1, int(total * self.cls_share))

    def _candidates(self, patches: Patches, size: int) -> Int[Tensor, " candidates"]:
        return _weights(patches).argsort(descending=True, stable=True)[:size].sort().values

    def _cover(
        self, similarity: Float[Tensor, "size size"], patches: Patches, candidates: Int[Tensor, " size"], count: int
    ) -> Int[Tensor, " chosen"]:
        weights = _weights(patches)[candidates].to(similarity.dtype)
        return greedy_cover(similarity.clamp_(min=0), count, weights)


def _weights(patches: Patches) -> Float[Tensor, " all"]:
    """Return the CLS attention to each patch as a share of its frame's."""
    return F.normalize(patches.scores.clamp(min=0), p=1, dim=1).flatten()

"""Coverage: what CLS attends to, anywhere in the video, stood for by as few tokens as can be. Made for many frames.

Per-frame methods pay for the same thing in every frame that shows it. Here one budget serves the whole video: a thing
that stands still is kept once or twice, one that moves wherever it is, and one that flashes has not to share its moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vidzip.compress.method import option
from vidzip.compress.selecting import AcrossFrames, Choice, Patches, in_range, most_similar, num_candidates


@dataclass(frozen=True, kw_only=True)
class Coverage(AcrossFrames):
    """Greedily, the patches U that raise ``sum over v of w_v * max over u in U of max(0, cos(v, u))`` the most.

    It is facility location with weights: w_v is what CLS attends to v in its frame, as a share of the frame's patches,
    so that what each frame is about has to be stood for, and background need not be. Sums run over candidates: the
    ``pool`` times as many patches as are kept that weigh most in the whole video, at most
    :data:`~vidzip.compress.selecting.MOST_CANDIDATES`. The greedy choice reaches at least 1 - 1/e of the best one
    (Nemhauser, Wolsey and Fisher 1978).

    CLS tokens tell the model where a frame begins, and cost a token each: at most ``cls_share`` of the budget goes to
    them, evenly spread over the frames.

    With N candidates it takes N^2 * dim multiplications and, for each patch kept, a step of N^2.
    """

    summary: ClassVar[str] = "vidzip's own: what CLS attends to anywhere in the video, stood for by as few as can be"
    origin: ClassVar[str] = "vidzip; weighted facility location (Nemhauser, Wolsey and Fisher 1978) over a whole video"
    recommended_for: ClassVar[str] = "many frames, 17 or more"

    keep_cls: bool = option(default=True, explanation="whether frames keep their CLS, as far as cls_share goes")
    merge: Literal["mean", "sum", "none"] = option(
        "none",
        "others are dropped (none), or join the most similar kept one, which is averaged with them (mean) or gets their "
        "mean added (sum)",
    )
    compare: Literal["hidden", "keys"] = option(
        "keys", "what similarities are taken of: the tower's output (hidden), or its keys, as VisionZip does (keys)"
    )
    pool: int = option(16, "candidates for each patch kept")
    cls_share: float = option(0.06, "of the budget, what CLS tokens take at most, but one; 0 to 1")

    def __post_init__(self) -> None:
        in_range("pool", self.pool, 1)
        in_range("cls_share", self.cls_share, 0, 1)

    def _most_cls(self, total: int) -> int:
        return max(1, int(total * self.cls_share))

    def _choose(self, patches: Patches, count: int) -> Choice:
        weights = F.normalize(patches.scores.clamp(min=0), p=1, dim=1).flatten()
        size = num_candidates(self.pool, count, patches.count)
        candidates = weights.argsort(descending=True, stable=True)[:size].sort().values
        unit = F.normalize(patches.values(self.compare), dim=-1)
        anchors = candidates
        if count < size:
            own = unit.flatten(0, 1)[candidates]
            similarity = (own @ own.T).clamp_(min=0)
            anchors = candidates[
                most_covering(similarity, weights[candidates].to(similarity.dtype), count).sort().values
            ]
        if self.merge == "none":
            return Choice(anchors=anchors, ends=torch.full_like(patches.numbers(), -1))
        return Choice(anchors=anchors, ends=most_similar(unit, anchors))


def most_covering(
    similarity: Float[Tensor, "points points"], weights: Float[Tensor, " points"], count: int
) -> Int[Tensor, " chosen"]:
    """Choose points one by one, each time the one that raises the weighted sum of greatest similarities the most.

    Args:
        similarity: symmetric, from 0 up, (N, N).
        weights: of the points that are to be covered, from 0 up, (N,).
        count: how many, in [1, N].

    Returns:
        Their places, in the order in which they are chosen, (count,).
    """
    covered = similarity.new_zeros(similarity.shape[:1])
    taken = torch.zeros_like(covered, dtype=torch.bool)
    room = torch.empty_like(similarity)
    chosen = []
    for _ in range(count):
        gain = torch.sub(similarity, covered, out=room).relu_() @ weights
        pick = gain.masked_fill(taken, -1).argmax(dim=0, keepdim=True)
        chosen.append(pick)
        taken = taken.scatter(0, pick, value=True)
        covered = torch.maximum(covered, similarity.index_select(0, pick)[0])
    return torch.cat(chosen)

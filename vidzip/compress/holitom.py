"""HoliTom (arXiv 2505.21334): windows in which patches stand still, found by dynamic programming, are one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor

from vidzip.compress.choosing import rank
from vidzip.compress.method import option
from vidzip.compress.selecting import AcrossFrames, Choice, Patches, in_range, ordered, proportional


@dataclass(frozen=True, kw_only=True)
class HoliTom(AcrossFrames):
    """Patches that stand still over a window of frames become one token; then what CLS attends to most is kept.

    A patch is static over the frames s to e where each is more similar than ``threshold`` to the one before at the same
    position. A window from s to e saves ``G(s, e) = (e - s) * its static positions`` tokens; dynamic programming cuts
    the video into the windows that save the most, the shortest of equals:
    ``best(i) = max over s of best(s - 1) + G(s, i)``. Every static position of a window becomes one token, which stands
    in the window's first frame; its attention is the mean over the window.

    The budget is then shared, as with the published ratio, in proportion to how many candidates there are: static
    tokens of each window, and other patches of each frame. Of each, those of the most attention stay; the others are
    dropped, a static token with all its patches. Where there are fewer candidates than tokens, patches of the most
    attention leave their windows and stay by themselves.

    It differs from the published method in this. Tokens are the tower's, before the projector and unpooled. Its
    merging inside the language model is left out. Static tokens are chosen by attention and not clustered by density.
    Counts are exact.

    It takes F * P * dim multiplications, and a step for each frame.
    """

    summary: ClassVar[str] = "patches that stand still over a window become one; then what CLS attends to"
    origin: ClassVar[str] = "HoliTom, NeurIPS 2025, arXiv 2505.21334"

    threshold: float = option(0.8, "a patch more similar than this to the one before, at its position, stands still")

    def __post_init__(self) -> None:
        in_range("threshold", self.threshold, -1, 1)

    def _choose(self, patches: Patches, count: int) -> Choice:
        frames = torch.arange(patches.num_frames, device=patches.scores.device)
        unit = F.normalize(patches.values(self.compare), dim=-1)
        begins = still_since((unit[1:] * unit[:-1]).sum(-1) > self.threshold)
        first, last = windows(begins)
        is_static = (begins[last] <= first[:, None]) & (first < last)[:, None]

        in_window = (first[:, None] == first).to(patches.scores.dtype)
        mean_scores = in_window @ patches.scores / in_window.sum(1, keepdim=True)
        is_static_token = is_static & (frames == first)[:, None]
        score = torch.where(is_static, mean_scores, patches.scores)

        kinds = torch.stack([is_static_token, ~is_static], dim=1)
        quotas = proportional(kinds.sum(-1).flatten(), count).reshape(-1, 2, 1)
        places = torch.stack([rank(score.masked_fill(~kinds[:, kind], -torch.inf)) for kind in range(2)], dim=1)
        is_chosen = (kinds & (places < quotas)).any(1)
        anchors = ordered(~is_chosen, -patches.scores)[:count]

        token = first[:, None] * patches.per_frame + torch.arange(patches.per_frame, device=first.device)
        ends = token.where(is_static & patches.mark(anchors).flatten()[token], -1)
        return Choice(anchors=anchors, ends=ends)


def still_since(is_still: Bool[Tensor, "steps patches"]) -> Int[Tensor, "frames patches"]:
    """For each frame and position, the first frame since when it stands still, (F, P).

    Args:
        is_still: whether each position of each frame but the first is similar to the one before, (F - 1, P).
    """
    frames = torch.arange(1, len(is_still) + 1, device=is_still.device)[:, None]
    return F.pad(frames.where(~is_still, 0), (0, 0, 1, 0)).cummax(0).values


def windows(begins: Int[Tensor, "frames patches"]) -> tuple[Int[Tensor, " frames"], Int[Tensor, " frames"]]:
    """Cut a video into the windows that save the most tokens.

    Args:
        begins: what :func:`still_since` gives, (F, P).

    Returns:
        The first and the last frame of each frame's window, (F,) each.
    """
    num_frames, device = len(begins), begins.device
    frames = torch.arange(num_frames, device=device)
    num_static = begins.new_zeros(num_frames, num_frames).scatter_add(1, begins, torch.ones_like(begins)).cumsum(1)
    saved = num_static * (frames[:, None] - frames).clamp(min=0)  # of the window from column to row

    # Backwards, so that the shortest of equals comes first; best[-1 - n] is what the first n frames save.
    backwards, best = saved.flip(1), begins.new_zeros(num_frames + 1)
    lengths = []
    for end in range(num_frames):
        most = (best[num_frames - end :] + backwards[end, num_frames - 1 - end :]).max(0)
        best[num_frames - 1 - end] = most.values
        lengths.append(most.indices)
    # A window's end leads to the end of the one before it, numbered from 1; 0 is the video's start. The ends that the
    # last frame leads to, over any number of windows, are found by squaring that relation.
    before = frames - torch.stack(lengths)
    ends = torch.arange(num_frames + 1, device=device)
    reached = ((F.pad(before, (1, 0))[:, None] == ends) | (ends[:, None] == ends)).float()
    for _ in range(num_frames.bit_length()):
        reached = (reached @ reached).clamp(max=1)
    is_end = reached[-1, 1:] > 0
    last = frames.where(is_end, num_frames).flip(0).cummin(0).values.flip(0)
    return before[last], last

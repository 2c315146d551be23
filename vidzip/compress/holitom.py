"""HoliTom (arXiv 2505.21334): static patches are merged over windows of frames, found by dynamic programming."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor

from vidzip.compress.across_frames import AcrossFrames, Choice, Patches, argsort_by, split_in_proportion
from vidzip.compress.method import check_range, option
from vidzip.compress.top_k import rank


@dataclass(frozen=True, kw_only=True)
class HoliTom(AcrossFrames):
    """Patches that are static over a window of frames become one token; then the most attended tokens are kept.

    A patch is static over the frames s to e if, in each, it is more similar than ``threshold`` to the one before at the
    same position. A window from s to e saves ``G(s, e) = (e - s) * its static positions`` tokens; dynamic programming
    divides the video into the windows that save the most, the shortest on ties:
    ``best(i) = max over s of best(s - 1) + G(s, i)``. Every static position of a window becomes one token, anchored in
    the window's first frame; its attention is the mean over the window.

    The budget is then split, as the published ratio is, in proportion to the numbers of candidates: static tokens of
    each window, and other patches of each frame. Of each group, those with the most attention are kept; the others are
    dropped, a static token with all its patches. If there are fewer candidates than tokens, the patches with the most
    attention leave their windows and are kept separately.

    Differences from the published method: tokens are the tower's, before the projector and unpooled. Merging inside the
    language model is left out. Static tokens are chosen by attention and not clustered by density. Counts are exact.

    It takes F * N * dim multiplications, and a step for each frame.
    """

    summary: ClassVar[str] = "merges patches that are static over a window of frames; then keeps the most attended"
    origin: ClassVar[str] = "HoliTom, NeurIPS 2025, arXiv 2505.21334"

    threshold: float = option(0.8, "a patch more similar than this to the one before, at its position, is static")

    def __post_init__(self) -> None:
        check_range("threshold", self.threshold, -1, 1)

    def _choose(self, patches: Patches, count: int) -> Choice:
        frames = torch.arange(patches.num_frames, device=patches.scores.device)
        unit = F.normalize(patches.values(self.compare), dim=-1)
        since = static_since((unit[1:] * unit[:-1]).sum(-1) > self.threshold)
        first, last = find_windows(since)
        is_static = (since[last] <= first[:, None]) & (first < last)[:, None]

        in_window = (first[:, None] == first).to(patches.scores.dtype)
        mean_scores = in_window @ patches.scores / in_window.sum(1, keepdim=True)
        is_static_token = is_static & (frames == first)[:, None]
        score = torch.where(is_static, mean_scores, patches.scores)

        groups = torch.stack([is_static_token, ~is_static], dim=1)
        quotas = split_in_proportion(groups.sum(-1).flatten(), count).reshape(-1, 2, 1)
        ranks = torch.stack([rank(score.masked_fill(~groups[:, group], -torch.inf)) for group in range(2)], dim=1)
        is_chosen = (groups & (ranks < quotas)).any(1)
        anchors = argsort_by(~is_chosen, -patches.scores)[:count]

        token = first[:, None] * patches.per_frame + torch.arange(patches.per_frame, device=first.device)
        targets = token.where(is_static & patches.mask(anchors).flatten()[token], -1)
        return Choice(anchors=anchors, targets=targets)


def static_since(is_static: Bool[Tensor, "steps patches"]) -> Int[Tensor, "frames patches"]:
    """Return, for each frame and position, the first frame since which the position is static, (F, N).

    Args:
        is_static: whether each position of each frame but the first is similar to the one before, (F - 1, N).
    """
    frames = torch.arange(1, len(is_static) + 1, device=is_static.device)[:, None]
    return F.pad(frames.where(~is_static, 0), (0, 0, 1, 0)).cummax(0).values


def find_windows(since: Int[Tensor, "frames patches"]) -> tuple[Int[Tensor, " frames"], Int[Tensor, " frames"]]:
    """Divide a video into the windows that save the most tokens.

    Args:
        since: the result of :func:`static_since`, (F, N).

    Returns:
        The first and the last frame of each frame's window, (F,) each.
    """
    num_frames, device = len(since), since.device
    frames = torch.arange(num_frames, device=device)
    num_static = since.new_zeros(num_frames, num_frames).scatter_add(1, since, torch.ones_like(since)).cumsum(1)
    saved = num_static * (frames[:, None] - frames).clamp(min=0)  # of the window from column to row

    # Reversed, so that the shortest window wins on ties; best[-1 - n] is what the first n frames save.
    backwards, best = saved.flip(1), since.new_zeros(num_frames + 1)
    lengths = []
    for end in range(num_frames):
        most = (best[num_frames - end :] + backwards[end, num_frames - 1 - end :]).max(0)
        best[num_frames - 1 - end] = most.values
        lengths.append(most.indices)
    # A window's end leads to the end of the window before it, counted from 1; 0 is the start of the video. Squaring this
    # relation finds all ends that the last frame leads to.
    before = frames - torch.stack(lengths)
    ends = torch.arange(num_frames + 1, device=device)
    reached = ((F.pad(before, (1, 0))[:, None] == ends) | (ends[:, None] == ends)).float()
    for _ in range(num_frames.bit_length()):
        reached = (reached @ reached).clamp(max=1)
    is_end = reached[-1, 1:] > 0
    last = frames.where(is_end, num_frames).flip(0).cummin(0).values.flip(0)
    return before[last], last

"""VisionZip (arXiv 2412.04467): keep the tokens with the most CLS attention, and merge the others into a few.

Every frame is compressed separately. Frames may have different token counts; their sum is a host integer, so that every
shape is known without waiting for the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidzip.compress.counts import Counts, read_counts, to_device
from vidzip.compress.method import Method, option
from vidzip.compress.top_k import top_k_mask
from vidzip.compress.zipped import ZippedFrames
from vidzip.errors import BadArgument
from vidzip.features import VisionFeatures
from vidzip.planner import token_split

Merge = Literal["sum", "mean"]


def visionzip(
    features: VisionFeatures,
    tokens_per_frame: Counts | None = None,
    *,
    dominant: Counts | None = None,
    contextual: Counts | None = None,
    merge: Merge = "sum",
) -> ZippedFrames:
    """Compress each frame as published: dominant tokens in raster order, CLS first, then contextual tokens.

    A frame's dominant tokens are CLS, if there is one, and the patches with the highest scores. Of the M patches left, in
    raster order, every ``max(1, M // contextual)``-th becomes a target; each other one is merged into the target whose
    key is the most similar (cosine).

    Args:
        features: F frames of S source tokens.
        tokens_per_frame: tokens to keep, one integer or one per frame, split by :func:`vidzip.token_split`. 0 drops a
            frame; S or more leaves it unchanged, in raster order.
        dominant: in place of ``tokens_per_frame``: dominant tokens, CLS included, one integer or one per frame.
        contextual: with ``dominant``: contextual tokens, one integer or one per frame; 0 by default. If both sum to S or
            more, the frame is left unchanged, in raster order.
        merge: how a target is merged: ``"sum"`` adds the mean of its members, as the published code does; ``"mean"``
            averages it with its members. A target without members stays unchanged.

    Raises:
        BadArgument: counts that are negative, not integers, on a GPU, or not one per frame; contextual tokens of a frame
            without dominant ones; an unknown ``merge``.
    """
    if merge not in get_args(Merge):
        raise BadArgument(f"unknown merge {merge!r}", hint=f"use one of {', '.join(get_args(Merge))}")
    splits = _read_splits(features, tokens_per_frame, dominant, contextual)
    by_kind = to_device(torch.tensor(splits, dtype=torch.long).reshape(-1, 2).T.contiguous(), features.patches.device)
    split = TokenSplit(
        dominant=by_kind[0],
        contextual=by_kind[1],
        total=sum(map(sum, splits)),
        max_contextual=max((count for _, count in splits), default=0),
    )
    with torch.autocast(features.patches.device.type, enabled=False):  # choices and means need float32
        return compress_to_split(features, split, merge)


@dataclass(frozen=True, kw_only=True)
class VisionZip(Method):
    """VisionZip, with a frame's tokens split into dominant and contextual ones as in its published budgets."""

    summary: ClassVar[str] = "keeps the patches with the most CLS attention; merges the rest into a few"
    origin: ClassVar[str] = "VisionZip, CVPR 2025, arXiv 2412.04467"
    keeps_cls: ClassVar[bool] = True

    merge: Literal["sum", "mean"] = option(
        "sum", "how tokens are merged: their mean is added to the token they join (sum), or averaged with it (mean)"
    )

    def compress(self, features: VisionFeatures, counts: list[int]) -> ZippedFrames:
        """Keep ``counts[f]`` tokens of frame f."""
        return visionzip(features, counts, merge=self.merge)


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenSplit:
    """The numbers of tokens of each kind that frames keep.

    Attributes:
        dominant: CLS and patches that stay unchanged, on the device, (F,); S for a frame that is not compressed.
        contextual: merged tokens, on the device, (F,); 0 if there are no dominant ones.
        total: the sum of all.
        max_contextual: the maximum of ``contextual``, or more.
    """

    dominant: Int[Tensor, " frames"]
    contextual: Int[Tensor, " frames"]
    total: int
    max_contextual: int


def compress_to_split(features: VisionFeatures, split: TokenSplit, merge: Merge) -> ZippedFrames:
    """Compress each frame to its numbers of dominant and contextual tokens."""
    choice = _choose(features, split)
    return ZippedFrames(
        tokens=_apply(features.tokens, choice, merge),
        frame_of=choice.frame_of,
        anchor_of=choice.anchor_of,
        source=choice.source.flatten(),
        grids=features.grids,
        has_cls=features.has_cls,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Choice:
    """What happens to every source token; F frames, S source tokens, T kept, at most C contextual tokens per frame.

    ``slot_of`` is a token's index among the contextual tokens of its frame, negative for dominant tokens. ``members``
    marks the source tokens that are merged into each contextual token, without the target.
    """

    frame_of: Int[Tensor, " kept"]
    anchor_of: Int[Tensor, " kept"]
    source: Int[Tensor, "frames tokens"]
    slot_of: Int[Tensor, " kept"]
    members: Bool[Tensor, "frames contextual tokens"]


def _choose(features: VisionFeatures, split: TokenSplit) -> _Choice:
    """Choose, from scores and keys only, which tokens to keep and what each other one is merged into."""
    size, num_cls, device = features.tokens_per_frame, features.num_cls, features.scores.device
    dominant, contextual = split.dominant, split.contextual
    step = ((size - dominant) // contextual.clamp(min=1)).clamp(min=1)
    offset = (dominant + contextual).cumsum(0) - dominant - contextual

    is_dominant = top_k_mask(features.scores, dominant, has_cls=features.has_cls)
    dominant_positions, left_positions = _positions(is_dominant), _positions(~is_dominant)
    nth_dominant, nth_left = is_dominant.cumsum(1) - 1, (~is_dominant).cumsum(1) - 1

    slot = nth_left // step[:, None]
    is_target = ~is_dominant & (nth_left % step[:, None] == 0) & (slot < contextual[:, None])
    is_member = ~is_dominant & ~is_target & (contextual > 0)[:, None]
    slots = torch.arange(split.max_contextual, device=device)
    if split.max_contextual:
        targets = left_positions.gather(1, (slots * step[:, None]).clamp(max=size - 1))
        nearest = _most_similar(features.keys, (targets - num_cls).clamp(min=0), slots < contextual[:, None])
        slot = torch.where(is_target, slot, F.pad(nearest, (num_cls, 0)))  # CLS is dominant, and never a member

    within_frame = torch.where(is_dominant, nth_dominant, dominant[:, None] + slot)
    frames = torch.arange(features.num_frames, device=device)
    frame_of = torch.repeat_interleave(frames, dominant + contextual, output_size=split.total)
    nth_of = torch.arange(split.total, device=device) - offset[frame_of]
    slot_of = nth_of - dominant[frame_of]
    return _Choice(
        frame_of=frame_of,
        anchor_of=torch.where(
            slot_of < 0,
            dominant_positions[frame_of, nth_of],
            left_positions[frame_of, (slot_of * step[frame_of]).clamp(min=0)],
        ),
        source=torch.where(is_dominant | is_target | is_member, offset[:, None] + within_frame, -1),
        slot_of=slot_of,
        members=(slot[:, None, :] == slots[:, None]) & is_member[:, None, :],
    )


def _positions(mask: Bool[Tensor, "frames tokens"]) -> Int[Tensor, "frames tokens"]:
    """Return the positions under a mask in raster order, then the others: ``nonzero`` with a static shape."""
    return (~mask).to(torch.uint8).argsort(dim=1, stable=True)


def _most_similar(
    keys: Float[Tensor, "frames patches key_dim"],
    targets: Int[Tensor, "frames contextual"],
    is_used: Bool[Tensor, "frames contextual"],
) -> Int[Tensor, "frames patches"]:
    """Find the slot of the target with the highest cosine similarity to each patch; on ties, the first."""
    unit = F.normalize(keys.to(_wide_dtype(keys.dtype)), dim=-1)
    unit_targets = unit.gather(1, targets[:, :, None].expand(-1, -1, unit.shape[-1]))
    similarity = unit @ unit_targets.transpose(1, 2)
    return similarity.masked_fill(~is_used[:, None, :], -torch.inf).argmax(dim=-1)


def _apply(tokens: Float[Tensor, "frames tokens dim"], choice: _Choice, merge: Merge) -> Float[Tensor, "kept dim"]:
    """Gather the kept tokens, and merge members into the contextual ones.

    Members are summed by a matrix product with the membership mask: unlike a scatter, it gives the same bits on
    every run.
    """
    num_frames, size, dim = tokens.shape
    max_contextual = choice.members.shape[1]
    anchors = tokens.reshape(num_frames * size, dim)[choice.frame_of * size + choice.anchor_of]
    if max_contextual == 0:
        return anchors
    wide = _wide_dtype(tokens.dtype)
    # Tokens that are not merged are set to 0: an infinity in them, times 0 in the mask, would be NaN.
    members = tokens.to(wide).masked_fill(~choice.members.any(dim=1)[:, :, None], 0)
    total = (choice.members.to(wide) @ members).reshape(num_frames * max_contextual, dim)
    count = choice.members.sum(dim=-1).reshape(num_frames * max_contextual, 1)

    row = choice.frame_of * max_contextual + choice.slot_of.clamp(min=0)
    total, count = total[row], count[row]
    if merge == "sum":
        merged = anchors.to(wide) + total / count.clamp(min=1)
    else:
        merged = (anchors.to(wide) + total) / (count + 1)
    return torch.where((choice.slot_of >= 0)[:, None], merged.to(tokens.dtype), anchors)


def _wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype for comparisons and means: float32, or a wider one."""
    return torch.promote_types(dtype, torch.float32)


def _read_splits(
    features: VisionFeatures, tokens_per_frame: Counts | None, dominant: Counts | None, contextual: Counts | None
) -> list[tuple[int, int]]:
    """Turn the caller's counts into dominant and contextual ones of every frame, at most S together."""
    num_frames, size = features.num_frames, features.tokens_per_frame
    if tokens_per_frame is not None:
        if dominant is not None or contextual is not None:
            raise BadArgument(
                "tokens_per_frame and dominant or contextual were both given", hint="give one or the other"
            )
        return [split_tokens(k, size) for k in read_counts(tokens_per_frame, num_frames, "tokens_per_frame")]
    if dominant is None:
        raise BadArgument("no token count was given", hint="give tokens_per_frame, or dominant and contextual")
    of_dominant = read_counts(dominant, num_frames, "dominant")
    of_contextual = read_counts(0 if contextual is None else contextual, num_frames, "contextual")
    splits = list(zip(of_dominant, of_contextual, strict=True))
    for frame, (keep, merge) in enumerate(splits):
        if merge > 0 and keep == 0:
            raise BadArgument(
                f"frame {frame} has 0 dominant and {merge} contextual tokens",
                hint="give 1 or more dominant tokens, which include CLS, to frames with contextual ones",
            )
    return [_limit(size, keep, merge) for keep, merge in splits]


def split_tokens(k: int, size: int) -> tuple[int, int]:
    """Split k tokens of a frame of ``size`` into dominant and contextual ones; all are dominant if k reaches ``size``."""
    return _limit(size, *token_split(k))


def _limit(size: int, dominant: int, contextual: int) -> tuple[int, int]:
    return (size, 0) if dominant + contextual >= size else (dominant, contextual)

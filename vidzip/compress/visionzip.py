"""VisionZip (arXiv 2412.04467): keep the tokens that CLS attends to, merge the rest into a few.

Every frame is treated alone. Frames may have different token counts: the ragged case is the general one, and a
single integer is the ragged case with equal entries. Their sum is a host integer, so that every shape is known
without asking the device; nothing here waits for a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidzip.compress.choosing import top_k_mask
from vidzip.compress.counts import Counts, per_frame, to_device
from vidzip.compress.method import Method, option
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
    """Compress each frame as published: dominant tokens in raster order (CLS first), then contextual tokens.

    A frame's dominant tokens are CLS and the patches with the most CLS attention. Of the N patches left, in raster
    order, every ``max(1, N // contextual)``-th becomes a target; each other one joins the target whose key is the
    most similar (cosine) and is merged into it.

    Args:
        features: F frames of S tokens, CLS first.
        tokens_per_frame: tokens to keep, one integer or one a frame, split by :func:`vidzip.token_split`. 0 gives a
            frame no tokens; S or more leaves it unchanged, in raster order.
        dominant: in place of ``tokens_per_frame``: dominant tokens, CLS included, one integer or one a frame.
        contextual: with ``dominant``: merged tokens, one integer or one a frame; 0 when left out. Where the two
            reach S or more, the frame is left unchanged, in raster order.
        merge: what a target becomes: ``"sum"`` adds the mean of its members to it, as the published code does;
            ``"mean"`` averages it with its members. A target without members stays as it is in both.

    Raises:
        BadArgument: counts that are negative, not integers, on a GPU, or of another number than the frames;
            contextual tokens for a frame without dominant ones; an unknown ``merge``.
    """
    if merge not in get_args(Merge):
        raise BadArgument(f"unknown merge {merge!r}", hint=f"use one of {', '.join(get_args(Merge))}")
    pairs = _pairs(features, tokens_per_frame, dominant, contextual)
    per_kind = to_device(torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T.contiguous(), features.patches.device)
    split = Split(
        dominant=per_kind[0],
        contextual=per_kind[1],
        total=sum(map(sum, pairs)),
        most_contextual=max((join for _, join in pairs), default=0),
    )
    with torch.autocast(features.patches.device.type, enabled=False):  # it would compare and average in half precision
        return merge_into(features, split, merge)


@dataclass(frozen=True, kw_only=True)
class VisionZip(Method):
    """VisionZip with a frame's tokens split as its published budgets are."""

    summary: ClassVar[str] = "what CLS attends to stays; the rest is merged into a few"
    origin: ClassVar[str] = "VisionZip, CVPR 2025, arXiv 2412.04467"
    keeps_cls: ClassVar[bool] = True

    merge: Literal["sum", "mean"] = option(
        "sum",
        "a merged token is the mean of its members, added to the token they join (sum) or averaged with it (mean)",
    )

    def compress(self, features: VisionFeatures, counts: list[int]) -> ZippedFrames:
        """Keep just so many tokens of each frame."""
        return visionzip(features, counts, merge=self.merge)


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """How many tokens of each kind a frame keeps.

    Attributes:
        dominant: CLS and patches that stay as they are, on the device, (F,); S where a frame stays whole.
        contextual: merged ones, on the device, (F,); 0 where there are no dominant ones.
        total: the sum of all.
        most_contextual: at least the largest of ``contextual``.
    """

    dominant: Int[Tensor, " frames"]
    contextual: Int[Tensor, " frames"]
    total: int
    most_contextual: int


def merge_into(features: VisionFeatures, split: Split, merge: Merge) -> ZippedFrames:
    """Compress each frame to so many tokens of each kind."""
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
    """What becomes of every source token; F frames, S source tokens, T kept, at most C contextual tokens a frame.

    ``slot_of`` is a token's place among the contextual tokens of its frame, negative for a dominant one.
    ``members`` says which source tokens are merged into which contextual token; the target is not its own member.
    """

    frame_of: Int[Tensor, " kept"]
    anchor_of: Int[Tensor, " kept"]
    source: Int[Tensor, "frames tokens"]
    slot_of: Int[Tensor, " kept"]
    members: Bool[Tensor, "frames contextual tokens"]


def _choose(features: VisionFeatures, split: Split) -> _Choice:
    """Decide, from attention and keys alone, which tokens stay and which join which."""
    num_frames, size, num_cls = features.num_frames, features.tokens_per_frame, features.num_cls
    device = features.scores.device
    dominant, contextual = split.dominant, split.contextual
    step = ((size - dominant) // contextual.clamp(min=1)).clamp(min=1)
    offset = (dominant + contextual).cumsum(0) - dominant - contextual

    kept = top_k_mask(features.scores, dominant, has_cls=features.has_cls)
    kept_positions = _positions_where(kept)
    left_positions = _positions_where(~kept)
    nth_kept = kept.cumsum(1) - 1
    nth_left = (~kept).cumsum(1) - 1

    slot = nth_left // step[:, None]
    is_target = ~kept & (nth_left % step[:, None] == 0) & (slot < contextual[:, None])
    is_member = ~kept & ~is_target & (contextual > 0)[:, None]
    slots = torch.arange(split.most_contextual, device=device)
    if split.most_contextual:
        targets = left_positions.gather(1, (slots * step[:, None]).clamp(max=size - 1))
        nearest = _most_similar(features.keys, (targets - num_cls).clamp(min=0), slots < contextual[:, None])
        slot = torch.where(is_target, slot, F.pad(nearest, (num_cls, 0)))  # CLS, which is dominant, joins nothing

    within_frame = torch.where(kept, nth_kept, dominant[:, None] + slot)
    frames = torch.arange(num_frames, device=device)
    frame_of = torch.repeat_interleave(frames, dominant + contextual, output_size=split.total)
    nth_of = torch.arange(split.total, device=device) - offset[frame_of]
    slot_of = nth_of - dominant[frame_of]
    return _Choice(
        frame_of=frame_of,
        anchor_of=torch.where(
            slot_of < 0,
            kept_positions[frame_of, nth_of],
            left_positions[frame_of, (slot_of * step[frame_of]).clamp(min=0)],
        ),
        source=torch.where(kept | is_target | is_member, offset[:, None] + within_frame, -1),
        slot_of=slot_of,
        members=(slot[:, None, :] == slots[:, None]) & is_member[:, None, :],
    )


def _positions_where(mask: Bool[Tensor, "frames tokens"]) -> Int[Tensor, "frames tokens"]:
    """Positions where the mask holds, in raster order, then the others: a ``nonzero`` of static shape."""
    return (~mask).to(torch.uint8).argsort(dim=1, stable=True)


def _most_similar(
    keys: Float[Tensor, "frames patches key_dim"],
    targets: Int[Tensor, "frames contextual"],
    is_used: Bool[Tensor, "frames contextual"],
) -> Int[Tensor, "frames patches"]:
    """For each patch, the slot of the target with the greatest cosine similarity; of equals, the first."""
    unit = F.normalize(keys.to(_accumulating(keys.dtype)), dim=-1)
    unit_targets = unit.gather(1, targets[:, :, None].expand(-1, -1, unit.shape[-1]))
    similarity = unit @ unit_targets.transpose(1, 2)
    return similarity.masked_fill(~is_used[:, None, :], -torch.inf).argmax(dim=-1)


def _apply(hidden: Float[Tensor, "frames tokens dim"], choice: _Choice, merge: Merge) -> Float[Tensor, "kept dim"]:
    """Gather the kept tokens and merge members into the contextual ones.

    Members are summed by a matrix product with the membership mask: unlike a scatter, it gives the same bits on
    every run.
    """
    num_frames, size, dim = hidden.shape
    most_contextual = choice.members.shape[1]
    standing = hidden.reshape(num_frames * size, dim)[choice.frame_of * size + choice.anchor_of]
    if most_contextual == 0:
        return standing
    wide = _accumulating(hidden.dtype)
    # What joins nothing is zeroed, lest an infinity in it, times its zero in the mask, spoil the sums.
    joining = hidden.to(wide).masked_fill(~choice.members.any(dim=1)[:, :, None], 0)
    total = (choice.members.to(wide) @ joining).reshape(num_frames * most_contextual, dim)
    count = choice.members.sum(dim=-1).reshape(num_frames * most_contextual, 1)

    is_contextual = (choice.slot_of >= 0)[:, None]
    row = choice.frame_of * most_contextual + choice.slot_of.clamp(min=0)
    total, count = total[row], count[row]
    if merge == "sum":
        merged = standing.to(wide) + total / count.clamp(min=1)
    else:
        merged = (standing.to(wide) + total) / (count + 1)
    return torch.where(is_contextual, merged.to(hidden.dtype), standing)


def _accumulating(dtype: torch.dtype) -> torch.dtype:
    """The type to compare and to average in: never narrower than float32."""
    return torch.promote_types(dtype, torch.float32)


def _pairs(
    features: VisionFeatures, tokens_per_frame: Counts | None, dominant: Counts | None, contextual: Counts | None
) -> list[tuple[int, int]]:
    """Turn the caller's counts into dominant and contextual ones for every frame, at most S together."""
    num_frames, size = features.num_frames, features.tokens_per_frame
    if tokens_per_frame is not None:
        if dominant is not None or contextual is not None:
            raise BadArgument(
                "tokens_per_frame and dominant or contextual were both given", hint="give one or the other"
            )
        return [split_tokens(k, size) for k in per_frame(tokens_per_frame, num_frames, "tokens_per_frame")]
    if dominant is not None:
        pairs = list(
            zip(
                per_frame(dominant, num_frames, "dominant"),
                per_frame(0 if contextual is None else contextual, num_frames, "contextual"),
                strict=True,
            )
        )
    else:
        raise BadArgument("no token count was given", hint="give tokens_per_frame, or dominant and contextual")
    for frame, (keep, join) in enumerate(pairs):
        if join > 0 and keep == 0:
            raise BadArgument(
                f"frame {frame} has 0 dominant and {join} contextual tokens",
                hint="dominant counts CLS, so it must be at least 1 where contextual tokens are wanted",
            )
    return [_within(size, keep, join) for keep, join in pairs]


def split_tokens(k: int, size: int) -> tuple[int, int]:
    """Split k tokens of a frame of ``size`` into dominant and contextual ones; all are dominant where it stays whole."""
    return _within(size, *token_split(k))


def _within(size: int, dominant: int, contextual: int) -> tuple[int, int]:
    return (size, 0) if dominant + contextual >= size else (dominant, contextual)

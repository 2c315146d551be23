"""How many tokens each frame may keep: as callers say it, and on its way to the device."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidzip.errors import BadArgument
from vidzip.video.sampling import check_count

Counts = int | Sequence[int] | Tensor
"""One integer for all frames, or one a frame."""


def per_frame(counts: Counts, num_frames: int, name: str) -> list[int]:
    """Read one integer, or one a frame, as host integers.

    Raises:
        BadArgument: counts that are negative, not integers, on a GPU, or of another number than the frames.
    """
    if isinstance(counts, Tensor):
        if counts.device.type != "cpu":
            raise BadArgument(
                f"{name} is a tensor on {counts.device}; reading it would stall the device", hint="give host integers"
            )
        counts = counts.tolist()
    try:
        values = (
            [operator.index(count) for count in counts]
            if isinstance(counts, Sequence) or hasattr(counts, "__iter__")
            else [operator.index(counts)] * num_frames
        )
    except TypeError as error:
        raise BadArgument(f"{name} is {counts!r}", hint="give one integer, or one integer a frame") from error
    if len(values) != num_frames:
        raise BadArgument(f"{name} has {len(values)} entries for {num_frames} frames", hint="give one a frame")
    if any(value < 0 for value in values):
        raise BadArgument(f"{name} has a negative entry: {min(values)}", hint="give 0 or more a frame")
    return values


def split_by_size(total_tokens: int, sizes: Sequence[int]) -> list[int]:
    """Split tokens among frames in proportion to their sizes, which none exceeds, (F,).

    Frames of equal sizes get the counts of :func:`vidzip.planner.split_evenly`. If there are fewer source tokens than
    ``total_tokens``, all are kept.

    Raises:
        BadArgument: the total is below 1.
    """
    ends = list(accumulate(sizes, initial=0))
    total = min(check_count(total_tokens, "total_tokens"), ends[-1])
    return [end * total // ends[-1] - start * total // ends[-1] for start, end in pairwise(ends)]


_FINEST = 2**24
"""Weights are whole numbers of this part of the largest: shares are exact then, and the same on every device."""


def allot(weights: Float[Tensor, " frames"], total_tokens: int, *, least: int, most: int) -> Int[Tensor, " frames"]:
    """Share tokens among frames by weight, without waiting for the device, (F,).

    Every frame gets ``least``; what is left goes by weight, rounded down, and then one each to those with the largest
    remainders. What would pass ``most`` in a frame goes to the others by weight. Of equals, the first comes first.

    Where the tokens cannot give every frame ``least``, only the frames of the greatest weights get any: as many frames
    as can have ``least``. Where even these could not hold all tokens, there are more of them, with less.

    Args:
        weights: non-negative, one of them positive, in any unit, (F,).
        total_tokens: B, in [0, F * most].
        least: tokens of a frame that gets any.
        most: tokens of a frame, at most.

    Returns:
        Counts that sum to ``total_tokens``, on the weights' device.
    """
    num_frames = len(weights)
    if total_tokens == 0:
        return torch.zeros_like(weights, dtype=torch.long)
    num_chosen = num_frames
    if least * num_frames > total_tokens:
        num_chosen = max(total_tokens // least, -(-total_tokens // most))
    base = min(least, most, total_tokens // num_chosen)
    room, left = most - base, total_tokens - base * num_chosen

    place = torch.arange(num_frames, device=weights.device)
    parts = (weights / weights.amax() * _FINEST).round().long().clamp(min=1)
    order = parts.argsort(descending=True, stable=True)
    rank = order.argsort()
    is_chosen = rank < num_chosen
    parts = parts.where(is_chosen, 0)

    # The frames of the greatest weights are full: the fewest that leave no other one past its room.
    descending = parts[order]
    others = descending.flip(0).cumsum(0).flip(0)
    num_full = (descending * (left - place * room) <= room * others).int().argmax().reshape(1)
    is_full = is_chosen & (rank < num_full)
    rest = left - num_full * room
    whole = others.gather(0, num_full).clamp(min=1)

    shared = parts.masked_fill(is_full, 0) * rest
    extra = torch.where(is_full, room, shared // whole)
    num_remainders = left - extra.sum()
    by_remainder = (shared % whole).argsort(descending=True, stable=True).argsort()
    return torch.where(is_chosen, base + extra + (by_remainder < num_remainders), 0)


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy what was computed on the host to where the features are, without waiting for the device."""
    if device.type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)

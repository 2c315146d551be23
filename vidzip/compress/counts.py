"""How many tokens each frame may keep: read from callers, split among frames, and copied to the device."""

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
"""One integer for all frames, or one per frame."""


def read_counts(counts: Counts, num_frames: int, name: str) -> list[int]:
    """Read one integer for all frames, or one per frame, as host integers.

    Raises:
        BadArgument: the counts are negative, not integers, on a GPU, or not one per frame.
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
        raise BadArgument(f"{name} is {counts!r}", hint="give one integer, or one integer per frame") from error
    if len(values) != num_frames:
        raise BadArgument(f"{name} has {len(values)} entries for {num_frames} frames", hint="give one per frame")
    if any(value < 0 for value in values):
        raise BadArgument(f"{name} has a negative entry: {min(values)}", hint="give 0 or more per frame")
    return values


def split_by_size(total_tokens: int, sizes: Sequence[int]) -> list[int]:
    """Split tokens among frames in proportion to their sizes, which none exceeds, (F,).

    Frames of equal sizes get the counts of :func:`vidzip.planner.split_evenly`. All source tokens are kept if there are
    no more than ``total_tokens``.

    Raises:
        BadArgument: the total is below 1.
    """
    ends = list(accumulate(sizes, initial=0))
    total = min(check_count(total_tokens, "total_tokens"), ends[-1])
    return [end * total // ends[-1] - start * total // ends[-1] for start, end in pairwise(ends)]


_WEIGHT_STEPS = 2**24
"""Weights are rounded to this fraction of the largest: integer arithmetic is exact, and the same on every device."""


def largest_remainder(
    weights: Float[Tensor, " frames"], total_tokens: int, *, min_tokens: int, max_tokens: int
) -> Int[Tensor, " frames"]:
    """Split tokens among frames by weight with the largest remainder method, without waiting for the device, (F,).

    Every frame gets ``min_tokens``; the rest is split by weight, rounded down, and one more token goes to each of the
    frames with the largest remainders. Tokens above ``max_tokens`` go to the other frames by weight. On ties, the first
    frame wins.

    If there are too few tokens to give every frame ``min_tokens``, only the frames with the largest weights get any: as
    many frames as can have ``min_tokens``; more, with fewer tokens each, if those could not hold all tokens.

    Args:
        weights: non-negative, at least one positive, in any unit, (F,).
        total_tokens: B, in [0, F * max_tokens].
        min_tokens: tokens of a frame that gets any.
        max_tokens: the limit of a frame's tokens.

    Returns:
        Counts that sum to ``total_tokens``, on the weights' device.
    """
    num_frames = len(weights)
    if total_tokens == 0:
        return torch.zeros_like(weights, dtype=torch.long)
    num_chosen = num_frames
    if min_tokens * num_frames > total_tokens:
        num_chosen = max(total_tokens // min_tokens, -(-total_tokens // max_tokens))
    base = min(min_tokens, max_tokens, total_tokens // num_chosen)
    capacity, left = max_tokens - base, total_tokens - base * num_chosen

    shares = (weights / weights.amax() * _WEIGHT_STEPS).round().long().clamp(min=1)
    order = shares.argsort(descending=True, stable=True)
    rank = order.argsort()
    is_chosen = rank < num_chosen
    shares = shares.where(is_chosen, 0)

    # The frames with the largest weights are full: the fewest for which no other frame exceeds its capacity.
    descending = shares[order]
    others = descending.flip(0).cumsum(0).flip(0)
    num_before = torch.arange(num_frames, device=weights.device)
    num_full = (descending * (left - num_before * capacity) <= capacity * others).int().argmax().reshape(1)
    is_full = is_chosen & (rank < num_full)

    weighted = shares.masked_fill(is_full, 0) * (left - num_full * capacity)
    whole = others.gather(0, num_full).clamp(min=1)
    extra = torch.where(is_full, capacity, weighted // whole)
    by_remainder = (weighted % whole).argsort(descending=True, stable=True).argsort()
    return torch.where(is_chosen, base + extra + (by_remainder < left - extra.sum()), 0)


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy values that the host computed to a device, without waiting for it."""
    return (values.pin_memory() if device.type == "cuda" else values).to(device, non_blocking=True)


def int_tensor(values: Sequence[int], device: torch.device) -> Int[Tensor, " values"]:
    """Copy host integers to a device, without waiting for it."""
    return to_device(torch.tensor(values, dtype=torch.long), device)

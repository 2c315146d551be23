"""How many tokens each frame may keep: as callers say it, and on its way to the device."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch import Tensor

from vidzip.errors import BadArgument

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


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy what was computed on the host to where the features are, without waiting for the device."""
    if device.type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)

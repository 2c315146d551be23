"""What a device's memory holds, and what to say where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from vidzip.errors import OutOfMemory
from vidzip.planner.model_shapes import FRAMES_AT_ONCE, activation_values

TOWER_MEMORY_BYTES = 512 * 2**20
"""What a tower may take to run, where nothing else is said."""

BATCH_FRAMES = FRAMES_AT_ONCE["cpu"]
"""Frames that run through a tower at once, at most, where nothing else is said."""

_CUDA_SHARE = 8
_CUDA_MOST_BYTES = 2 * 2**30


def tower_memory_bytes(device: torch.device) -> int:
    """What a tower may take to run on a device: :data:`TOWER_MEMORY_BYTES`, and on CUDA what its memory allows.

    There it is an eighth of what is free now, up to 2 GiB: after the weights have been loaded, so that most is left to
    the language model's cache, and to others.
    """
    if device.type != "cuda":
        return TOWER_MEMORY_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    return int(min(free // _CUDA_SHARE, _CUDA_MOST_BYTES))


def batch_frames(device: torch.device) -> int:
    """Frames that run through a tower at once, at most: those of :data:`~vidzip.planner.model_shapes.FRAMES_AT_ONCE`."""
    return FRAMES_AT_ONCE.get(device.type, BATCH_FRAMES)


def activation_bytes(vision_config: Any, dtype: torch.dtype) -> int:
    """Bounds what one frame takes at once on its way through a tower without gradients, weights left out, in bytes.

    Most of it lives in a layer's MLP. Of ViT-L/14 at 224 pixels it is 20.1 MB in float32 with quick GELU, and 15.9 MB
    with GELU; what PyTorch allocates there, the frame itself counted in, is 0.92 to 0.97 and 0.90 to 0.96 of it (the
    more with attention over time). Workspaces of a device's libraries are left out.
    """
    values = activation_values(
        num_tokens=(vision_config.image_size // vision_config.patch_size) ** 2 + 1,
        hidden_size=vision_config.hidden_size,
        intermediate_size=vision_config.intermediate_size,
        activation=vision_config.hidden_act,
        image_size=vision_config.image_size,
    )
    return int(values * dtype.itemsize)


@contextmanager
def memory_errors(work: str) -> Iterator[None]:
    """Say what did not fit a device's memory, and what to do."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            f"{work} does not fit the device's memory",
            hint="take fewer frames or tokens, a half-precision dtype, or another device",
        ) from error

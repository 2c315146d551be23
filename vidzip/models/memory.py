"""Memory limits of the vision tower, and out-of-memory errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from vidzip.errors import OutOfMemory
from vidzip.planner.model_shapes import FRAMES_AT_ONCE, activation_values

TOWER_MEMORY_BYTES = 512 * 2**20
"""Default limit on a tower's activations."""

BATCH_FRAMES = FRAMES_AT_ONCE["cpu"]
"""Default limit on the frames that run through a tower at once."""

_CUDA_SHARE = 8
_CUDA_MOST_BYTES = 2 * 2**30


def tower_memory_bytes(device: torch.device) -> int:
    """Limit on a tower's activations on a device: :data:`TOWER_MEMORY_BYTES`; on CUDA an eighth of the free memory.

    On CUDA it is at most 2 GiB. Call it after the weights have been loaded: most of the rest is left to the language
    model's cache, and to others.
    """
    if device.type != "cuda":
        return TOWER_MEMORY_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    return int(min(free // _CUDA_SHARE, _CUDA_MOST_BYTES))


def batch_frames(device: torch.device) -> int:
    """Limit on the frames that run through a tower at once on a device."""
    return FRAMES_AT_ONCE.get(device.type, BATCH_FRAMES)


def activation_bytes(vision_config: Any, tokens_per_frame: int, dtype: torch.dtype) -> int:
    """Bound the bytes of activations that one frame needs at once in a tower without gradients, weights excluded.

    Most of them are a layer's MLP. For ViT-L/14 at 224 pixels it is 20.1 MB in float32 with quick GELU and 15.9 MB with
    GELU; PyTorch allocates, the frame itself included, 0.92 to 0.97 and 0.90 to 0.96 of that (most with attention over
    time). Workspaces of the device's libraries are excluded.
    """
    values = activation_values(
        num_tokens=tokens_per_frame,
        hidden_size=vision_config.hidden_size,
        intermediate_size=vision_config.intermediate_size,
        activation=vision_config.hidden_act,
        image_size=vision_config.image_size,
    )
    return int(values * dtype.itemsize)


@contextmanager
def memory_errors(work: str) -> Iterator[None]:
    """Turn torch's out-of-memory errors into :class:`OutOfMemory`."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            f"{work} does not fit the device's memory",
            hint="use fewer frames or tokens, a half-precision dtype, or another device",
        ) from error

"""What a device's memory holds, and what to say where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from vidzip.errors import OutOfMemory

TOWER_MEMORY_BYTES = 512 * 2**20
"""What a tower may take to run, where nothing else is said."""


def activation_bytes(vision_config: Any, dtype: torch.dtype) -> int:
    """Bounds what one frame takes at once on its way through a tower without gradients, weights left out, in bytes.

    Most of it lives in a layer's MLP: its input and output of four times the width, one of them before and one behind
    the activation, beside what goes round it and what is observed. A test holds the bound against what PyTorch
    allocates.
    """
    tokens = (vision_config.image_size // vision_config.patch_size) ** 2 + 1
    values = tokens * (2 * vision_config.intermediate_size + 6 * vision_config.hidden_size)
    pixels = 2 * 3 * vision_config.image_size**2
    return int((values + pixels) * dtype.itemsize)


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

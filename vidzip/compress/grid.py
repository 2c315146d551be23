"""How a few places are laid out over a frame's patches: in about as many rows as columns."""

from __future__ import annotations

import math

from vidzip.planner import split_budget


def rows_of(count: int, num_patches: int) -> tuple[tuple[int, ...], int]:
    """Lay ``count`` places out over a square grid of patches, or over one line where they form no square.

    There are round(sqrt(count)) rows, each with its share of the places.

    Returns:
        How many places each row has, and how many patches stand side by side in a row of the picture.
    """
    side = math.isqrt(num_patches)
    if count == 0:
        return (), max(1, num_patches)
    if side * side != num_patches:
        return (count,), num_patches
    return split_budget(count, round(math.sqrt(count))), side

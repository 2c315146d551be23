"""Spread places over a grid of patches."""

from __future__ import annotations

import math

from vidzip.planner import split_budget


def places_per_row(count: int, grid: tuple[int, int]) -> tuple[int, ...]:
    """Divide places among rows, about in proportion to a grid's rows and columns.

    Args:
        count: number of places, at most one per patch.
        grid: rows and columns of patches.

    Returns:
        The number of places in each row, at most the grid's columns; on a square grid, there are round(sqrt(count))
        rows.
    """
    if count == 0:
        return ()
    rows, columns = grid
    proportional = round(math.sqrt(count * rows / columns))
    return split_budget(count, min(rows, count, max(proportional, -(-count // columns))))

"""Where a number of places lie on a grid of patches: in rows and columns in proportion to the grid's."""

from __future__ import annotations

import math

from vidzip.planner import split_budget


def places_per_row(count: int, grid: tuple[int, int]) -> tuple[int, ...]:
    """Divide places among rows that are spread over a grid; on a square grid, there are round(sqrt(count)) rows.

    Args:
        count: how many places, at most one for each patch.
        grid: rows and columns of patches.

    Returns:
        The number of places in each row; none exceeds the grid's columns.
    """
    if count == 0:
        return ()
    rows, columns = grid
    wanted = round(math.sqrt(count * rows / columns))
    return split_budget(count, min(rows, count, max(wanted, -(-count // columns))))

"""What measured figures say: medians, ratios within rounds, and where the true median lies."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from eval.statistics import CONFIDENCE


@dataclass(frozen=True, kw_only=True)
class Middle:
    """A median, and where that of all such measurements lies with 95 % confidence.

    Attributes:
        median: of the values.
        low: the interval's lower end; None where there are fewer than six values, which do not say.
        high: its upper end; None likewise.
        count: how many values there are.
    """

    median: float
    low: float | None
    high: float | None
    count: int


def middle(values: Sequence[float]) -> Middle:
    """The median of some values, with its interval between two of them in order.

    Of n values from any one distribution, the number below its median is binomial with a chance of a half. The interval
    is from the k-th smallest to the k-th largest, with the greatest k for which fewer than k lie on one side of the
    median with a probability of 2.5 % at most (David and Nagaraja 2003, *Order Statistics*, 7.1): it holds the median
    with 95 % probability at least, whatever the distribution. Up to five values never do.
    """
    ordered, n = sorted(values), len(values)
    below, k = 0.0, 0
    while k < n // 2:
        below += math.comb(n, k) / 2**n
        if below > (1 - CONFIDENCE) / 2:
            break
        k += 1
    return Middle(
        median=statistics.median(ordered),
        low=ordered[k - 1] if k else None,
        high=ordered[n - k] if k else None,
        count=n,
    )


def ratio(above: Sequence[float], below: Sequence[float]) -> Middle:
    """Ratios of what was measured in the same rounds."""
    return middle([one / other for one, other in zip(above, below, strict=True)])

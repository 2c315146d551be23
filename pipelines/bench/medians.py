"""Medians of measurements with confidence intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from eval.statistics import CONFIDENCE


@dataclass(frozen=True, kw_only=True)
class Median:
    """A median with its 95 % confidence interval.

    Attributes:
        median: the median of the values.
        low: lower end of the interval; None for fewer than six values, which cannot give one.
        high: upper end of the interval; None likewise.
        count: number of values.
    """

    median: float
    low: float | None
    high: float | None
    count: int


def median(values: Sequence[float]) -> Median:
    """Compute a median, with an interval between two order statistics.

    Of n values from any distribution, the number below its median is binomial with probability 1/2. The interval is from
    the k-th smallest to the k-th largest value, with the largest k for which fewer than k values are on one side of the
    median with a probability of at most 2.5 % (David and Nagaraja 2003, *Order Statistics*, 7.1). It contains the median
    with a probability of at least 95 % for every distribution; up to five values never do.
    """
    ordered, n = sorted(values), len(values)
    below, k = 0.0, 0
    while k < n // 2:
        below += math.comb(n, k) / 2**n
        if below > (1 - CONFIDENCE) / 2:
            break
        k += 1
    return Median(
        median=statistics.median(ordered),
        low=ordered[k - 1] if k else None,
        high=ordered[n - k] if k else None,
        count=n,
    )


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Median:
    """Compute the median of ratios of values from the same rounds."""
    return median([above / below for above, below in zip(numerators, denominators, strict=True)])

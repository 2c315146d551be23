"""Two verdicts on each question: of two runs, or of two judges."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from eval.statistics.means import Estimate
from eval.statistics.resampling import bootstrap_interval, cluster_sums, linear_standard_error


@dataclass(frozen=True, kw_only=True)
class TwoByTwo:
    """How often two verdicts on one question are what.

    Attributes:
        both: yes of both.
        only_first: yes of the first alone.
        only_second: yes of the second alone.
        neither: no of both.
    """

    both: int
    only_first: int
    only_second: int
    neither: int


def two_by_two(first: Bool[np.ndarray, " questions"], second: Bool[np.ndarray, " questions"]) -> TwoByTwo:
    """Count them.

    Raises:
        ValueError: there are more of one than of the other.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} verdicts beside {len(second)}; give two a question")
    return TwoByTwo(
        both=int((first & second).sum()),
        only_first=int((first & ~second).sum()),
        only_second=int((~first & second).sum()),
        neither=int((~first & ~second).sum()),
    )


def exact_mcnemar(only_first: int, only_second: int) -> float:
    """How probable so unequal a split is, or one more unequal, if each question that flips does so by a fair coin.

    McNemar's test in its exact form, two-sided (McNemar 1947, Psychometrika 12:153): with n = b + c questions that
    flip, twice the probability of min(b, c) or fewer heads of n, at most 1. It takes each question for independent of
    all others. Where questions of one video flip together it finds too much; the interval of the paired difference,
    clustered by video, does not.

    Args:
        only_first: b, questions that only the first has right.
        only_second: c, those that only the second has right.

    Raises:
        ValueError: a count is negative.
    """
    fewer, more = sorted((only_first, only_second))
    if fewer < 0:
        raise ValueError(f"{fewer} questions; a count is 0 or more")
    flips = fewer + more
    # The greatest term is exact; each one before it is a known share of the next, and soon too small to count.
    term = total = 1.0
    for heads in range(fewer, 0, -1):
        term *= heads / (flips - heads + 1)
        total += term
        if term < 1e-18 * total:
            break
    return float(min(1.0, 2 * total * (math.comb(flips, fewer) / 2**flips)))


def cohens_kappa(
    first: Bool[np.ndarray, " questions"], second: Bool[np.ndarray, " questions"], clusters: Sequence[Hashable]
) -> Estimate:
    """Agreement beyond chance (Cohen 1960, Educ. Psychol. Meas. 20:37), with a bootstrap's interval over videos.

    (po - pe) / (1 - pe), with po the share of questions on which the two agree and pe the share on which they would
    if each gave as many yes as it does, but anywhere.

    Returns:
        Kappa; no value where chance alone agrees always, as where both always say yes; no interval where too few videos
        differ, as where they agree on every question.

    Raises:
        ValueError: there are not as many verdicts of each, and clusters.
    """
    table = two_by_two(first, second)
    if len(first) != len(clusters):
        raise ValueError(f"{len(first)} verdicts for {len(clusters)} clusters; give one cluster a question")
    cells = (first & second, first & ~second, ~first & second, ~first & ~second)
    counts = np.array([[table.both, table.only_first, table.only_second, table.neither]], dtype=np.float64)
    with np.errstate(invalid="ignore"):
        value = float(_kappa(counts)[0])
    is_defined = not math.isnan(value)
    sums = cluster_sums(clusters, *(cell.astype(np.float64) for cell in cells))
    interval = bootstrap_interval(sums, _kappa) if is_defined else None
    low, high = (max(-1.0, interval[0]), min(1.0, interval[1])) if interval else (None, None)
    return Estimate(
        value=value if is_defined else None,
        low=low,
        high=high,
        num_questions=len(first),
        num_clusters=len(sums),
        standard_error=linear_standard_error(sums, _kappa) if is_defined else None,
    )


def _kappa(counts: Float[np.ndarray, "samples columns"]) -> Float[np.ndarray, " samples"]:
    both, only_first, only_second, neither = (counts / counts.sum(axis=1, keepdims=True)).T
    first, second = both + only_first, both + only_second
    expected = first * second + (1 - first) * (1 - second)
    return np.where(expected < 1, (both + neither - expected) / (1 - expected), np.nan)

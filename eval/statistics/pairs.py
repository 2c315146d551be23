"""Two verdicts on each question: of two runs, or of two judges."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import bdtr

from eval.statistics.means import Estimate
from eval.statistics.resampling import bootstrap_interval, cluster_sums, linear_standard_error


@dataclass(frozen=True, kw_only=True)
class TwoByTwo:
    """Counts of questions by two verdicts: yes of both, of the first only, of the second only, of neither."""

    both: int
    only_first: int
    only_second: int
    neither: int


def two_by_two(first: Bool[np.ndarray, " questions"], second: Bool[np.ndarray, " questions"]) -> TwoByTwo:
    """Count questions by two verdicts.

    Raises:
        ValueError: the numbers of verdicts differ.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} first verdicts and {len(second)} second ones; give two per question")
    return TwoByTwo(
        both=int((first & second).sum()),
        only_first=int((first & ~second).sum()),
        only_second=int((~first & second).sum()),
        neither=int((~first & ~second).sum()),
    )


def exact_mcnemar(only_first: int, only_second: int) -> float:
    """The p-value of McNemar's exact test, two-sided (McNemar 1947, Psychometrika 12:153).

    With n = b + c questions that flip, it is twice the binomial probability of min(b, c) or fewer of n, at most 1. The
    test assumes independent questions. If questions about the same video flip together, its p-value is too small; the
    interval of the paired difference, clustered by video, remains valid.

    Args:
        only_first: b, questions that only the first has right.
        only_second: c, questions that only the second has right.

    Raises:
        ValueError: a count is negative.
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"{min(only_first, only_second)} questions; a count must be 0 or more")
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), only_first + only_second, 0.5)))


def cohens_kappa(
    first: Bool[np.ndarray, " questions"], second: Bool[np.ndarray, " questions"], clusters: Sequence[Hashable]
) -> Estimate:
    """Estimate agreement beyond chance (Cohen 1960, Educ. Psychol. Meas. 20:37), with a bootstrap interval over videos.

    Kappa is (po - pe) / (1 - pe): po is the observed proportion of agreement, pe the one expected if the two verdicts
    were independent.

    Returns:
        Kappa; without a value if pe is 1, as when both always say yes; without an interval if too few videos differ, as
        when the two agree on every question.

    Raises:
        ValueError: the numbers of verdicts and clusters differ.
    """
    table = two_by_two(first, second)
    if len(first) != len(clusters):
        raise ValueError(f"{len(first)} verdicts for {len(clusters)} clusters; give one cluster per question")
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

"""The bootstrap over videos: 95 % intervals of whatever can be computed from sums over videos.

Videos are drawn with replacement, as many as there are, with all of their questions. The interval is the symmetric
studentised one (Hall 1988, J. R. Stat. Soc. B 50:35; Davison and Hinkley 1997, *Bootstrap Methods and their
Application*, 2.4 and 5.2.1; for clusters: Cameron, Gelbach and Miller 2008, Rev. Econ. Stat. 90:414): with the statistic
f of the sample and f* of a resample, and their standard errors SE and SE*, it is

    f +- q * SE,    where |f* - f| / SE* <= q in 95 % of the resamples,

so that q is what Student's t would be if the sums were normal. The standard errors are linear (the delta method): with
T the sums over all G videos, g the gradient of f there, and C the covariance of the videos' sums about their mean,
divided by G,

    SE^2 = G^2 / (G - 1) * g' C g,

which for a mean is the clustered standard error of :mod:`eval.statistics.means`. In simulations it holds the truth more
evenly than percentiles and BCa, which are too narrow for few videos.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
from jaxtyping import Float

from eval.statistics.means import (
    CONFIDENCE,
    Estimate,
    Interval,
    check_range,
    clustered_standard_error,
    estimate,
    number_clusters,
    unseen,
)

RESAMPLES = 2000
SEED = 0

Sums = Float[np.ndarray, "clusters columns"]
Statistic = Callable[[Float[np.ndarray, "samples columns"]], Float[np.ndarray, " samples"]]

_WEIGHTS_AT_ONCE = 4_000_000


def bootstrap_interval(
    sums: Sums, statistic: Statistic, *, resamples: int = RESAMPLES, seed: int = SEED
) -> Interval | None:
    """The interval of a statistic, by resampling clusters. The same input gives the same digits, in any order.

    Args:
        sums: of each cluster, such as its number of right answers and its number of questions.
        statistic: from sums over all clusters, a row a sample, to its value in each; it must not depend on their
            scale, and where it is not defined it gives nan.
        resamples: how many are drawn.
        seed: of the draws.

    Returns:
        The interval; None where fewer than two clusters, or more than 5 % of the resamples, show no spread.

    Raises:
        ValueError: no resample is asked for.
    """
    if resamples < 1:
        raise ValueError(f"{resamples} resamples; draw at least one")
    error = linear_standard_error(sums, statistic)
    if error is None:
        return None
    value = float(_values(statistic, sums.sum(axis=0, keepdims=True))[0])
    distances = np.concatenate([
        np.abs(_values(statistic, totals) - value) / errors
        for totals, errors in _resample(sums, statistic, resamples, seed)
    ])  # fmt: skip
    reach = error * float(np.quantile(np.where(np.isnan(distances), np.inf, distances), CONFIDENCE, method="higher"))
    return (value - reach, value + reach) if np.isfinite(reach) else None


def bootstrap_mean(
    values: Float[np.ndarray, " questions"],
    clusters: Sequence[Hashable],
    *,
    lowest: float = 0.0,
    highest: float = 1.0,
    num_unscored: int = 0,
) -> Estimate:
    """The mean of scores, or of differences between two runs' scores, with an interval by :func:`bootstrap_interval`.

    It is kept within the range. Where too few videos differ for a bootstrap, it is what
    :func:`eval.statistics.mean_score` gives where none does.

    Args:
        values: one a question.
        clusters: the video of each.
        lowest: the least value there is.
        highest: the greatest value there is.
        num_unscored: questions without a value, to be passed on.

    Raises:
        ValueError: there is not one cluster a value, or a value lies outside of the range.
    """
    check_range(values, lowest, highest)
    error = clustered_standard_error(values, clusters)
    if error is None:
        return estimate(values, clusters, num_unscored, None, None)
    sums = cluster_sums(clusters, values, np.ones_like(values))
    interval = bootstrap_interval(sums, lambda totals: totals[:, 0] / totals[:, 1]) if error else None
    low, high = interval or unseen(float(values.mean()), len(sums), lowest, highest)
    return estimate(values, clusters, num_unscored, (max(lowest, low), min(highest, high)), error)


def cluster_sums(clusters: Sequence[Hashable], *columns: Float[np.ndarray, " questions"]) -> Sums:
    """Sum values over the questions of each cluster, column by column."""
    numbers = number_clusters(clusters)
    return np.stack([np.bincount(numbers, weights=column) for column in columns], axis=1)


def linear_standard_error(sums: Sums, statistic: Statistic) -> float | None:
    """The standard error of a statistic, as this file's head gives it; None where there is no spread to be seen."""
    if len(sums) < 2:
        return None
    ones = np.ones((1, len(sums)))
    error = float(_errors(statistic, ones @ sums, ones @ _squares(sums), len(sums))[0])
    return None if np.isnan(error) else error


def _resample(
    sums: Sums, statistic: Statistic, resamples: int, seed: int
) -> Iterator[tuple[Float[np.ndarray, "samples columns"], Float[np.ndarray, " samples"]]]:
    """Give the sums of resamples and the statistic's standard errors there, some resamples at a time."""
    count = len(sums)
    in_order = sums[np.lexsort(sums.T)]  # whatever order the clusters came in
    columns = np.concatenate([in_order, _squares(in_order)], axis=1)
    rng = np.random.default_rng(seed)
    at_once = max(1, _WEIGHTS_AT_ONCE // count)
    for first in range(0, resamples, at_once):
        rows = min(at_once, resamples - first)
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        totals = weights.astype(np.float64) @ columns
        part = totals[:, : sums.shape[1]]
        yield part, _errors(statistic, part, totals[:, sums.shape[1] :], count)


def _squares(sums: Sums) -> Float[np.ndarray, "clusters pairs"]:
    """The products of each cluster's sums, pair by pair."""
    products: Float[np.ndarray, "clusters pairs"] = (sums[:, :, None] * sums[:, None, :]).reshape(len(sums), -1)
    return products


def _errors(
    statistic: Statistic,
    totals: Float[np.ndarray, "samples columns"],
    squares: Float[np.ndarray, "samples pairs"],
    count: int,
) -> Float[np.ndarray, " samples"]:
    """The linear standard errors in samples of so many clusters; nan where there is no spread."""
    num_columns = totals.shape[1]
    means = totals / count
    covariance = squares.reshape(-1, num_columns, num_columns) / count - means[:, :, None] * means[:, None, :]
    # Central differences; a step of a millionth balances their error with that of rounding.
    step = 1e-6 * np.abs(totals).max(axis=1, keepdims=True)
    gradient = np.stack(
        [
            (_values(statistic, totals + step * way) - _values(statistic, totals - step * way)) / (2 * step[:, 0])
            for way in np.eye(num_columns)
        ],
        axis=1,
    )
    products = gradient[:, :, None] * covariance * gradient[:, None, :]
    variance = products.sum(axis=(1, 2))
    # What is left of a true zero is rounding.
    has_spread = variance > 1e-12 * np.abs(products).sum(axis=(1, 2))
    errors: Float[np.ndarray, " samples"] = count * np.sqrt(np.where(has_spread, variance, np.nan) / (count - 1))
    return errors


def _values(statistic: Statistic, totals: Float[np.ndarray, "samples columns"]) -> Float[np.ndarray, " samples"]:
    with np.errstate(divide="ignore", invalid="ignore"):
        values: Float[np.ndarray, " samples"] = statistic(totals)
    return values

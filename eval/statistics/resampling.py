"""The bootstrap over videos: 95 % intervals of any statistic that is computed from sums over videos.

Videos are drawn with replacement, each with all of its questions. The interval is the symmetric studentised one (Hall 1988, J. R. Stat. Soc. B 50:35; Davison and Hinkley 1997, *Bootstrap Methods and their
Application*, 2.4 and 5.2.1; for clusters: Cameron, Gelbach and Miller 2008, Rev. Econ. Stat. 90:414): with the statistic
f of the sample and f* of a resample, and their standard errors SE and SE*, it is

    f +- q * SE,    where |f* - f| / SE* <= q in 95 % of the resamples,

so that q plays the role of Student's t. The standard errors are linear (the delta method): with
T the sums over all G videos, g the gradient of f there, and C the covariance of the videos' sums about their mean,
divided by G,

    SE^2 = G^2 / (G - 1) * g' C g,

which for a mean is the clustered standard error of :mod:`eval.statistics.means`. In simulations its coverage is closer
to 95 % than that of percentile and BCa intervals, which are too narrow for few videos.
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
    make_estimate,
    number_clusters,
    zero_spread_interval,
)

RESAMPLES = 2000
SEED = 0

Sums = Float[np.ndarray, "clusters columns"]
Statistic = Callable[[Float[np.ndarray, "samples columns"]], Float[np.ndarray, " samples"]]

_MAX_WEIGHTS_PER_BATCH = 4_000_000


def bootstrap_interval(
    sums: Sums, statistic: Statistic, *, resamples: int = RESAMPLES, seed: int = SEED
) -> Interval | None:
    """Estimate the interval of a statistic by resampling clusters. The result does not depend on the clusters' order.

    Args:
        sums: sums over each cluster, such as its number of right answers and its number of questions.
        statistic: maps sums over all clusters, one row per sample, to one value per sample, nan if undefined. It must
            not depend on the scale of the sums.
        resamples: number of resamples.
        seed: of the random draws.

    Returns:
        The interval; None with fewer than two clusters, or if more than 5 % of the resamples show no spread.

    Raises:
        ValueError: fewer than one resample.
    """
    if resamples < 1:
        raise ValueError(f"{resamples} resamples; give 1 or more")
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
    """Estimate the mean of scores, or of differences between two runs' scores, with :func:`bootstrap_interval`.

    The interval is clipped to the range. If too few videos differ for a bootstrap, it is the one that
    :func:`eval.statistics.mean_score` gives if none differ.

    Raises:
        ValueError: the numbers of values and clusters differ, or a value is outside the range.
    """
    check_range(values, lowest, highest)
    error = clustered_standard_error(values, clusters)
    if error is None:
        return make_estimate(values, clusters, num_unscored, None, None)
    sums = cluster_sums(clusters, values, np.ones_like(values))
    interval = bootstrap_interval(sums, lambda totals: totals[:, 0] / totals[:, 1]) if error else None
    low, high = interval or zero_spread_interval(float(values.mean()), len(sums), lowest, highest)
    return make_estimate(values, clusters, num_unscored, (max(lowest, low), min(highest, high)), error)


def cluster_sums(clusters: Sequence[Hashable], *columns: Float[np.ndarray, " questions"]) -> Sums:
    """Sum values over the questions of each cluster, column by column."""
    numbers = number_clusters(clusters)
    return np.stack([np.bincount(numbers, weights=column) for column in columns], axis=1)


def linear_standard_error(sums: Sums, statistic: Statistic) -> float | None:
    """Compute the standard error of a statistic (see the module); None if there is no spread."""
    if len(sums) < 2:
        return None
    ones = np.ones((1, len(sums)))
    error = float(_errors(statistic, ones @ sums, ones @ _squares(sums), len(sums))[0])
    return None if np.isnan(error) else error


def _resample(
    sums: Sums, statistic: Statistic, resamples: int, seed: int
) -> Iterator[tuple[Float[np.ndarray, "samples columns"], Float[np.ndarray, " samples"]]]:
    """Yield the sums of resamples and the statistic's standard error in each, in batches of resamples."""
    count = len(sums)
    in_order = sums[np.lexsort(sums.T)]  # so that the order of the clusters does not matter
    columns = np.concatenate([in_order, _squares(in_order)], axis=1)
    rng = np.random.default_rng(seed)
    batch = max(1, _MAX_WEIGHTS_PER_BATCH // count)
    for first in range(0, resamples, batch):
        rows = min(batch, resamples - first)
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        totals = weights.astype(np.float64) @ columns
        part = totals[:, : sums.shape[1]]
        yield part, _errors(statistic, part, totals[:, sums.shape[1] :], count)


def _squares(sums: Sums) -> Float[np.ndarray, "clusters pairs"]:
    """The pairwise products of each cluster's sums."""
    products: Float[np.ndarray, "clusters pairs"] = (sums[:, :, None] * sums[:, None, :]).reshape(len(sums), -1)
    return products


def _errors(
    statistic: Statistic,
    totals: Float[np.ndarray, "samples columns"],
    squares: Float[np.ndarray, "samples pairs"],
    count: int,
) -> Float[np.ndarray, " samples"]:
    """The linear standard errors in samples of ``count`` clusters; nan if there is no spread."""
    num_columns = totals.shape[1]
    means = totals / count
    covariance = squares.reshape(-1, num_columns, num_columns) / count - means[:, :, None] * means[:, None, :]
    # Central differences; a relative step of 1e-6 balances truncation and rounding errors.
    step = 1e-6 * np.abs(totals).max(axis=1, keepdims=True)
    gradient = np.stack(
        [
            (_values(statistic, totals + step * unit) - _values(statistic, totals - step * unit)) / (2 * step[:, 0])
            for unit in np.eye(num_columns)
        ],
        axis=1,
    )
    products = gradient[:, :, None] * covariance * gradient[:, None, :]
    variance = products.sum(axis=(1, 2))
    has_spread = variance > 1e-12 * np.abs(products).sum(axis=(1, 2))  # a smaller variance is rounding
    errors: Float[np.ndarray, " samples"] = count * np.sqrt(np.where(has_spread, variance, np.nan) / (count - 1))
    return errors


def _values(statistic: Statistic, totals: Float[np.ndarray, "samples columns"]) -> Float[np.ndarray, " samples"]:
    with np.errstate(divide="ignore", invalid="ignore"):
        values: Float[np.ndarray, " samples"] = statistic(totals)
    return values

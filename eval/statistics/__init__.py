"""Means, differences and agreement, with 95 % intervals clustered by video."""

from __future__ import annotations

from eval.statistics.means import (
    CONFIDENCE,
    Estimate,
    Interval,
    QuestionScore,
    clustered_standard_error,
    mean_estimate,
    mean_score,
    paired_difference,
    t_quantile,
)
from eval.statistics.pairs import TwoByTwo, cohens_kappa, exact_mcnemar, two_by_two
from eval.statistics.resampling import bootstrap_interval, bootstrap_mean, cluster_sums, linear_standard_error

__all__ = [
    "CONFIDENCE",
    "Estimate",
    "Interval",
    "QuestionScore",
    "TwoByTwo",
    "bootstrap_interval",
    "bootstrap_mean",
    "cluster_sums",
    "clustered_standard_error",
    "cohens_kappa",
    "exact_mcnemar",
    "linear_standard_error",
    "mean_estimate",
    "mean_score",
    "paired_difference",
    "t_quantile",
    "two_by_two",
]

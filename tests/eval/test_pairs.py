from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.inter_rater import cohens_kappa as their_kappa

from eval.statistics import TwoByTwo, cohens_kappa, exact_mcnemar, two_by_two

verdicts = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), min_size=1, max_size=40)


def columns(rows):
    first, second, clusters = zip(*rows, strict=True)
    return np.array(first), np.array(second), list(clusters)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [
        (0, 0, 1.0),
        (4, 4, 1.0),
        (0, 1, 1.0),
        (0, 5, 2 / 32),  # twice the one way of 32 in which all five go one way
        (1, 5, 2 * (1 + 6) / 64),
        (2, 8, 2 * (1 + 10 + 45) / 1024),
        (8, 2, 2 * (1 + 10 + 45) / 1024),
    ],
)
def test_mcnemar_worked_by_hand(only_first, only_second, p_value):
    assert exact_mcnemar(only_first, only_second) == pytest.approx(p_value, rel=1e-14)


def test_oracle_mcnemar_is_that_of_statsmodels():
    assert exact_mcnemar(36_000, 36_500) == pytest.approx(mcnemar([[3, 36_000], [36_500, 1]], exact=True).pvalue)
    assert exact_mcnemar(0, 100_000) == 0  # below the smallest float


def test_a_table_is_counted():
    first, second = np.array([True, True, False, False, True]), np.array([True, False, True, False, True])
    assert two_by_two(first, second) == TwoByTwo(both=2, only_first=1, only_second=1, neither=1)


def test_kappa_worked_by_hand():
    # Cohen's: both yes 20, only one 5, only the other 10, neither 15: po = 0.7, pe = 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
    first = np.repeat([True, True, False, False], [20, 5, 10, 15])
    second = np.repeat([True, False, True, False], [20, 5, 10, 15])
    estimate = cohens_kappa(first, second, list(range(50)))
    assert estimate.value == pytest.approx(0.4)
    assert (estimate.num_questions, estimate.num_clusters) == (50, 50)
    # The large-sample error of statsmodels takes n where ours takes n - 1.
    theirs = their_kappa([[20, 5], [10, 15]])
    assert estimate.standard_error == pytest.approx(theirs.std_kappa * math.sqrt(50 / 49), rel=1e-6)
    assert (estimate.low, estimate.high) == pytest.approx((theirs.kappa_low, theirs.kappa_upp), abs=0.04)


@given(verdicts)
def test_oracle_kappa_is_that_of_statsmodels(rows):
    first, second, clusters = columns(rows)
    estimate = cohens_kappa(first, second, clusters)
    table = two_by_two(first, second)
    if (table.both, table.neither) in {(len(rows), 0), (0, len(rows))}:
        assert estimate.value is None
        return
    counts = [[table.both, table.only_first], [table.only_second, table.neither]]
    assert estimate.value == pytest.approx(their_kappa(counts, return_results=False), abs=1e-9)
    assert -1 <= estimate.value <= 1
    assert estimate.low is None or -1 <= estimate.low <= estimate.value <= estimate.high <= 1


@given(verdicts)
def test_law_kappa_is_symmetric(rows):
    first, second, clusters = columns(rows)
    value = cohens_kappa(first, second, clusters).value
    for other in (cohens_kappa(second, first, clusters), cohens_kappa(~first, ~second, clusters)):
        assert other.value == (None if value is None else pytest.approx(value, abs=1e-12))


def test_equal_verdicts_of_a_video_count_as_one():
    rng = np.random.default_rng(0)
    first, second = rng.random(60) < 0.5, rng.random(60) < 0.5
    once = cohens_kappa(first, second, list(range(60)))
    again = cohens_kappa(np.tile(first, 4), np.tile(second, 4), list(range(60)) * 4)
    assert (again.value, again.low, again.high) == pytest.approx((once.value, once.low, once.high))


def test_full_agreement_has_no_interval():
    both = np.array([True, False] * 10)
    estimate = cohens_kappa(both, both, list(range(20)))
    assert (estimate.value, estimate.low, estimate.standard_error) == (1, None, None)


@pytest.mark.parametrize(
    "make",
    [
        lambda: exact_mcnemar(-1, 3),
        lambda: two_by_two(np.ones(2, bool), np.ones(3, bool)),
        lambda: cohens_kappa(np.ones(2, bool), np.ones(2, bool), ["a"]),
    ],
)
def test_bad_input_is_refused(make):
    with pytest.raises(ValueError, match=r"verdicts|questions"):
        make()

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from pipelines.bench.medians import median, median_ratio


def test_by_hand():
    assert median([3.0, 1.0, 2.0]).median == 2
    # Six values are all on one side of the median with a probability of 2 / 64; seven are or all but one 16 / 128.
    six, seven = median([6, 5, 4, 3, 2, 1]), median([7, 6, 5, 4, 3, 2, 1])
    assert (six.median, six.low, six.high, six.count) == (3.5, 1, 6, 6)
    assert (seven.low, seven.high) == (1, 7)
    # Of twenty, five or fewer lie below it with 2.07 %, six or fewer with 5.8 %.
    twenty = median(list(range(1, 21)))
    assert (twenty.low, twenty.high) == (6, 15)


def test_five_values_give_no_interval():
    five = median([1, 2, 3, 4, 5])
    assert (five.median, five.low, five.high) == (3, None, None)


def test_ratios_are_taken_within_a_round():
    assert median_ratio([2, 30, 6], [1, 10, 1]).median == 3
    with pytest.raises(ValueError, match="shorter"):
        median_ratio([1, 2], [1])


@given(st.lists(st.floats(-1e6, 1e6), min_size=6, max_size=80, unique=True))
def test_law_the_interval_is_the_narrowest_with_95_percent_coverage(values):
    found = median(values)
    assert found.median == statistics.median(values)
    below = sorted(values).index(found.low)
    assert sorted(values, reverse=True).index(found.high) == below
    # The median is outside where `below` values or fewer lie on one side of it.
    assert 2 * binom.cdf(below, len(values), 0.5) <= 0.05
    assert 2 * binom.cdf(below + 1, len(values), 0.5) > 0.05

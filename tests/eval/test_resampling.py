from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.statistics import (
    bootstrap_interval,
    bootstrap_mean,
    cluster_sums,
    clustered_standard_error,
    linear_standard_error,
    mean_estimate,
    t_quantile,
)

some_videos = st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=4), min_size=2, max_size=8)


def flat(videos):
    return np.array([value for values in videos for value in values]), [
        str(video) for video, values in enumerate(videos) for _ in values
    ]


def mean(totals):
    return totals[:, 0] / totals[:, 1]


def sums_of(videos):
    values, names = flat(videos)
    return cluster_sums(names, values, np.ones_like(values))


def plain_bootstrap(values, names, draws):
    """The same interval, drawn video by video and computed from the questions: slow, and clear."""
    videos = {name: values[np.array(names) == name] for name in dict.fromkeys(names)}
    in_order = sorted(videos.values(), key=lambda of_video: (len(of_video), of_video.sum()))
    rng = np.random.default_rng(0)
    value, error = values.mean(), clustered_standard_error(values, names)
    distances = []
    for _ in range(draws):
        drawn = [in_order[place] for place in rng.integers(len(in_order), size=len(in_order))]
        again = np.concatenate(drawn)
        spread = clustered_standard_error(again, [str(place) for place, one in enumerate(drawn) for _ in one])
        distances.append(abs(again.mean() - value) / spread if spread else np.inf)
    reach = error * sorted(distances)[int(np.ceil(0.95 * (draws - 1)))]
    return value - reach, value + reach


def test_sums_are_those_of_each_video():
    values, names = np.array([1.0, 0.0, 1.0, 1.0]), ["b", "a", "b", "c"]
    assert cluster_sums(names, values, np.ones(4)).tolist() == [[2, 2], [0, 1], [1, 1]]


def test_oracle_the_interval_is_that_of_a_plain_bootstrap():
    rng = np.random.default_rng(3)
    sizes = [1, 2, 5, 9] * 10
    videos = [rng.binomial(1, chance, size) for chance, size in zip(rng.random(40), sizes, strict=True)]
    values, names = flat([one.astype(float) for one in videos])
    fast = bootstrap_interval(cluster_sums(names, values, np.ones_like(values)), mean, resamples=300)
    assert fast == pytest.approx(plain_bootstrap(values, names, 300), rel=1e-6)


@given(some_videos)
def test_law_the_linear_error_of_a_mean_is_the_clustered_one(videos):
    exact = clustered_standard_error(*flat(videos))
    linear = linear_standard_error(sums_of(videos), mean)
    assert linear == (None if exact == 0 else pytest.approx(exact, rel=1e-6))


def test_the_linear_error_of_a_ratio_worked_by_hand():
    # Sums (2, 4), (1, 1), (3, 4): r = 2/3. Residuals a - r b: -2/3, 1/3, 1/3; their squares sum to 2/3.
    # SE^2 = 3/2 * 2/3 / 9^2.
    sums = np.array([[2.0, 4.0], [1.0, 1.0], [3.0, 4.0]])
    assert linear_standard_error(sums, mean) == pytest.approx(1 / 9)


@given(some_videos, st.randoms(use_true_random=False))
def test_law_neither_order_nor_names_change_a_digit(videos, shuffler):
    values, names = flat(videos)
    places = list(range(len(values)))
    shuffler.shuffle(places)
    here = bootstrap_mean(values, names)
    there = bootstrap_mean(values[places], [f"other {names[place]}" for place in places])
    assert (there.low, there.high) == pytest.approx((here.low, here.high), rel=1e-9)


@given(some_videos)
def test_law_the_interval_has_a_width_and_contains_the_mean(videos):
    estimate = bootstrap_mean(*flat(videos))
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.high > estimate.low
    assert estimate.standard_error == clustered_standard_error(*flat(videos))


@given(some_videos, st.integers(2, 3))
def test_law_asking_everything_again_changes_nothing(videos, times):
    once, again = bootstrap_mean(*flat(videos)), bootstrap_mean(*flat([one * times for one in videos]))
    assert (again.low, again.high) == pytest.approx((once.low, once.high))


def test_with_many_videos_it_is_the_interval_by_formula():
    rng = np.random.default_rng(0)
    videos = [rng.binomial(1, chance, 6).astype(float).tolist() for chance in rng.beta(2, 2, 800)]
    drawn, formula = bootstrap_mean(*flat(videos)), mean_estimate(*flat(videos))
    assert (drawn.low, drawn.high) == pytest.approx((formula.low, formula.high), abs=0.002)


def test_videos_that_do_not_differ_have_no_bootstrap():
    share = t_quantile(9) ** 2 / (10 + t_quantile(9) ** 2)
    same = bootstrap_mean(np.zeros(30), [str(place % 10) for place in range(30)], lowest=-1.0)
    assert (same.value, same.low, same.high) == (0, pytest.approx(-share), pytest.approx(share))
    assert bootstrap_interval(np.array([[1.0, 2.0], [3.0, 6.0]]), mean) is None
    # One video in sixty differs: a third of the resamples miss it.
    one = bootstrap_mean(np.array([1.0] + [0.0] * 59), [str(place) for place in range(60)], lowest=-1.0)
    assert one.low < 0 < one.value < one.high < 0.1


def test_one_video_has_no_interval():
    assert bootstrap_interval(np.array([[1.0, 2.0]]), mean) is None
    one = bootstrap_mean(np.array([1.0, 0.0]), ["a", "a"])
    assert (one.value, one.low, one.high, one.standard_error) == (0.5, None, None, None)
    assert bootstrap_mean(np.array([]), []).value is None


def test_a_statistic_that_is_often_undefined_has_no_interval():
    sums = np.array([[1.0, 1.0], [1.0, -1.0], [2.0, 1.0]])
    assert bootstrap_interval(sums, lambda totals: np.where(totals[:, 1] > 0, mean(totals), np.nan)) is None


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: bootstrap_interval(np.ones((2, 2)), mean, resamples=0), "0 resamples"),
        (lambda: bootstrap_mean(np.array([2.0]), ["a"]), "score is 2"),
        (lambda: bootstrap_mean(np.array([np.nan]), ["a"]), "score is nan"),
        (lambda: bootstrap_mean(np.array([1.0]), []), "1 .* 0 "),
    ],
)
def test_bad_input_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()

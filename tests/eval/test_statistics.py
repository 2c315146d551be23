from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import statsmodels.api as statsmodels
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from eval.metrics import Score
from eval.statistics import (
    QuestionScore,
    clustered_standard_error,
    mean_estimate,
    mean_score,
    paired_difference,
    t_quantile,
)


def run(*videos):
    """A run from the scores of each video; None stands for a question without a score."""
    return [
        QuestionScore(
            question_id=f"{video}_{number}",
            video=f"v{video}",
            score=Score(value=None, reason="lost") if value is None else Score(value=value),
        )
        for video, values in enumerate(videos)
        for number, value in enumerate(values)
    ]


def interval(estimate):
    return estimate.low, estimate.high


def flat(videos):
    values = np.array([value for values in videos for value in values], dtype=float)
    return values, [f"v{video}" for video, values in enumerate(videos) for _ in values]


bits = st.sampled_from([0.0, 1.0])
some_videos = st.lists(st.lists(bits, min_size=1, max_size=5), min_size=2, max_size=8)
paired_videos = st.lists(st.lists(st.tuples(bits, bits), min_size=1, max_size=5), min_size=2, max_size=8)


@pytest.mark.parametrize(("degrees", "quantile"), [(1, 12.7062), (10, 2.2281), (200_001, 1.95997)])
def test_quantiles_are_those_of_printed_tables(degrees, quantile):
    assert t_quantile(degrees) == pytest.approx(quantile, abs=5e-5)


def test_a_mean_worked_by_hand():
    # Videos (1, 1), (1, 0) and (0, 0, 1): m = 4/7. Sums of residuals: 6/7, -1/7, -5/7; their squares sum to 62/49.
    # SE^2 = 3/2 * 62/49 / 49.
    videos = ([1, 1], [1, 0], [0, 0, 1])
    error = math.sqrt(1.5 * 62 / 49 / 49)
    assert clustered_standard_error(*flat(videos)) == pytest.approx(error)
    estimate = mean_score(run(*videos))
    assert estimate.standard_error == pytest.approx(error)
    assert estimate.value == pytest.approx(4 / 7)
    assert (estimate.num_questions, estimate.num_clusters, estimate.num_unscored) == (7, 3, 0)
    # Wilson's bounds are where the distance to the mean is t standard errors of their own.
    effective = 7 / 6 * (4 / 7 * 3 / 7) / error**2
    for bound in interval(estimate):
        assert abs(bound - 4 / 7) == pytest.approx(4.302653 * math.sqrt(bound * (1 - bound) / effective), rel=1e-5)


def test_a_difference_worked_by_hand():
    # Differences (1, 0), (0), (-1, 1, 1): m = 1/3. Sums of residuals: 1/3, -1/3, 0. SE^2 = 3/2 * 2/9 / 36.
    ours, theirs = run([1, 1], [0], [0, 1, 1]), run([0, 1], [0], [1, 0, 0])
    estimate = paired_difference(ours, theirs)
    reach = 4.302653 * math.sqrt(1.5 * 2 / 9 / 36)
    assert estimate.value == pytest.approx(1 / 3)
    assert interval(estimate) == pytest.approx((1 / 3 - reach, 1 / 3 + reach), rel=1e-6)
    assert (estimate.num_questions, estimate.num_clusters) == (6, 3)


@given(some_videos, st.randoms(use_true_random=False))
def test_law_the_order_of_questions_changes_nothing(videos, shuffler):
    rows = run(*videos)
    mixed = rows.copy()
    shuffler.shuffle(mixed)
    here, there = mean_score(rows), mean_score(mixed)
    assert there.value == pytest.approx(here.value)
    assert interval(there) == pytest.approx(interval(here))
    other = run(*[[1 - value for value in values] for values in videos])
    assert interval(paired_difference(mixed, other)) == pytest.approx(interval(paired_difference(rows, other)))


@given(some_videos)
def test_oracle_the_standard_error_is_that_of_statsmodels(videos):
    # Its small-sample factor is G / (G - 1) * (n - 1) / (n - k), which for the mean, k = 1, is ours.
    values, names = flat(videos)
    groups = np.unique(names, return_inverse=True)[1]
    fitted = statsmodels.OLS(values, np.ones_like(values)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    assert clustered_standard_error(values, names) == pytest.approx(fitted.bse[0], abs=1e-9)


@given(st.lists(bits, min_size=2, max_size=40))
def test_oracle_with_a_video_a_question_the_interval_is_nearly_that_of_statsmodels(values):
    # Theirs takes the normal quantile, ours t's; with as many degrees as here, the scores scale by it.
    estimate = mean_score(run(*[[value] for value in values]))
    if 0 < sum(values) < len(values):
        tail = 2 * scipy.stats.norm.sf(t_quantile(len(values) - 1))
        theirs = proportion_confint(sum(values), len(values), alpha=tail, method="wilson")
        assert interval(estimate) == pytest.approx(theirs)


def test_bare_scores_give_the_same_mean():
    videos = [[1, 0], [1], [0, 0, 1]]
    values, names = flat(videos)
    assert mean_estimate(values, names) == mean_score(run(*videos))
    assert mean_estimate(values, [("a", name) for name in names], num_unscored=3).num_unscored == 3


def test_one_long_name_costs_no_more_than_its_length():
    # An array of text would hold room for the longest in every place.
    values = np.tile([0.0, 1.0], 20_000)
    names = [str(place) for place in range(39_999)]
    assert clustered_standard_error(values, [*names, "x" * 1_000_000]) > 0


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_law_videos_of_one_question_give_the_textbooks_standard_error(values):
    error = clustered_standard_error(*flat([[value] for value in values]))
    assert error == pytest.approx(np.std(values, ddof=1) / math.sqrt(len(values)), abs=1e-11)


def test_videos_of_one_question_give_wilsons_own_interval():
    # 7 of 10, as every textbook has it, with t in place of z.
    t, n, share = t_quantile(9), 10, 0.7
    estimate = mean_score(run(*[[1]] * 7, *[[0]] * 3))
    centre = (share + t * t / (2 * n)) / (1 + t * t / n)
    half = t / (1 + t * t / n) * math.sqrt(share * (1 - share) / n + t * t / (4 * n * n))
    assert interval(estimate) == pytest.approx((centre - half, centre + half))


@given(some_videos, st.integers(2, 4))
def test_law_asking_everything_again_does_not_narrow_the_interval(videos, times):
    once, again = mean_score(run(*videos)), mean_score(run(*[values * times for values in videos]))
    assert again.value == pytest.approx(once.value)
    assert again.low <= once.low + 1e-9
    assert again.high >= once.high - 1e-9


@given(paired_videos, st.integers(2, 4))
def test_law_nor_does_it_narrow_that_of_a_difference(videos, times):
    def sides(repeats):
        pairs = [values * repeats for values in videos]
        return [run(*[[pair[side] for pair in values] for values in pairs]) for side in (0, 1)]

    once, again = paired_difference(*sides(1)), paired_difference(*sides(times))
    assert interval(again) == pytest.approx(interval(once))


@given(some_videos)
def test_law_the_interval_has_a_width_and_contains_the_mean(videos):
    estimate = mean_score(run(*videos))
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.high - estimate.low > 0


@given(some_videos)
def test_law_wrong_and_right_are_mirror_images(videos):
    right = mean_score(run(*videos))
    wrong = mean_score(run(*[[1 - value for value in values] for values in videos]))
    assert interval(wrong) == pytest.approx((1 - right.high, 1 - right.low))


@given(some_videos)
def test_law_the_range_is_only_a_scale(videos):
    plain = mean_score(run(*videos))
    scaled = mean_score(run(*[[5 * value - 1 for value in values] for values in videos]), lowest=-1, highest=4)
    assert interval(scaled) == pytest.approx((5 * plain.low - 1, 5 * plain.high - 1), abs=1e-9)


@given(paired_videos)
def test_law_a_difference_changes_its_sign_with_its_sides(videos):
    ours, theirs = (run(*[[pair[side] for pair in values] for values in videos]) for side in (0, 1))
    forth, back = paired_difference(ours, theirs), paired_difference(theirs, ours)
    assert forth.value == pytest.approx(-back.value)
    assert interval(forth) == pytest.approx((-back.high, -back.low))
    assert forth.value == pytest.approx(mean_score(ours).value - mean_score(theirs).value)


def test_all_right_is_not_certain():
    # Ten videos, whatever they ask: Wilson's for 10 of 10.
    squared = t_quantile(9) ** 2
    for per_video in (1, 7):
        estimate = mean_score(run(*[[1] * per_video] * 10))
        assert interval(estimate) == (pytest.approx(10 / (10 + squared)), 1.0)
        assert interval(mean_score(run(*[[0] * per_video] * 10)))[1] == pytest.approx(squared / (10 + squared))


def test_videos_that_do_not_differ_are_not_certain_either():
    estimate = mean_score(run(*[[0, 1]] * 10))
    share = t_quantile(9) ** 2 / (10 + t_quantile(9) ** 2)
    assert interval(estimate) == pytest.approx((0.5 - share / 2, 0.5 + share / 2))
    same = paired_difference(run(*[[0, 1]] * 10), run(*[[0, 1]] * 10))
    assert same.value == 0
    assert interval(same) == pytest.approx((-share, share))
    better = paired_difference(run(*[[1, 1]] * 10), run(*[[0, 0]] * 10))
    assert interval(better) == pytest.approx((1 - 2 * share, 1.0))


def test_rounding_errors_are_no_spread():
    # 0.1 three times does not sum to exactly three times its mean.
    assert clustered_standard_error(*flat([[0.1] * 3, [0.1] * 4, [0.1] * 3])) == 0


def test_one_video_has_no_interval_and_no_question_no_value():
    one = mean_score(run([1, 0, 1, 1]))
    assert one.value == 0.75
    assert interval(one) == (None, None)
    none = mean_score([])
    assert (none.value, *interval(none), none.num_questions, none.num_clusters) == (None, None, None, 0, 0)
    assert interval(paired_difference(run([1, 0]), run([0, 0]))) == (None, None)
    assert paired_difference([], []).value is None


def test_questions_without_a_score_are_neither_right_nor_wrong():
    estimate = mean_score(run([1, None], [0], [None]))
    assert (estimate.value, estimate.num_questions, estimate.num_clusters, estimate.num_unscored) == (0.5, 2, 2, 2)
    both = paired_difference(run([1, None], [1], [0]), run([0, 1], [None], [0]))
    assert (both.value, both.num_questions, both.num_clusters, both.num_unscored) == (0.5, 2, 2, 2)


@pytest.mark.parametrize("share", [0.5, 0.85, 0.97])
@pytest.mark.parametrize("likeness", [0.05, 0.4])
def test_intervals_have_their_nominal_coverage(share, likeness):
    # Videos have their own difficulty (a beta distribution) and between 1 and 7 questions.
    rng = np.random.default_rng(0)
    a, b = share * (1 - likeness) / likeness, (1 - share) * (1 - likeness) / likeness
    covered, rounds = 0, 300
    for _ in range(rounds):
        sizes = rng.integers(1, 8, size=120)
        videos = [rng.binomial(1, chance, size) for chance, size in zip(rng.beta(a, b, 120), sizes, strict=True)]
        estimate = mean_score(run(*[map(float, values) for values in videos]))
        covered += estimate.low <= share <= estimate.high
    assert 0.92 <= covered / rounds <= 0.98


def test_intervals_of_differences_have_their_nominal_coverage():
    rng = np.random.default_rng(1)
    covered, rounds = 0, 400
    for _ in range(rounds):
        hard = rng.beta(2, 2, 60)
        draws = [(rng.binomial(1, (1 + p) / 2, 7), rng.binomial(1, p, 7)) for p in hard]
        estimate = paired_difference(*(run(*[map(float, pair[side]) for pair in draws]) for side in (0, 1)))
        covered += estimate.low <= 0.25 <= estimate.high
    assert 0.92 <= covered / rounds <= 0.98


def test_ignoring_the_clusters_would_give_too_narrow_an_interval():
    videos = [[float(video % 2)] * 7 for video in range(40)]  # a video's questions have the same score
    apart = run(*[[value] for values in videos for value in values])
    clustered, naive = mean_score(run(*videos)), mean_score(apart)
    assert clustered.high - clustered.low > 2 * (naive.high - naive.low)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: mean_score(run([1]) * 2), "'0_0'"),
        (lambda: mean_score(run([2])), "score is 2"),
        (lambda: mean_score(run([1]), lowest=1), "1 to 1.0"),
        (lambda: paired_difference(run([1, 0]), run([1])), "1 .*'0_1'"),
        (lambda: paired_difference(run([1]), [QuestionScore(question_id="0_0", video="x", score=Score(value=1))]), "'0_0'"),
        (lambda: clustered_standard_error(np.ones(3), ["a"]), "3 .* 1 "),
        (lambda: t_quantile(0), "0 degrees"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()

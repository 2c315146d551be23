from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.judging import Judgement
from eval.metrics import Score
from eval.results import QuestionResult, Run
from eval.scoring import ALL, MAX_QUOTED, RANGES, Judgements, ScoringError, retention, score_questions, summarise
from eval.statistics import QuestionScore, bootstrap_mean, mean_score

JUDGE = {"model": "m", "fingerprint": "f"}


def asked(key, prediction, *, answer="red", video=None, kind="what", failure="Crashed: the decoder ended"):
    return QuestionResult(
        question_id=key,
        video=video or f"v{key}",
        kind=kind,
        question="which colour?",
        answer=answer,
        prediction=prediction,
        failure="" if prediction is not None else failure,
        trace={},
    )


def run(*results, num_questions=None, name="run"):
    return Run(name=name, settings={"set": "s"}, results=results, num_questions=num_questions or len(results))


def judgement(key, verdict, rating, reason=""):
    return Judgement(question_id=key, verdict=verdict, rating=rating, reason=reason)


def judged(judgements):
    return Judgements(judge=JUDGE, by_id=judgements)


def score_of(summary, metric, group=ALL):
    return next(one for one in summary.scores if (one.metric, one.group) == (metric, group))


def test_both_denominators_and_the_bounds_worked_by_hand():
    # Of six: right, right, wrong, wrong, unjudged, failed.
    questions = [*(asked(str(place), "red") for place in range(5)), asked("5", None)]
    judgements = {
        "0": judgement("0", True, 5),
        "1": judgement("1", True, 0),
        "2": judgement("2", False, 2),
        "3": judgement("3", False, 0),
        "4": judgement("4", None, None, "no reply after 8 tries: HTTP 429, slow down"),
    }
    summary = summarise(run(*questions), judged(judgements))
    one = score_of(summary, "judge accuracy")
    assert (one.num_asked, one.num_scored, one.num_failed, one.num_unjudged) == (6, 4, 1, 1)
    assert (one.published.value, one.published.num_questions, one.published.num_unscored) == (2 / 4, 4, 2)
    assert (one.strict.value, one.strict.num_questions, one.strict.num_unscored) == (2 / 6, 6, 0)
    assert (one.bound_low, one.bound_high) == pytest.approx((2 / 6, 3 / 6))
    score = score_of(summary, "judge score")
    assert (score.published.value, score.strict.value) == pytest.approx((7 / 4, 7 / 6))
    assert (score.bound_low, score.bound_high) == pytest.approx((7 / 6, 12 / 6))
    assert (summary.failures, summary.unjudged) == ({"Crashed": 1}, {"no reply after 8 tries": 1})
    assert summary.contradictions == 1
    assert (summary.name, summary.settings, summary.judge, summary.warnings) == ("run", {"set": "s"}, JUDGE, ())


def test_without_a_judge_there_are_the_metrics_that_need_none():
    summary = summarise(run(asked("a", "red"), asked("b", "the red one"), asked("c", "blue", kind="who")))
    assert [(one.metric, one.group, one.published.value) for one in summary.scores] == [
        ("exact match", "all", pytest.approx(1 / 3)),
        ("exact match", "what", 0.5),
        ("exact match", "who", 0.0),
        ("answer contained", "all", pytest.approx(2 / 3)),
        ("answer contained", "what", 1.0),
        ("answer contained", "who", 0.0),
    ]
    assert (summary.judge, summary.unjudged) == (None, {})


def test_questions_without_a_kind_are_a_group_only_next_to_kinds():
    assert {one.group for one in summarise(run(asked("a", "red", kind=""))).scores} == {"all"}
    both = summarise(run(asked("a", "red", kind=""), asked("b", "red")))
    assert {one.group for one in both.scores} == {"all", "", "what"}


def test_an_answer_that_the_judge_has_not_seen_is_unjudged():
    summary = summarise(run(asked("a", "red"), asked("b", "red")), judged({"a": judgement("a", True, 5)}))
    one = score_of(summary, "judge accuracy")
    assert (one.published.value, one.strict.value, one.bound_high) == (1.0, 0.5, 1.0)
    assert summary.unjudged == {"not judged yet": 1}


def test_an_answer_without_a_word_has_no_score():
    summary = summarise(run(asked("a", "red", answer="?!"), asked("b", "red")))
    one = score_of(summary, "exact match")
    assert (one.num_scored, one.num_failed, one.num_unjudged) == (1, 0, 1)
    assert (one.bound_low, one.bound_high) == (0.5, 1.0)
    (warning,) = summary.warnings
    assert "'a'" in warning


def test_an_unfinished_run_is_refused_unless_allowed():
    part = run(asked("a", "red"), asked("b", "red"), asked("c", "blue"), num_questions=5)
    with pytest.raises(ScoringError, match=r"'run'.*2 of 5"):
        summarise(part)
    summary = summarise(part, allow_unfinished=True)
    one = score_of(summary, "exact match")
    assert (one.published.value, one.strict.value) == pytest.approx((2 / 3, 2 / 5))
    assert (one.strict.low, one.strict.high, one.strict.standard_error) == (None, None, None)
    assert (one.num_asked, one.num_scored, one.num_failed, one.num_unjudged) == (5, 3, 2, 0)
    assert (one.bound_low, one.bound_high) == pytest.approx((2 / 5, 2 / 5))
    assert score_of(summary, "exact match", "what").num_asked == 3
    assert summary.failures == {"not asked yet": 2}
    assert len(summary.warnings) == 1


def test_a_run_without_questions_has_no_scores():
    one = score_of(summarise(run()), "exact match")
    assert (one.published.value, one.strict.value, one.bound_low, one.bound_high) == (None, None, None, None)


def test_reasons_are_counted_by_the_part_before_the_colon():
    failures = ["Crashed: a", "Crashed: b", "x" * 1_000_000, "TimedOut"]
    summary = summarise(run(*(asked(str(place), None, failure=one) for place, one in enumerate(failures))))
    assert list(summary.failures.items()) == [("Crashed", 2), ("x" * 200, 1), ("TimedOut", 1)]


outcomes = st.lists(
    st.tuples(st.sampled_from(["red", "a red one", "blue", "", None]), st.sampled_from("xyz"), st.sampled_from("ab")),
    min_size=1,
    max_size=12,
)


@given(outcomes, st.sampled_from(["wilson", "bootstrap"]))
def test_laws_of_counts_and_bounds(rows, intervals):
    questions = [asked(str(place), text, video=video, kind=kind) for place, (text, video, kind) in enumerate(rows)]
    judgements = {
        one.question_id: judgement(one.question_id, None, None, "?")
        if one.prediction == ""
        else judgement(one.question_id, "red" in one.prediction, len(one.prediction) % 6)
        for one in questions
        if one.prediction is not None
    }
    summary = summarise(run(*questions), judged(judgements), intervals=intervals)
    for one in summary.scores:
        lowest, highest = RANGES[one.metric]
        assert one.num_scored + one.num_failed + one.num_unjudged == one.num_asked
        assert one.published.num_questions == one.num_scored
        assert lowest <= one.bound_low <= one.bound_high <= highest
        assert one.strict.value == pytest.approx(one.bound_low)
        if one.published.value is not None:
            assert one.published.value >= one.strict.value - 1e-9
    for metric in RANGES:
        whole = score_of(summary, metric)
        kinds = [one for one in summary.scores if one.metric == metric and one.group != ALL]
        assert sum(one.num_asked for one in kinds) == whole.num_asked
        total = sum(one.strict.value * one.num_asked for one in kinds)
        assert total == pytest.approx(whole.strict.value * whole.num_asked)
    assert json.loads(json.dumps(summary.to_json()))["scores"][0]["metric"] == "exact match"


def test_oracle_the_means_are_those_of_statistics():
    rng = np.random.default_rng(0)
    questions = [
        asked(str(place), ["red", "blue", None][rng.integers(3)], video=f"v{place % 20}") for place in range(200)
    ]
    whole = run(*questions)
    graded = score_questions(whole)["exact match"]
    assert score_of(summarise(whole), "exact match").published == mean_score(graded)
    drawn = score_of(summarise(whole, intervals="bootstrap"), "exact match").published
    scored = [row for row in graded if row.score.value is not None]
    wanted = bootstrap_mean(np.array([row.score.value for row in scored]), [row.video for row in scored])
    assert (drawn.low, drawn.high) == (wanted.low, wanted.high)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (run(asked("a", "red"), asked("a", "red")), "'a'"),
        (run(asked("a" * 500, "red"), asked("a" * 500, "red")), "a" * (MAX_QUOTED - 1) + "…"),
        (run(asked("a", "red"), asked("b", "red"), num_questions=1), "2 .* 1 "),
    ],
)
def test_inconsistent_runs_are_refused(broken, message):
    with pytest.raises(ScoringError, match=message) as caught:
        summarise(broken)
    assert len(str(caught.value)) < 300


def test_unknown_intervals_are_refused():
    with pytest.raises(ScoringError, match="'wald'"):
        summarise(run(asked("a", "red")), intervals="wald")


def scores(*videos):
    return [
        QuestionScore(
            question_id=f"{video}_{place}",
            video=f"v{video}",
            score=Score(value=None, reason="lost") if value is None else Score(value=value),
        )
        for video, values in enumerate(videos)
        for place, value in enumerate(values)
    ]


def test_retention_worked_by_hand():
    # Over the four questions with all three scores: run 2/4, uncompressed 3/4, no video 1/4.
    kept = retention(scores([1, 0, None], [1, 0]), scores([1, 1, 1], [1, 0]), scores([0, 0, 1], [1, 0]))
    assert kept.value == pytest.approx(0.5)
    assert (kept.num_questions, kept.num_clusters, kept.reason) == (4, 2, "")


def test_retention_has_an_interval_if_uncompressed_is_far_above_no_video():
    rng = np.random.default_rng(0)
    videos = [rng.random((3, 4)) for _ in range(100)]
    runs = [
        scores(*((chance[row] < share).astype(float) for chance in videos)) for row, share in enumerate((0.5, 0.7, 0.2))
    ]
    kept = retention(*runs)
    assert 0 < kept.low < kept.value < kept.high < 1
    assert 0 < kept.standard_error < kept.high - kept.low
    same = retention(runs[1], runs[1], runs[2])
    assert (same.value, same.low, same.high) == (1, None, None)  # no resample differs
    assert retention(runs[2], runs[1], runs[2]).value == 0


@pytest.mark.parametrize(
    ("uncompressed", "no_video"),
    [([[1], [0]], [[1], [0]]), ([[0], [0]], [[1], [0]]), ([[None], [1]], [[0], [None]])],
)
def test_retention_is_undefined_without_a_gain_or_a_common_question(uncompressed, no_video):
    kept = retention(scores([1], [1]), scores(*uncompressed), scores(*no_video))
    assert (kept.value, kept.low, kept.high) == (None, None, None)
    assert kept.reason


def test_retention_is_refused_across_sets():
    with pytest.raises(ScoringError, match="'1_0'"):
        retention(scores([1], [0]), scores([1]), scores([1], [0]))
    moved = [QuestionScore(question_id="0_0", video="other", score=Score(value=1))]
    with pytest.raises(ScoringError, match="'0_0'"):
        retention(scores([1]), moved, scores([0]))

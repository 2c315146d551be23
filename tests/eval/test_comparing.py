from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.comparing import compare
from eval.judging import Judgement
from eval.results import QuestionResult, Run
from eval.scoring import Judgements, ScoringError, score_questions
from eval.statistics import TwoByTwo, bootstrap_mean, exact_mcnemar, paired_difference

RIGHT, WRONG = "red", "blue"


def make(predictions, name="run", num_questions=None):
    """A run from predictions by question id; the id's first letter is the kind, its last the video."""
    results = tuple(
        QuestionResult(
            question_id=key,
            video=f"v{key[-1]}",
            kind=key[0],
            question=f"which is {key}?",
            answer="red",
            prediction=prediction,
            failure="" if prediction is not None else "Crashed: it ended",
            trace={},
        )
        for key, prediction in predictions.items()
    )
    return Run(name=name, settings={}, results=results, num_questions=num_questions or len(results))


def judged(run, fingerprint="f", **ratings):
    verdicts = {key: Judgement(question_id=key, verdict=rating > 2, rating=rating) for key, rating in ratings.items()}
    return Judgements(judge={"model": "m", "fingerprint": fingerprint}, by_id=verdicts)


def test_two_runs_worked_by_hand():
    first = make({"a1": RIGHT, "a2": RIGHT, "a3": RIGHT, "b1": WRONG, "b2": WRONG, "b3": None}, "A")
    second = make({"b3": RIGHT, "b2": WRONG, "b1": RIGHT, "a3": WRONG, "a2": WRONG, "a1": RIGHT}, "B")
    comparison = compare(first, second, "exact match")
    whole, of_a, of_b = comparison.groups
    assert (whole.group, of_a.group, of_b.group) == ("all", "a", "b")
    assert whole.counts == TwoByTwo(both=1, only_first=2, only_second=1, neither=1)
    assert whole.p_value == exact_mcnemar(2, 1) == 1.0
    assert whole.difference.value == pytest.approx((3 - 2) / 5)
    assert (whole.difference.num_questions, whole.difference.num_clusters, whole.difference.num_unscored) == (5, 3, 1)
    assert of_a.counts == TwoByTwo(both=1, only_first=2, only_second=0, neither=0)
    assert of_b.counts == TwoByTwo(both=0, only_first=0, only_second=1, neither=1)
    assert [(flip.question_id, flip.scores, flip.predictions) for flip in comparison.flips] == [
        ("a2", (1, 0), (RIGHT, WRONG)),
        ("a3", (1, 0), (RIGHT, WRONG)),
        ("b1", (0, 1), (WRONG, RIGHT)),
    ]
    assert len(comparison.warnings) == 1
    assert (comparison.names, comparison.judge, comparison.only_in) == (("A", "B"), None, ((), ()))
    strict = compare(first, second, "exact match", is_strict=True)
    assert strict.groups[0].counts == TwoByTwo(both=1, only_first=2, only_second=2, neither=1)
    assert strict.groups[0].difference.value == 0
    assert [flip.question_id for flip in strict.flips] == ["a2", "a3", "b1", "b3"]
    assert strict.warnings == ()
    assert json.loads(json.dumps(comparison.to_json()))["groups"][0]["counts"]["only_first"] == 2


def test_the_interval_is_a_bootstrap_over_videos_and_near_the_formulas():
    rng = np.random.default_rng(0)
    keys = [f"a{place}" for place in range(900)]  # the last digit is the video: ten of them
    first, second = (
        make(dict(zip(keys, np.where(rng.random(900) < share, RIGHT, WRONG).tolist(), strict=True)))
        for share in (0.6, 0.5)
    )
    found = compare(first, second, "exact match").groups[0].difference
    formula = paired_difference(score_questions(first)["exact match"], score_questions(second)["exact match"])
    assert (found.value, found.standard_error) == pytest.approx((formula.value, formula.standard_error))
    assert (found.low, found.high) == pytest.approx((formula.low, formula.high), abs=0.03)
    differences = [
        float(one.prediction == RIGHT) - float(other.prediction == RIGHT)
        for one, other in zip(first.results, second.results, strict=True)
    ]
    wanted = bootstrap_mean(np.array(differences), [one.video for one in first.results], lowest=-1)
    assert (found.low, found.high) == (wanted.low, wanted.high)


outcomes = st.dictionaries(
    st.sampled_from([f"{kind}{number}{video}" for kind in "ab" for number in "12" for video in "1234"]),
    st.tuples(*[st.sampled_from([RIGHT, WRONG, None])] * 2),
    min_size=1,
)


@given(outcomes, st.booleans())
def test_law_the_sides_mirror_each_other(rows, is_strict):
    ours, theirs = (make({key: pair[side] for key, pair in rows.items()}) for side in (0, 1))
    forth = compare(ours, theirs, "exact match", is_strict=is_strict)
    back = compare(theirs, ours, "exact match", is_strict=is_strict)
    for one, other in zip(forth.groups, back.groups, strict=True):
        assert one.p_value == other.p_value
        assert one.counts.only_first == other.counts.only_second
        if one.difference.value is not None:
            assert one.difference.value == pytest.approx(-other.difference.value)
            flips = one.counts.only_first - one.counts.only_second
            assert one.difference.value == pytest.approx(flips / one.difference.num_questions)
    assert [flip.question_id for flip in forth.flips] == [flip.question_id for flip in back.flips]
    assert len(forth.flips) == forth.groups[0].counts.only_first + forth.groups[0].counts.only_second


@given(outcomes)
def test_law_a_run_does_not_differ_from_itself(rows):
    run = make({key: pair[0] for key, pair in rows.items()})
    comparison = compare(run, run, "exact match")
    assert comparison.flips == ()
    assert all(one.p_value == 1 and one.difference.value in {0, None} for one in comparison.groups)


def test_judges_are_compared_too():
    first, second = make({"a1": "x", "a2": "x", "a3": None}), make({"a1": "y", "a2": "y", "a3": "y"})
    both = judged(first, a1=5, a2=1), judged(second, a1=1, a2=1, a3=4)
    accuracy = compare(first, second, "judge accuracy", judgements=both)
    assert accuracy.judge == {"model": "m", "fingerprint": "f"}
    assert accuracy.groups[0].counts == TwoByTwo(both=0, only_first=1, only_second=0, neither=1)
    score = compare(first, second, "judge score", judgements=both)
    assert (score.groups[0].counts, score.groups[0].p_value) == (None, None)
    assert score.groups[0].difference.value == 2
    assert [flip.scores for flip in score.flips] == [(5, 1)]


def test_runs_of_different_questions_are_refused_unless_allowed():
    first, second = make({"a1": RIGHT, "a2": RIGHT}, "A"), make({"a2": WRONG, "a3": WRONG, "a4": WRONG}, "B")
    with pytest.raises(ScoringError, match=r"1 .*'A'.*2 .*'B'.*'a1'"):
        compare(first, second, "exact match")
    comparison = compare(first, second, "exact match", allow_different_questions=True)
    assert comparison.groups[0].difference.num_questions == 1
    assert comparison.only_in == (("a1",), ("a3", "a4"))
    with pytest.raises(ScoringError, match="common"):
        compare(first, make({"b1": RIGHT}), "exact match", allow_different_questions=True)


def test_an_unfinished_run_gets_a_warning():
    part = make({"a1": RIGHT}, "A", num_questions=4)
    (warning,) = compare(part, make({"a1": RIGHT}), "exact match").warnings
    assert "'A'" in warning
    assert "3" in warning


@pytest.mark.parametrize("field", ["question", "answer", "video", "kind"])
def test_one_id_for_two_questions_is_refused(field):
    run = make({"a1": RIGHT})
    other = replace(run, results=(replace(run.results[0], **{field: "\x1b[31m" + "y" * 1_000_000}),))
    with pytest.raises(ScoringError, match=f"{field} of 'a1'") as caught:
        compare(run, other, "exact match", allow_different_questions=True)
    assert len(str(caught.value)) < 400
    assert "\x1b" not in str(caught.value)


def test_different_judges_and_no_judge_are_refused():
    run = make({"a1": RIGHT})
    with pytest.raises(ScoringError, match="'f' and 'g'"):
        compare(run, run, "judge accuracy", judgements=(judged(run, a1=1), judged(run, "g", a1=1)))
    with pytest.raises(ScoringError, match="judge accuracy"):
        compare(run, run, "judge accuracy")
    with pytest.raises(ScoringError, match="'bleu'"):
        compare(run, run, "bleu")

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.comparing import compare
from eval.judging import Judgement
from eval.results import Answered, Run
from eval.scoring import ScoringError, grade
from eval.statistics import TwoByTwo, bootstrap_mean, exact_mcnemar, paired_difference

RIGHT, WRONG = "red", "blue"


def make(predictions, name="run", num_asked=None):
    """A run from predictions by question id; the id's first letter is the kind, its last the video."""
    questions = tuple(
        Answered(
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
    return Run(name=name, described={}, questions=questions, num_asked=num_asked or len(questions))


def judged(run, fingerprint="f", **ratings):
    verdicts = {key: Judgement(question_id=key, verdict=rating > 2, rating=rating) for key, rating in ratings.items()}
    return {"model": "m", "fingerprint": fingerprint}, verdicts


def test_two_runs_worked_by_hand():
    first = make({"a1": RIGHT, "a2": RIGHT, "a3": RIGHT, "b1": WRONG, "b2": WRONG, "b3": None}, "A")
    second = make({"b3": RIGHT, "b2": WRONG, "b1": RIGHT, "a3": WRONG, "a2": WRONG, "a1": RIGHT}, "B")
    comparison = compare(first, second, "exact match")
    whole, of_a, of_b = comparison.compared
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
    assert comparison.warnings == (
        "1 questions without a score in both runs were left out; strictly, they count as the lowest",
    )
    assert (comparison.names, comparison.judge, comparison.only_in) == (("A", "B"), None, ((), ()))
    strict = compare(first, second, "exact match", is_strict=True)
    assert strict.compared[0].counts == TwoByTwo(both=1, only_first=2, only_second=2, neither=1)
    assert strict.compared[0].difference.value == 0
    assert [flip.question_id for flip in strict.flips] == ["a2", "a3", "b1", "b3"]
    assert strict.warnings == ()
    assert json.loads(json.dumps(comparison.to_json()))["compared"][0]["counts"]["only_first"] == 2


def test_the_interval_is_a_bootstrap_over_videos_and_near_the_formulas():
    rng = np.random.default_rng(0)
    keys = [f"a{place}" for place in range(900)]  # the last digit is the video: ten of them
    first, second = (
        make(dict(zip(keys, np.where(rng.random(900) < share, RIGHT, WRONG).tolist(), strict=True)))
        for share in (0.6, 0.5)
    )
    found = compare(first, second, "exact match").compared[0].difference
    formula = paired_difference(grade(first)["exact match"], grade(second)["exact match"])
    assert (found.value, found.standard_error) == pytest.approx((formula.value, formula.standard_error))
    assert (found.low, found.high) == pytest.approx((formula.low, formula.high), abs=0.03)
    differences = [
        float(one.prediction == RIGHT) - float(other.prediction == RIGHT)
        for one, other in zip(first.questions, second.questions, strict=True)
    ]
    wanted = bootstrap_mean(np.array(differences), [one.video for one in first.questions], lowest=-1)
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
    for one, other in zip(forth.compared, back.compared, strict=True):
        assert one.p_value == other.p_value
        assert one.counts.only_first == other.counts.only_second
        if one.difference.value is not None:
            assert one.difference.value == pytest.approx(-other.difference.value)
            flips = one.counts.only_first - one.counts.only_second
            assert one.difference.value == pytest.approx(flips / one.difference.num_questions)
    assert [flip.question_id for flip in forth.flips] == [flip.question_id for flip in back.flips]
    assert len(forth.flips) == forth.compared[0].counts.only_first + forth.compared[0].counts.only_second


@given(outcomes)
def test_law_a_run_does_not_differ_from_itself(rows):
    run = make({key: pair[0] for key, pair in rows.items()})
    comparison = compare(run, run, "exact match")
    assert comparison.flips == ()
    assert all(one.p_value == 1 and one.difference.value in {0, None} for one in comparison.compared)


def test_judges_are_compared_too():
    first, second = make({"a1": "x", "a2": "x", "a3": None}), make({"a1": "y", "a2": "y", "a3": "y"})
    both = judged(first, a1=5, a2=1), judged(second, a1=1, a2=1, a3=4)
    accuracy = compare(first, second, "judge accuracy", judged=both)
    assert accuracy.judge == {"model": "m", "fingerprint": "f"}
    assert accuracy.compared[0].counts == TwoByTwo(both=0, only_first=1, only_second=0, neither=1)
    score = compare(first, second, "judge score", judged=both)
    assert (score.compared[0].counts, score.compared[0].p_value) == (None, None)
    assert score.compared[0].difference.value == 2
    assert [flip.scores for flip in score.flips] == [(5, 1)]


def test_runs_of_other_questions_are_refused_unless_asked_for():
    first, second = make({"a1": RIGHT, "a2": RIGHT}, "A"), make({"a2": WRONG, "a3": WRONG, "a4": WRONG}, "B")
    with pytest.raises(ScoringError, match="1 are in 'A' alone, 2 in 'B' alone, such as 'a1'"):
        compare(first, second, "exact match")
    comparison = compare(first, second, "exact match", is_intersection_allowed=True)
    assert comparison.compared[0].difference.num_questions == 1
    assert comparison.only_in == (("a1",), ("a3", "a4"))
    with pytest.raises(ScoringError, match="no question in common"):
        compare(first, make({"b1": RIGHT}), "exact match", is_intersection_allowed=True)


def test_an_unfinished_run_is_told():
    part = make({"a1": RIGHT}, "A", num_asked=4)
    assert compare(part, make({"a1": RIGHT}), "exact match").warnings == (
        "'A' is not finished: 3 of its questions are still to be asked",
    )


@pytest.mark.parametrize("what", ["question", "answer", "video", "kind"])
def test_one_id_for_two_questions_is_refused_always(what):
    run = make({"a1": RIGHT})
    other = replace(run, questions=(replace(run.questions[0], **{what: "\x1b[31m" + "y" * 1_000_000}),))
    with pytest.raises(ScoringError, match=f"the {what} of 'a1' is") as caught:
        compare(run, other, "exact match", is_intersection_allowed=True)
    assert len(str(caught.value)) < 400
    assert "\x1b" not in str(caught.value)


def test_other_judges_and_no_judge_are_refused():
    run = make({"a1": RIGHT})
    with pytest.raises(ScoringError, match="judged by different judges, 'f' and 'g'"):
        compare(run, run, "judge accuracy", judged=(judged(run, a1=1), judged(run, "g", a1=1)))
    with pytest.raises(ScoringError, match="judge accuracy needs a judge"):
        compare(run, run, "judge accuracy")
    with pytest.raises(ScoringError, match="unknown metric 'bleu'; use one of exact match"):
        compare(run, run, "bleu")

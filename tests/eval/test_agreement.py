from __future__ import annotations

import json

import pytest

from eval.agreement import measure_agreement
from eval.metrics import Score
from eval.results import QuestionResult, Run
from eval.scoring import ScoringError
from eval.statistics import QuestionScore, TwoByTwo

ROWS = {"q0": (1, 1), "q1": (1, 0), "q2": (0, 1), "q3": (0, 0), "q4": (1, 1), "q5": (None, 1), "q6": (1, None)}


def run():
    return Run(
        name="run",
        settings={},
        results=tuple(
            QuestionResult(
                question_id=key,
                video=f"v{place // 2}",
                kind="",
                question="?",
                answer="red",
                prediction=f"p{place}",
                failure="",
                trace={},
            )
            for place, key in enumerate(ROWS)
        ),
        num_questions=len(ROWS),
    )


def scores(side):
    return tuple(
        QuestionScore(
            question_id=key,
            video="v",
            score=Score(value=None, reason="lost") if pair[side] is None else Score(value=pair[side]),
        )
        for key, pair in ROWS.items()
    )


def test_two_judges_worked_by_hand():
    agreement = measure_agreement(run(), ("A", "B"), (scores(0), scores(1)))
    assert agreement.counts == TwoByTwo(both=2, only_first=1, only_second=1, neither=1)
    assert agreement.share.value == pytest.approx(3 / 5)
    # Each says yes to 3 of 5: pe = 9/25 + 4/25 = 13/25; (15 - 13) / (25 - 13).
    assert agreement.kappa.value == pytest.approx(2 / 12)
    assert (agreement.kappa.num_questions, agreement.kappa.num_clusters) == (5, 3)
    assert agreement.only_judged_by == (1, 1)
    assert [(one.question_id, one.verdicts, one.prediction) for one in agreement.disagreements] == [
        ("q1", (True, False), "p1"),
        ("q2", (False, True), "p2"),
    ]
    assert json.loads(json.dumps(agreement.to_json()))["names"] == ["A", "B"]


def test_nothing_in_common_is_refused():
    nothing = tuple(QuestionScore(question_id=key, video="v", score=Score(value=None, reason="lost")) for key in ROWS)
    with pytest.raises(ScoringError, match="'run'"):
        measure_agreement(run(), ("A", "B"), (scores(0), nothing))

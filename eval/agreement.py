"""Agreement between two judges, or a judge and exact match, on the same answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eval.results import AskedQuestion, Run
from eval.scoring import ScoringError
from eval.statistics import Estimate, QuestionScore, TwoByTwo, cohens_kappa, mean_estimate, two_by_two

SCHEMA = "vidzip/agreement/1"


@dataclass(frozen=True, kw_only=True)
class Disagreement(AskedQuestion):
    """An answer that one grader accepts and the other rejects."""

    prediction: str | None
    verdicts: tuple[bool, bool]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The agreement between two graders on the answers of a run.

    Attributes:
        run: the run's name in tables.
        names: the graders' names.
        counts: how many answers both, one or none accepts.
        share: proportion of answers on which they agree.
        kappa: agreement beyond chance, with a bootstrap interval over videos.
        only_judged_by: number of answers with a verdict of the first only, and of the second only; they are left out.
        disagreements: in the run's order.
    """

    run: str
    names: tuple[str, str]
    counts: TwoByTwo
    share: Estimate
    kappa: Estimate
    only_judged_by: tuple[int, int]
    disagreements: tuple[Disagreement, ...]

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON data."""
        return {"schema": SCHEMA, **asdict(self)}


def measure_agreement(
    run: Run, names: tuple[str, str], scores: tuple[tuple[QuestionScore, ...], tuple[QuestionScore, ...]]
) -> Agreement:
    """Compare two graders of one run by their scores, 1 for right and 0 for wrong.

    Raises:
        ScoringError: no answer has a verdict of both.
    """
    first, second = (_verdicts(one) for one in scores)
    both = [one for one in run.results if one.question_id in first and one.question_id in second]
    if not both:
        raise ScoringError(f"no answer of {run.name!r} has a verdict of both", "judge the run with both")
    verdicts = np.array([(first[one.question_id], second[one.question_id]) for one in both], dtype=bool)
    videos = [one.video for one in both]
    yes, other_yes = verdicts.T
    return Agreement(
        run=run.name,
        names=names,
        counts=two_by_two(yes, other_yes),
        share=mean_estimate((yes == other_yes).astype(np.float64), videos),
        kappa=cohens_kappa(yes, other_yes, videos),
        only_judged_by=(len(first.keys() - second.keys()), len(second.keys() - first.keys())),
        disagreements=tuple(
            Disagreement(**one.asked(), prediction=one.prediction, verdicts=(bool(pair[0]), bool(pair[1])))
            for one, pair in zip(both, verdicts, strict=True)
            if pair[0] != pair[1]
        ),
    )


def _verdicts(scores: tuple[QuestionScore, ...]) -> Mapping[str, bool]:
    return {row.question_id: row.score.value == 1 for row in scores if row.score.value is not None}

"""Two judges on the same answers, or a judge and exact match: how often they agree, and where they do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eval.results import Run
from eval.scoring import ScoringError
from eval.statistics import Estimate, Graded, TwoByTwo, cohens_kappa, mean_estimate, two_by_two

SCHEMA = "vidzip/agreement/1"


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """An answer that one takes for right and the other for wrong.

    Attributes:
        question_id: the question's name in the set.
        video: the video it is about.
        question: as it was asked.
        answer: the right one.
        prediction: the one that was judged.
        verdicts: right or not, of the first and of the second.
    """

    question_id: str
    video: str
    question: str
    answer: str
    prediction: str | None
    verdicts: tuple[bool, bool]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far two agree on the answers of a run.

    Attributes:
        run: what tables call the run.
        names: of the two.
        counts: how often both, one or none takes an answer for right.
        share: on how many of the answers they agree.
        kappa: agreement beyond chance, with a bootstrap's interval over videos.
        only_judged_by: answers that only the first, and only the second has a verdict on; they were left out.
        disagreements: where they differ, in the run's order.
    """

    run: str
    names: tuple[str, str]
    counts: TwoByTwo
    share: Estimate
    kappa: Estimate
    only_judged_by: tuple[int, int]
    disagreements: tuple[Disagreement, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON takes it."""
        return {"schema": SCHEMA, **asdict(self)}


def agree(run: Run, names: tuple[str, str], graded: tuple[tuple[Graded, ...], tuple[Graded, ...]]) -> Agreement:
    """Compare two graders of one run: each a judge, or exact match.

    Args:
        run: whose answers were graded.
        names: of the two.
        graded: their scores, 1 for right and 0 for wrong, as :func:`eval.scoring.grade` gives them.

    Raises:
        ScoringError: there is no answer on which both have a verdict.
    """
    first, second = (_verdicts(one) for one in graded)
    both = [one for one in run.questions if one.question_id in first and one.question_id in second]
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
            Disagreement(
                question_id=one.question_id,
                video=one.video,
                question=one.question,
                answer=one.answer,
                prediction=one.prediction,
                verdicts=(bool(pair[0]), bool(pair[1])),
            )
            for one, pair in zip(both, verdicts, strict=True)
            if pair[0] != pair[1]
        ),
    )


def _verdicts(graded: tuple[Graded, ...]) -> Mapping[str, bool]:
    return {row.question_id: row.score.value == 1 for row in graded if row.score.value is not None}

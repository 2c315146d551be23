"""Questions to look at: some that runs differ on, some failed, some wrong, some right; the same at every start."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from eval.metrics import Score
from eval.reporting.contents import Scored, leading_metric
from eval.results import Answered

SORTS = ("the runs differ", "without an answer or a verdict", "wrong", "right")
"""The sorts of examples, in the order in which they are shown. Of one run, none differ."""

RIGHT, WRONG, FAILED, UNJUDGED, NOT_ASKED = "right", "wrong", "failed", "unjudged", "not asked"
"""Verdicts: failed has no prediction, unjudged has one, and not asked has no line."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a run made of a question.

    Attributes:
        run: its place among the runs.
        answered: its line; None where there is none.
        verdict: :data:`RIGHT`, :data:`WRONG`, :data:`FAILED`, :data:`UNJUDGED` or :data:`NOT_ASKED`.
        reason: why there is no verdict; empty where there is one.
    """

    run: int
    answered: Answered | None
    verdict: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A question, and what each run made of it.

    Attributes:
        sort: one of :data:`SORTS`.
        asked: the question, from the first run that has a line of it.
        replies: one a run, in their order.
    """

    sort: str
    asked: Answered
    replies: tuple[Reply, ...]


def choose_examples(scored: Sequence[Scored], number: int) -> tuple[Example, ...]:
    """Choose up to so many examples of each sort, from runs of one set.

    The order is that of a hash of the questions' ids, so it neither changes nor favours the first videos. Kinds and
    videos that have no example of a sort yet come first.

    Args:
        scored: the runs.
        number: examples of each sort; 0 for none.
    """
    metric = leading_metric(scored)
    lines = [{one.question_id: one for one in each.run.questions} for each in scored]
    grades = [{one.question_id: one.score for one in each.graded[metric]} for each in scored]
    asked = {key: one for each in reversed(lines) for key, one in each.items()}
    of_sort: dict[str, list[Answered]] = {sort: [] for sort in SORTS}
    for key in sorted(asked, key=_rank):
        verdicts = {
            _verdict(of_run.get(key), of_grade.get(key)) for of_run, of_grade in zip(lines, grades, strict=True)
        }
        of_sort[_sort(verdicts)].append(asked[key])
    return tuple(
        Example(sort=sort, asked=one, replies=tuple(_replies(one.question_id, lines, grades)))
        for sort in SORTS
        for one in _spread(of_sort[sort], number)
    )


def _replies(
    key: str, lines: Sequence[Mapping[str, Answered]], grades: Sequence[Mapping[str, Score]]
) -> Iterator[Reply]:
    for run, (of_run, of_grade) in enumerate(zip(lines, grades, strict=True)):
        answered, score = of_run.get(key), of_grade.get(key)
        verdict = _verdict(answered, score)
        reason = answered.failure if answered and verdict == FAILED else score.reason if score else ""
        yield Reply(run=run, answered=answered, verdict=verdict, reason=reason)


def _verdict(answered: Answered | None, score: Score | None) -> str:
    if answered is None or score is None:
        return NOT_ASKED
    if answered.prediction is None:
        return FAILED
    if score.value is None:
        return UNJUDGED
    return RIGHT if score.value else WRONG


def _rank(question_id: str) -> bytes:
    return hashlib.blake2b(question_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _sort(verdicts: set[str]) -> str:
    if {RIGHT, WRONG} <= verdicts:
        return SORTS[0]
    if verdicts & {FAILED, UNJUDGED}:
        return SORTS[1]
    return SORTS[2] if WRONG in verdicts else SORTS[3]


def _spread(questions: Sequence[Answered], number: int) -> list[Answered]:
    """Take some, each time one of the kind and the video of which there are fewest so far."""
    left = list(questions)
    taken: list[Answered] = []
    kinds: Counter[str] = Counter()
    videos: Counter[str] = Counter()
    while left and len(taken) < number:
        one = min(left, key=lambda question: (kinds[question.kind], videos[question.video]))
        left.remove(one)
        taken.append(one)
        kinds[one.kind] += 1
        videos[one.video] += 1
    return taken

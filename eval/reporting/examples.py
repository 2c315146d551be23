"""Example questions: some that runs differ on, some failed, some wrong and some right; the same ones every time."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from eval.metrics import Score
from eval.reporting.scored_run import ScoredRun, leading_metric
from eval.results import QuestionResult

CATEGORIES = ("the runs differ", "failed or unjudged", "wrong", "right")
"""The categories of examples, in the order in which they are shown. With one run, none differ."""

RIGHT, WRONG, FAILED, UNJUDGED, NOT_ASKED = "right", "wrong", "failed", "unjudged", "not asked"
"""Verdicts. Failed: there is no prediction. Unjudged: there is one, without a verdict. Not asked: there is no result."""


@dataclass(frozen=True, kw_only=True)
class ExampleAnswer:
    """The result of a run, given by index, for an example question: a verdict, or the reason why there is none."""

    run: int
    result: QuestionResult | None
    verdict: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A question, from the first run that has a result for it, with one answer per run."""

    category: str
    question: QuestionResult
    answers: tuple[ExampleAnswer, ...]


def choose_examples(runs: Sequence[ScoredRun], number: int) -> tuple[Example, ...]:
    """Choose examples of each category, from runs of one set.

    They are ordered by a hash of the question ids, which neither changes nor favours the first videos. Kinds and videos
    without an example in the category come first.
    ``number`` is the limit per category.
    """
    metric = leading_metric(runs)
    results = [{one.question_id: one for one in each.run.results} for each in runs]
    scores = [{one.question_id: one.score for one in each.question_scores[metric]} for each in runs]
    questions = {key: one for each in reversed(results) for key, one in each.items()}
    by_category: dict[str, list[QuestionResult]] = {category: [] for category in CATEGORIES}
    for key in sorted(questions, key=_hash):
        verdicts = {
            _verdict(of_run.get(key), of_score.get(key)) for of_run, of_score in zip(results, scores, strict=True)
        }
        by_category[_category(verdicts)].append(questions[key])
    return tuple(
        Example(category=category, question=one, answers=tuple(_answers(one.question_id, results, scores)))
        for category in CATEGORIES
        for one in _spread(by_category[category], number)
    )


def _answers(
    key: str, results: Sequence[Mapping[str, QuestionResult]], scores: Sequence[Mapping[str, Score]]
) -> Iterator[ExampleAnswer]:
    for run, (of_run, of_score) in enumerate(zip(results, scores, strict=True)):
        result, score = of_run.get(key), of_score.get(key)
        verdict = _verdict(result, score)
        reason = result.failure if result and verdict == FAILED else score.reason if score else ""
        yield ExampleAnswer(run=run, result=result, verdict=verdict, reason=reason)


def _verdict(result: QuestionResult | None, score: Score | None) -> str:
    if result is None or score is None:
        return NOT_ASKED
    if result.prediction is None:
        return FAILED
    if score.value is None:
        return UNJUDGED
    return RIGHT if score.value else WRONG


def _hash(question_id: str) -> bytes:
    return hashlib.blake2b(question_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _category(verdicts: set[str]) -> str:
    if {RIGHT, WRONG} <= verdicts:
        return CATEGORIES[0]
    if verdicts & {FAILED, UNJUDGED}:
        return CATEGORIES[1]
    return CATEGORIES[2] if WRONG in verdicts else CATEGORIES[3]


def _spread(questions: Sequence[QuestionResult], number: int) -> list[QuestionResult]:
    """Take some, each time of the kind and the video with the fewest so far."""
    left = list(questions)
    taken: list[QuestionResult] = []
    kinds: Counter[str] = Counter()
    videos: Counter[str] = Counter()
    while left and len(taken) < number:
        one = min(left, key=lambda question: (kinds[question.kind], videos[question.video]))
        left.remove(one)
        taken.append(one)
        kinds[one.kind] += 1
        videos[one.video] += 1
    return taken

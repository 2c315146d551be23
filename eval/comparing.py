"""Comparison of two runs, question by question: the difference, its interval, and the questions that flipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eval.results import AskedQuestion, QuestionResult, Run
from eval.scoring import JUDGE_SCORE, RANGES, Judgements, ScoringError, group_by_kind, quoted, score_questions
from eval.statistics import Estimate, TwoByTwo, bootstrap_mean, exact_mcnemar, two_by_two

SCHEMA = "vidzip/comparison/1"


@dataclass(frozen=True, kw_only=True)
class Flip(AskedQuestion):
    """A question with different scores in two runs."""

    predictions: tuple[str | None, str | None]
    scores: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class GroupDifference:
    """The difference between two runs on a group of questions.

    Attributes:
        group: all questions, or a kind of question.
        difference: mean score of the first run minus the second's, over questions with a score in both, with a
            bootstrap interval over videos.
        counts: how many questions both, one or none has right; None for a metric with more than two values.
        p_value: of McNemar's exact test; None likewise.
    """

    group: str
    difference: Estimate
    counts: TwoByTwo | None
    p_value: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A comparison of two runs.

    Attributes:
        names: the runs' names in tables.
        metric: in :data:`eval.scoring.RANGES`.
        judge: the judge's description; None if the metric needs none.
        is_strict: whether a question without a score counts as the lowest.
        groups: the difference on all questions, then on each kind.
        flips: the questions with different scores, in the first run's order.
        only_in: ids of questions in the first run only, and in the second only; they are left out.
        warnings: what else matters for the result.
    """

    names: tuple[str, str]
    metric: str
    judge: Mapping[str, Any] | None
    is_strict: bool
    groups: tuple[GroupDifference, ...]
    flips: tuple[Flip, ...]
    only_in: tuple[tuple[str, ...], tuple[str, ...]]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON data."""
        return {"schema": SCHEMA, **asdict(self)}


def compare(
    first: Run,
    second: Run,
    metric: str,
    *,
    judgements: tuple[Judgements, Judgements] | None = None,
    is_strict: bool = False,
    allow_different_questions: bool = False,
) -> Comparison:
    """Compare two runs of the same questions, joined by id.

    Args:
        first: a run.
        second: another run.
        metric: in :data:`eval.scoring.RANGES`.
        judgements: of each run; a metric without a judge needs none.
        is_strict: count a question without a score as the lowest; otherwise leave it out.
        allow_different_questions: if the runs' questions differ, compare on those that both have.

    Raises:
        ScoringError: the metric is unknown or needs a judge, the judges or the question ids differ, or one id stands for
            different questions.
    """
    if metric not in RANGES:
        raise ScoringError(f"unknown metric {metric!r}", f"use one of {', '.join(RANGES)}")
    only_in = _check_same_questions(first, second, allow_different_questions=allow_different_questions)
    judge = _check_same_judge(judgements)
    theirs = {one.question_id: one for one in second.results}
    pairs = [(one, theirs[one.question_id]) for one in first.results if one.question_id in theirs]
    lowest, highest = RANGES[metric]
    scores = np.stack([
        _scores(run, metric, judgements[place] if judgements else None, [pair[place].question_id for pair in pairs])
        for place, run in enumerate((first, second))
    ])  # fmt: skip
    if is_strict:
        scores = np.where(np.isnan(scores), lowest, scores)
    compared = []
    for group, places in group_by_kind([pair[0] for pair in pairs]):
        has_both = ~np.isnan(scores[:, places]).any(axis=0)
        chosen = np.array(places, dtype=np.int64)[has_both]
        ours, others = scores[:, chosen]
        difference = bootstrap_mean(
            ours - others,
            [pairs[place][0].video for place in chosen],
            lowest=lowest - highest,
            highest=highest - lowest,
            num_unscored=len(places) - len(chosen),
        )
        counts = None if metric == JUDGE_SCORE else two_by_two(ours == highest, others == highest)
        p_value = exact_mcnemar(counts.only_first, counts.only_second) if counts else None
        compared.append(GroupDifference(group=group, difference=difference, counts=counts, p_value=p_value))
    return Comparison(
        names=(first.name, second.name),
        metric=metric,
        judge=judge if metric.startswith("judge") else None,
        is_strict=is_strict,
        groups=tuple(compared),
        flips=tuple(_flips(pairs, scores)),
        only_in=only_in,
        warnings=tuple(_warnings((first, second), compared[0])),
    )


def _check_same_questions(
    first: Run, second: Run, *, allow_different_questions: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Check that one id means one question; returns the ids in only one of the runs."""
    ours = {one.question_id: one for one in first.results}
    theirs = {one.question_id: one for one in second.results}
    both = [key for key in ours if key in theirs]
    for key in both:
        for (field, one), other in zip(ours[key].asked().items(), theirs[key].asked().values(), strict=True):
            if one != other:
                raise ScoringError(
                    f"the runs are of different sets: the {field} of {quoted(key)} is {quoted(one)} in one of them, "
                    f"and {quoted(other)} in the other",
                    "compare runs of one question set",
                )
    only_in = tuple(key for key in ours if key not in theirs), tuple(key for key in theirs if key not in ours)
    if any(only_in) and not allow_different_questions:
        example = next(key for keys in only_in for key in keys)
        raise ScoringError(
            f"the runs have different questions: {len(only_in[0]):,} are only in {quoted(first.name)}, "
            f"{len(only_in[1]):,} only in {quoted(second.name)}, such as {quoted(example)}",
            "finish both runs, or compare the questions that both have with --intersection",
        )
    if not both:
        raise ScoringError("the runs have no question in common", "compare runs of one question set")
    return only_in


def _check_same_judge(judgements: tuple[Judgements, Judgements] | None) -> Mapping[str, Any] | None:
    if judgements is None:
        return None
    first, second = (one.judge for one in judgements)
    if first["fingerprint"] != second["fingerprint"]:
        raise ScoringError(
            f"the runs were judged by different judges, {quoted(str(first['fingerprint']))} and "
            f"{quoted(str(second['fingerprint']))}",
            "judge both with one judge",
        )
    return first


def _scores(run: Run, metric: str, judgements: Judgements | None, ids: Sequence[str]) -> np.ndarray:
    """A run's scores of some questions, in their order; nan for a question without a score."""
    scores = score_questions(run, judgements)
    if metric not in scores:
        raise ScoringError(f"{metric} needs a judge", "name one, or another metric")
    by_id = {row.question_id: row.score.value for row in scores[metric]}
    return np.array([by_id[key] for key in ids], dtype=np.float64)


def _flips(pairs: Sequence[tuple[QuestionResult, QuestionResult]], scores: np.ndarray) -> Iterator[Flip]:
    for (ours, theirs), (one, other) in zip(pairs, scores.T.tolist(), strict=True):
        if abs(one - other) > 0:  # false for nan
            yield Flip(**ours.asked(), predictions=(ours.prediction, theirs.prediction), scores=(one, other))


def _warnings(runs: Sequence[Run], whole: GroupDifference) -> Iterator[str]:
    for run in runs:
        num_left = run.num_questions - len(run.results)
        if num_left:
            yield f"{quoted(run.name)} is not finished: {num_left:,} of its questions have not been asked yet"
    if whole.difference.num_unscored:
        yield (
            f"{whole.difference.num_unscored:,} questions without a score in both runs were left out; --strict counts "
            f"them as the lowest score"
        )

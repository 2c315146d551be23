"""Two runs, question by question: which is better, by how much, and which questions flipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eval.results import Answered, Run
from eval.scoring import JUDGE_SCORE, RANGES, Judged, ScoringError, grade, groups, quoted
from eval.statistics import Estimate, TwoByTwo, bootstrap_mean, exact_mcnemar, two_by_two

SCHEMA = "vidzip/comparison/1"


@dataclass(frozen=True, kw_only=True)
class Flip:
    """A question on which two runs scored differently.

    Attributes:
        question_id: its name in the set.
        video: the video it is about.
        kind: what kind of question it is.
        question: as it was asked.
        answer: the right one.
        predictions: the two runs'.
        scores: what they are worth.
    """

    question_id: str
    video: str
    kind: str
    question: str
    answer: str
    predictions: tuple[str | None, str | None]
    scores: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """How two runs differ on a group of questions.

    Attributes:
        group: all, or a kind of question.
        difference: the first run's mean score less the second's, over questions with a score in both, with an interval
            by a bootstrap over videos.
        counts: how often both, one or none is right; None for a metric that is neither right nor wrong.
        p_value: of McNemar's exact test; None likewise.
    """

    group: str
    difference: Estimate
    counts: TwoByTwo | None
    p_value: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How two runs differ.

    Attributes:
        names: what tables call them.
        metric: by which they were scored.
        judge: what the judge is; None where the metric needs none.
        is_strict: whether what has no score counts as the lowest.
        compared: of all questions, then of each kind.
        flips: the questions on which they differ, in the first run's order.
        only_in: ids of questions that only the first, and only the second run holds; they were left out.
        warnings: what else to know.
    """

    names: tuple[str, str]
    metric: str
    judge: Mapping[str, Any] | None
    is_strict: bool
    compared: tuple[Compared, ...]
    flips: tuple[Flip, ...]
    only_in: tuple[tuple[str, ...], tuple[str, ...]]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON takes it."""
        return {"schema": SCHEMA, **asdict(self)}


def compare(
    first: Run,
    second: Run,
    metric: str,
    *,
    judged: tuple[Judged, Judged] | None = None,
    is_strict: bool = False,
    is_intersection_allowed: bool = False,
) -> Comparison:
    """Compare two runs of the same questions, joined by id.

    Args:
        first: a run.
        second: another.
        metric: in :data:`eval.scoring.RANGES`.
        judged: the judge and its judgements of each run; a metric without a judge needs none.
        is_strict: count what has no score as the lowest; otherwise questions without a score in both are left out.
        is_intersection_allowed: compare on the questions that both runs hold, where their ids differ.

    Raises:
        ScoringError: the metric is unknown or needs a judge, the judges or the question ids differ, or one id stands for
            different questions.
    """
    if metric not in RANGES:
        raise ScoringError(f"unknown metric {metric!r}", f"use one of {', '.join(RANGES)}")
    only_in = _check_same(first, second, is_intersection_allowed=is_intersection_allowed)
    judge = _check_same_judge(judged)
    theirs = {one.question_id: one for one in second.questions}
    pairs = [(one, theirs[one.question_id]) for one in first.questions if one.question_id in theirs]
    lowest, highest = RANGES[metric]
    scores = np.stack([
        _scores(run, metric, judged[place] if judged else None, [pair[place].question_id for pair in pairs])
        for place, run in enumerate((first, second))
    ])  # fmt: skip
    if is_strict:
        scores = np.where(np.isnan(scores), lowest, scores)
    compared = []
    for group, places in groups([pair[0] for pair in pairs]):
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
        compared.append(Compared(group=group, difference=difference, counts=counts, p_value=p_value))
    return Comparison(
        names=(first.name, second.name),
        metric=metric,
        judge=judge if metric.startswith("judge") else None,
        is_strict=is_strict,
        compared=tuple(compared),
        flips=tuple(_flips(pairs, scores)),
        only_in=only_in,
        warnings=tuple(_warnings((first, second), compared[0])),
    )


def _check_same(first: Run, second: Run, *, is_intersection_allowed: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Make sure that one id means one question; returns the ids that only one of the runs holds."""
    ours = {one.question_id: one for one in first.questions}
    theirs = {one.question_id: one for one in second.questions}
    both = [key for key in ours if key in theirs]
    for key in both:
        for what in ("question", "answer", "video", "kind"):
            one, other = getattr(ours[key], what), getattr(theirs[key], what)
            if one != other:
                raise ScoringError(
                    f"the runs are of different sets: the {what} of {quoted(key)} is {quoted(one)} in one of them, and "
                    f"{quoted(other)} in the other",
                    "compare runs of one question set",
                )
    only_in = tuple(key for key in ours if key not in theirs), tuple(key for key in theirs if key not in ours)
    if any(only_in) and not is_intersection_allowed:
        alone = next(key for keys in only_in for key in keys)
        raise ScoringError(
            f"the runs hold different questions: {len(only_in[0]):,} are in {quoted(first.name)} alone, "
            f"{len(only_in[1]):,} in {quoted(second.name)} alone, such as {quoted(alone)}",
            "finish both runs, or compare them on what both hold with --intersection",
        )
    if not both:
        raise ScoringError("the runs hold no question in common", "compare runs of one question set")
    return only_in


def _check_same_judge(judged: tuple[Judged, Judged] | None) -> Mapping[str, Any] | None:
    if judged is None:
        return None
    (first, _), (second, _) = judged
    if first["fingerprint"] != second["fingerprint"]:
        raise ScoringError(
            f"the runs were judged by different judges, {quoted(str(first['fingerprint']))} and "
            f"{quoted(str(second['fingerprint']))}",
            "have one judge judge both",
        )
    return first


def _scores(run: Run, metric: str, judged: Judged | None, ids: Sequence[str]) -> np.ndarray:
    """A run's scores of some questions, in their order; nan where there is none."""
    graded = grade(run, judged)
    if metric not in graded:
        raise ScoringError(f"{metric} needs a judge", "name one, or another metric")
    by_id = {row.question_id: row.score.value for row in graded[metric]}
    return np.array([by_id[key] for key in ids], dtype=np.float64)


def _flips(pairs: Sequence[tuple[Answered, Answered]], scores: np.ndarray) -> Iterator[Flip]:
    for (ours, theirs), (one, other) in zip(pairs, scores.T.tolist(), strict=True):
        if abs(one - other) > 0:  # not so for nan
            yield Flip(
                question_id=ours.question_id,
                video=ours.video,
                kind=ours.kind,
                question=ours.question,
                answer=ours.answer,
                predictions=(ours.prediction, theirs.prediction),
                scores=(one, other),
            )


def _warnings(runs: Sequence[Run], whole: Compared) -> Iterator[str]:
    for run in runs:
        num_missing = run.num_asked - len(run.questions)
        if num_missing:
            yield f"{quoted(run.name)} is not finished: {num_missing:,} of its questions are still to be asked"
    if whole.difference.num_unscored:
        yield (
            f"{whole.difference.num_unscored:,} questions without a score in both runs were left out; strictly, they "
            f"count as the lowest"
        )

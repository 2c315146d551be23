"""From a run to what it scored: every metric, of all questions and of each kind, with both denominators."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from eval.errors import EvalError
from eval.metrics import NO_PREDICTION, NOTHING_LEFT, Score, match
from eval.results import Answered, Run
from eval.statistics import (
    Estimate,
    Graded,
    bootstrap_interval,
    bootstrap_mean,
    cluster_sums,
    linear_standard_error,
    mean_estimate,
)

if TYPE_CHECKING:
    from eval.judging import Judgement

EXACT_MATCH, CONTAINED = "exact match", "answer contained"
JUDGE_ACCURACY, JUDGE_SCORE = "judge accuracy", "judge score"

RANGES: dict[str, tuple[float, float]] = {
    EXACT_MATCH: (0.0, 1.0),
    CONTAINED: (0.0, 1.0),
    JUDGE_ACCURACY: (0.0, 1.0),
    JUDGE_SCORE: (0.0, 5.0),
}
"""Every metric, with its lowest and its highest score."""

INTERVALS: dict[str, Callable[..., Estimate]] = {"wilson": mean_estimate, "bootstrap": bootstrap_mean}
"""How an interval of a mean is had: by a formula, or by drawing videos."""

ALL = "all"
"""The group of all questions; every other group is a kind of question."""

NOT_ASKED, NOT_JUDGED = "not asked yet", "not judged yet"

LONGEST_REASON = 200
"""Characters of the longest reason that is counted by itself."""

LONGEST_QUOTED = 80
"""Characters of the longest text that a message quotes whole."""

SCHEMA = "vidzip/scores/1"

Judged = tuple[Mapping[str, Any], Mapping[str, "Judgement"]]
"""A judge, described, and its judgements by question id."""


class ScoringError(EvalError):
    """Runs that cannot be scored or compared."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a run scored by one metric, on a group of questions.

    Attributes:
        metric: in :data:`RANGES`.
        group: :data:`ALL`, or a kind of question.
        published: the mean over the questions with a score, as papers give it.
        strict: the mean over all that were to be asked; what has no score counts as the lowest.
        bound_low: the mean over all that were to be asked if every unjudged answer were as bad as can be; None where
            there is no question. Failed questions are as bad as can be in both bounds.
        bound_high: the same if every unjudged answer were as good as can be.
        num_asked: questions that were to be asked.
        num_scored: those with a score.
        num_failed: those without a prediction.
        num_unjudged: those with a prediction, but no score.
    """

    metric: str
    group: str
    published: Estimate
    strict: Estimate
    bound_low: float | None
    bound_high: float | None
    num_asked: int
    num_scored: int
    num_failed: int
    num_unjudged: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run scored.

    Attributes:
        name: what tables call the run.
        described: what the run is.
        judge: what the judge is; None where there was none.
        intervals: how the intervals were had, in :data:`INTERVALS`.
        measured: metric by metric, each of all questions and then of each kind.
        failures: how many questions have no prediction, by reason.
        unjudged: how many predictions the judge gave no verdict on, by reason.
        contradictions: verdicts of the judge that its own rating contradicts.
        warnings: what else to know of these scores.
    """

    name: str
    described: Mapping[str, Any]
    judge: Mapping[str, Any] | None
    intervals: str
    measured: tuple[Measured, ...]
    failures: Mapping[str, int]
    unjudged: Mapping[str, int]
    contradictions: int
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON takes it."""
        return {"schema": SCHEMA, **asdict(self)}


def summarise(
    run: Run, judged: Judged | None = None, *, intervals: str = "wilson", is_unfinished_allowed: bool = False
) -> Summary:
    """Score a run by every metric there is.

    Args:
        run: the run.
        judged: a judge and its judgements; None measures without one.
        intervals: in :data:`INTERVALS`.
        is_unfinished_allowed: take a run of which questions are still to be asked. They count as failed among all
            questions; nobody knows their kinds, nor their videos, so that the strict mean has no interval there.

    Raises:
        ScoringError: the run was not finished, or holds more lines than questions, or one question twice; or intervals
            are had in no such way.
    """
    if intervals not in INTERVALS:
        raise ScoringError(f"unknown intervals {intervals!r}", f"use one of {', '.join(INTERVALS)}")
    num_missing = run.num_asked - len(run.questions)
    if num_missing < 0:
        raise ScoringError(f"{run.name!r} holds {len(run.questions):,} answers to {run.num_asked:,} questions")
    if num_missing and not is_unfinished_allowed:
        raise ScoringError(
            f"{run.name!r} is not finished: {num_missing:,} of {run.num_asked:,} questions are still to be asked",
            "finish it with the command it was begun by",
        )
    graded = grade(run, judged)
    failed = np.array([one.prediction is None for one in run.questions], dtype=bool)
    parts = list(groups(run.questions))
    measured = []
    for metric, rows in graded.items():
        values = np.array([math.nan if row.score.value is None else row.score.value for row in rows], dtype=np.float64)
        for group, places in parts:
            part = _Part(
                metric=metric,
                group=group,
                values=values[places],
                videos=[rows[place].video for place in places],
                failed=failed[places],
                num_missing=num_missing if group == ALL else 0,
            )
            measured.append(_measure(part, INTERVALS[intervals]))
    judgements = judged[1] if judged else {}
    unjudged = [
        row.score.reason
        for row in graded.get(JUDGE_ACCURACY, ())
        if row.score.value is None and row.score.reason != NO_PREDICTION
    ]
    failures = _counted(one.failure or NO_PREDICTION for one in run.questions if one.prediction is None)
    return Summary(
        name=run.name,
        described=run.described,
        judge=judged[0] if judged else None,
        intervals=intervals,
        measured=tuple(measured),
        failures={**failures, **({NOT_ASKED: num_missing} if num_missing else {})},
        unjudged=_counted(unjudged),
        contradictions=sum(
            judgements[one.question_id].is_contradictory for one in run.questions if one.question_id in judgements
        ),
        warnings=tuple(_warnings(graded[EXACT_MATCH], num_missing)),
    )


def grade(run: Run, judged: Judged | None = None) -> dict[str, tuple[Graded, ...]]:
    """Score each question of a run by every metric, in the run's order; without a prediction there is no score.

    Raises:
        ScoringError: a question stands there twice.
    """
    ids = Counter(one.question_id for one in run.questions)
    doubled = [key for key, count in ids.items() if count > 1]
    if doubled:
        raise ScoringError(f"{run.name!r} holds the question {quoted(doubled[0])} twice", "take one away")
    matched = [match(one.prediction, one.answer) for one in run.questions]
    scores = {EXACT_MATCH: [exact for exact, _ in matched], CONTAINED: [contained for _, contained in matched]}
    if judged is not None:
        judgements = [_judgement(one, judged[1]) for one in run.questions]
        scores[JUDGE_ACCURACY] = [_scored(one, one.verdict) for one in judgements]
        scores[JUDGE_SCORE] = [_scored(one, one.rating) for one in judgements]
    return {
        metric: tuple(
            Graded(question_id=one.question_id, video=one.video, score=score)
            for one, score in zip(run.questions, of_metric, strict=True)
        )
        for metric, of_metric in scores.items()
    }


@dataclass(frozen=True, kw_only=True)
class _Unjudged:
    """What stands in for a judgement where there is none."""

    reason: str
    verdict: None = None
    rating: None = None


def _judgement(one: Answered, judgements: Mapping[str, Judgement]) -> Judgement | _Unjudged:
    if one.prediction is None:
        return _Unjudged(reason=NO_PREDICTION)
    return judgements.get(one.question_id) or _Unjudged(reason=NOT_JUDGED)


def _scored(judgement: Judgement | _Unjudged, value: float | None) -> Score:
    return Score(value=None, reason=judgement.reason) if value is None else Score(value=float(value))


def quoted(text: str) -> str:
    """Show a text of a run in a message: cut where it is long, and escaped."""
    return repr(text if len(text) <= LONGEST_QUOTED else text[: LONGEST_QUOTED - 1] + "…")


def groups(questions: Sequence[Answered]) -> Iterator[tuple[str, list[int]]]:
    """The places of all questions, and those of each kind where the set names kinds."""
    yield ALL, list(range(len(questions)))
    of_kind: dict[str, list[int]] = {}
    for place, one in enumerate(questions):
        of_kind.setdefault(one.kind, []).append(place)
    if any(of_kind):
        yield from sorted(of_kind.items())


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A group's scores by one metric: nan where there is none; questions still to be asked have none of these."""

    metric: str
    group: str
    values: Float[np.ndarray, " questions"]
    videos: Sequence[Hashable]
    failed: Bool[np.ndarray, " questions"]
    num_missing: int


def _measure(part: _Part, estimator: Callable[..., Estimate]) -> Measured:
    lowest, highest = RANGES[part.metric]
    values, has_score = part.values, ~np.isnan(part.values)
    scored_videos = [video for video, one in zip(part.videos, has_score, strict=True) if one]
    num_scored = int(has_score.sum())
    num_failed = int(part.failed.sum()) + part.num_missing
    num_asked = len(values) + part.num_missing
    num_unjudged = num_asked - num_scored - num_failed
    limits = {"lowest": lowest, "highest": highest}
    published = estimator(values[has_score], scored_videos, **limits, num_unscored=num_asked - num_scored)
    worst = np.where(has_score, values, lowest)
    strict = estimator(worst, part.videos, **limits)
    low = (float(worst.sum()) + lowest * part.num_missing) / num_asked if num_asked else None
    if part.num_missing:
        strict = Estimate(value=low, low=None, high=None, num_questions=num_asked, num_clusters=strict.num_clusters)
    return Measured(
        metric=part.metric,
        group=part.group,
        published=published,
        strict=strict,
        bound_low=low,
        bound_high=None if low is None else low + (highest - lowest) * num_unjudged / num_asked,
        num_asked=num_asked,
        num_scored=num_scored,
        num_failed=num_failed,
        num_unjudged=num_unjudged,
    )


def _counted(reasons: Iterable[str]) -> dict[str, int]:
    """Count reasons by what stands before their first colon, such as an error's name; the most frequent first."""
    return dict(Counter(reason.partition(": ")[0][:LONGEST_REASON] for reason in reasons).most_common())


def _warnings(matched: Iterable[Graded], num_missing: int) -> Iterator[str]:
    if num_missing:
        yield f"the run is not finished: {num_missing:,} questions still to be asked count as failed"
    empty = [row.question_id for row in matched if row.score.reason == NOTHING_LEFT]
    if empty:
        yield (
            f"{len(empty):,} answers, such as that of {quoted(empty[0])}, hold no word: "
            f"{EXACT_MATCH} and {CONTAINED} have no score there"
        )


@dataclass(frozen=True, kw_only=True)
class Retention:
    """How much of what the full video brings above the blind floor a run keeps.

    Attributes:
        value: 1 where it is as good as the full run, 0 where it is no better than the blind one; None where there is
            no such share.
        low: the 95 % interval's lower end, by a bootstrap over videos; None where it cannot be told.
        high: its upper end; None likewise.
        num_questions: those with a score in all three runs.
        num_clusters: videos they are about.
        standard_error: clustered by video; None where it cannot be told.
        reason: why there is no value; empty where there is one.
    """

    value: float | None
    low: float | None
    high: float | None
    num_questions: int = 0
    num_clusters: int = 0
    standard_error: float | None = None
    reason: str = ""


def retention(run: Iterable[Graded], full: Iterable[Graded], blind: Iterable[Graded]) -> Retention:
    """Compute (run - blind) / (full - blind) over the questions that have a score in all three runs.

    The interval is a bootstrap's over videos, each drawn with its questions in all three runs. Where full and blind lie
    so close that more than 5 % of the resamples cannot tell them apart, there is none.

    Args:
        run: a run's questions, scored by one metric.
        full: those of the run with whole frames.
        blind: those of the run without the videos.

    Raises:
        ScoringError: the runs are not about the same questions of the same videos.
    """
    rows = [{row.question_id: row for row in one} for one in (run, full, blind)]
    unlike = [key for one in rows[1:] for key in sorted(one.keys() ^ rows[0].keys())]
    if unlike:
        raise ScoringError(
            f"the runs are not of the same questions: {quoted(unlike[0])} is not in all of them", "give runs of one set"
        )
    moved = [key for key, row in rows[0].items() if any(one[key].video != row.video for one in rows)]
    if moved:
        raise ScoringError(f"the runs name different videos for {quoted(moved[0])}", "give runs of one set")
    scored = [key for key in rows[0] if all(one[key].score.value is not None for one in rows)]
    if not scored:
        return Retention(value=None, low=None, high=None, reason="no question has a score in all three runs")
    columns = [np.array([one[key].score.value for key in scored], dtype=np.float64) for one in rows]
    sums = cluster_sums([rows[0][key].video for key in scored], *columns)
    counts = Retention(value=None, low=None, high=None, num_questions=len(scored), num_clusters=len(sums))
    ours, theirs, floor = sums.sum(axis=0)
    if theirs <= floor:
        return replace(counts, reason="the full run is no better than the blind one")
    low, high = bootstrap_interval(sums, _retained) or (None, None)
    return replace(
        counts,
        value=float((ours - floor) / (theirs - floor)),
        low=low,
        high=high,
        standard_error=linear_standard_error(sums, _retained),
    )


def _retained(totals: Float[np.ndarray, "samples columns"]) -> Float[np.ndarray, " samples"]:
    ours, theirs, floor = totals.T
    return np.where(theirs > floor, (ours - floor) / (theirs - floor), math.nan)

"""Scores of a run: every metric, over all questions and each kind, with both denominators."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from eval.errors import EvalError
from eval.metrics import EMPTY_ANSWER, NO_PREDICTION, Score, match
from eval.results import QuestionResult, Run
from eval.statistics import (
    Estimate,
    QuestionScore,
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
"""The lowest and the highest score of each metric."""

INTERVALS: dict[str, Callable[..., Estimate]] = {"wilson": mean_estimate, "bootstrap": bootstrap_mean}
"""Ways to estimate the interval of a mean."""

ALL = "all"
"""The group of all questions; every other group is a kind of question."""

NOT_ASKED, NOT_JUDGED = "not asked yet", "not judged yet"

MAX_REASON = 200
"""Limit on the characters of a failure reason; longer ones are cut, and counted together."""

MAX_QUOTED = 80
"""Limit on the characters of a text in a message; a longer one is cut."""

SCHEMA = "vidzip/scores/1"


class ScoringError(EvalError):
    """Runs that cannot be scored or compared."""


@dataclass(frozen=True, kw_only=True)
class Judgements:
    """A judge's judgements of a run by question id, and its description; the ``fingerprint`` in it identifies it."""

    judge: Mapping[str, Any]
    by_id: Mapping[str, Judgement]


@dataclass(frozen=True, kw_only=True)
class MetricScore:
    """A run's score by one metric, on a group of questions.

    Attributes:
        metric: in :data:`RANGES`.
        group: :data:`ALL`, or a kind of question.
        published: the mean over questions with a score, as papers publish it.
        strict: the mean over all questions of the run; one without a score counts as the lowest.
        bound_low: the mean over all questions if every unjudged answer got the lowest score; None without questions.
            Failed questions count as the lowest in both bounds.
        bound_high: the same if every unjudged answer got the highest score.
        num_asked: questions of the run.
        num_scored: questions with a score.
        num_failed: questions without a prediction.
        num_unjudged: questions with a prediction, but no score.
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
    """All scores of a run.

    Attributes:
        name: the run's name in tables.
        settings: the run's settings.
        judge: the judge's description; None if there was none.
        intervals: how the intervals were estimated, in :data:`INTERVALS`.
        scores: metric by metric, on all questions and then on each kind.
        failures: number of questions without a prediction, by reason.
        unjudged: number of predictions without a verdict, by reason.
        contradictions: number of verdicts that contradict the judge's own rating.
        warnings: what else matters for these scores.
    """

    name: str
    settings: Mapping[str, Any]
    judge: Mapping[str, Any] | None
    intervals: str
    scores: tuple[MetricScore, ...]
    failures: Mapping[str, int]
    unjudged: Mapping[str, int]
    contradictions: int
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON data."""
        return {"schema": SCHEMA, **asdict(self)}


def summarise(
    run: Run, judgements: Judgements | None = None, *, intervals: str = "wilson", allow_unfinished: bool = False
) -> Summary:
    """Score a run by every metric.

    Args:
        run: the run.
        judgements: a judge's; None leaves out the metrics that need a judge.
        intervals: in :data:`INTERVALS`.
        allow_unfinished: accept a run with questions that have not been asked yet. They count as failed among all
            questions. Their kinds and videos are unknown, so the strict mean over all has no interval.

    Raises:
        ScoringError: the run is not finished, has more results than questions, or has a question twice; or the kind of
            interval is unknown.
    """
    if intervals not in INTERVALS:
        raise ScoringError(f"unknown intervals {intervals!r}", f"use one of {', '.join(INTERVALS)}")
    num_left = run.num_questions - len(run.results)
    if num_left < 0:
        raise ScoringError(f"{run.name!r} has {len(run.results):,} results for {run.num_questions:,} questions")
    if num_left and not allow_unfinished:
        raise ScoringError(
            f"{run.name!r} is not finished: {num_left:,} of {run.num_questions:,} questions have not been asked yet",
            "finish it with the command that started it",
        )
    scores = score_questions(run, judgements)
    failed = np.array([one.prediction is None for one in run.results], dtype=bool)
    by_kind = list(group_by_kind(run.results))
    metric_scores = []
    for metric, rows in scores.items():
        values = np.array([math.nan if row.score.value is None else row.score.value for row in rows], dtype=np.float64)
        for group, places in by_kind:
            group_scores = _GroupScores(
                metric=metric,
                group=group,
                values=values[places],
                videos=[rows[place].video for place in places],
                failed=failed[places],
                num_left=num_left if group == ALL else 0,
            )
            metric_scores.append(_metric_score(group_scores, INTERVALS[intervals]))
    unjudged = [
        row.score.reason
        for row in scores.get(JUDGE_ACCURACY, ())
        if row.score.value is None and row.score.reason != NO_PREDICTION
    ]
    failures = _count_reasons(one.failure or NO_PREDICTION for one in run.results if one.prediction is None)
    by_id = judgements.by_id if judgements else {}
    return Summary(
        name=run.name,
        settings=run.settings,
        judge=judgements.judge if judgements else None,
        intervals=intervals,
        scores=tuple(metric_scores),
        failures={**failures, **({NOT_ASKED: num_left} if num_left else {})},
        unjudged=_count_reasons(unjudged),
        contradictions=sum(by_id[one.question_id].is_contradictory for one in run.results if one.question_id in by_id),
        warnings=tuple(_warnings(scores[EXACT_MATCH], num_left)),
    )


def score_questions(run: Run, judgements: Judgements | None = None) -> dict[str, tuple[QuestionScore, ...]]:
    """Score each question of a run by every metric, in the run's order; without a prediction there is no score.

    Raises:
        ScoringError: a question occurs twice.
    """
    ids = Counter(one.question_id for one in run.results)
    repeated = [key for key, count in ids.items() if count > 1]
    if repeated:
        raise ScoringError(f"{run.name!r} has the question {quoted(repeated[0])} twice", "delete one of its lines")
    matches = [match(one.prediction, one.answer) for one in run.results]
    scores = {EXACT_MATCH: [exact for exact, _ in matches], CONTAINED: [contained for _, contained in matches]}
    if judgements is not None:
        judged = [_judgement(one, judgements.by_id) for one in run.results]
        scores[JUDGE_ACCURACY] = [_judge_score(one, one.verdict) for one in judged]
        scores[JUDGE_SCORE] = [_judge_score(one, one.rating) for one in judged]
    return {
        metric: tuple(
            QuestionScore(question_id=one.question_id, video=one.video, score=score)
            for one, score in zip(run.results, of_metric, strict=True)
        )
        for metric, of_metric in scores.items()
    }


@dataclass(frozen=True, kw_only=True)
class _Unjudged:
    """Replaces a missing judgement."""

    reason: str
    verdict: None = None
    rating: None = None


def _judgement(one: QuestionResult, judgements: Mapping[str, Judgement]) -> Judgement | _Unjudged:
    if one.prediction is None:
        return _Unjudged(reason=NO_PREDICTION)
    return judgements.get(one.question_id) or _Unjudged(reason=NOT_JUDGED)


def _judge_score(judgement: Judgement | _Unjudged, value: float | None) -> Score:
    return Score(value=None, reason=judgement.reason) if value is None else Score(value=float(value))


def quoted(text: str) -> str:
    """Quote a text for a message: escaped, and cut if it is long."""
    return repr(text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 1] + "…")


def group_by_kind(questions: Sequence[QuestionResult]) -> Iterator[tuple[str, list[int]]]:
    """Yield the indices of all questions, then those of each kind if there are kinds."""
    yield ALL, list(range(len(questions)))
    by_kind: dict[str, list[int]] = {}
    for index, one in enumerate(questions):
        by_kind.setdefault(one.kind, []).append(index)
    if any(by_kind):
        yield from sorted(by_kind.items())


@dataclass(frozen=True, kw_only=True)
class _GroupScores:
    """A group's scores by one metric, nan for a question without one; ``num_left`` more have not been asked yet."""

    metric: str
    group: str
    values: Float[np.ndarray, " questions"]
    videos: Sequence[Hashable]
    failed: Bool[np.ndarray, " questions"]
    num_left: int


def _metric_score(group: _GroupScores, estimator: Callable[..., Estimate]) -> MetricScore:
    lowest, highest = RANGES[group.metric]
    values, has_score = group.values, ~np.isnan(group.values)
    scored_videos = [video for video, one in zip(group.videos, has_score, strict=True) if one]
    num_scored = int(has_score.sum())
    num_failed = int(group.failed.sum()) + group.num_left
    num_asked = len(values) + group.num_left
    num_unjudged = num_asked - num_scored - num_failed
    limits = {"lowest": lowest, "highest": highest}
    published = estimator(values[has_score], scored_videos, **limits, num_unscored=num_asked - num_scored)
    worst = np.where(has_score, values, lowest)
    strict = estimator(worst, group.videos, **limits)
    low = (float(worst.sum()) + lowest * group.num_left) / num_asked if num_asked else None
    if group.num_left:
        strict = Estimate(value=low, low=None, high=None, num_questions=num_asked, num_clusters=strict.num_clusters)
    return MetricScore(
        metric=group.metric,
        group=group.group,
        published=published,
        strict=strict,
        bound_low=low,
        bound_high=None if low is None else low + (highest - lowest) * num_unjudged / num_asked,
        num_asked=num_asked,
        num_scored=num_scored,
        num_failed=num_failed,
        num_unjudged=num_unjudged,
    )


def _count_reasons(reasons: Iterable[str]) -> dict[str, int]:
    """Count reasons by the part before the first colon, such as an error's name; the most frequent first."""
    return dict(Counter(reason.partition(": ")[0][:MAX_REASON] for reason in reasons).most_common())


def _warnings(scores: Iterable[QuestionScore], num_left: int) -> Iterator[str]:
    if num_left:
        yield f"the run is not finished: {num_left:,} questions have not been asked yet, and count as failed"
    empty = [row.question_id for row in scores if row.score.reason == EMPTY_ANSWER]
    if empty:
        yield (
            f"{len(empty):,} correct answers, such as that of {quoted(empty[0])}, contain no word: "
            f"they have no score by {EXACT_MATCH} or {CONTAINED}"
        )


@dataclass(frozen=True, kw_only=True)
class Retention:
    """The share of the gain from uncompressed video over no video that a run keeps.

    Attributes:
        value: 1 if the run is as good as the uncompressed run, 0 if no better than the one without video; None if it is
            undefined.
        low: lower end of the 95 % interval, by a bootstrap over videos; None if unknown.
        high: upper end; None likewise.
        num_questions: questions with a score in all three runs.
        num_clusters: videos of these questions.
        standard_error: clustered by video; None if unknown.
        reason: why there is no value; empty if there is one.
    """

    value: float | None
    low: float | None
    high: float | None
    num_questions: int = 0
    num_clusters: int = 0
    standard_error: float | None = None
    reason: str = ""


def retention(
    run: Iterable[QuestionScore], uncompressed: Iterable[QuestionScore], no_video: Iterable[QuestionScore]
) -> Retention:
    """Compute (run - no video) / (uncompressed - no video) over the questions with a score in all three runs.

    The interval is a bootstrap over videos, each drawn with its questions in all three runs. There is no interval if in
    more than 5 % of the resamples the uncompressed run is no better than the one without video.

    Args:
        run: scores of a run's questions by one metric.
        uncompressed: those of the run with uncompressed video.
        no_video: those of the run without video.

    Raises:
        ScoringError: the runs have different questions or videos.
    """
    rows = [{row.question_id: row for row in one} for one in (run, uncompressed, no_video)]
    unmatched = [key for one in rows[1:] for key in sorted(one.keys() ^ rows[0].keys())]
    if unmatched:
        raise ScoringError(
            f"the runs have different questions: {quoted(unmatched[0])} is not in all of them", "give runs of one set"
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
    ours, ceiling, floor = sums.sum(axis=0)
    if ceiling <= floor:
        return replace(counts, reason="the uncompressed run is no better than the one without video")
    low, high = bootstrap_interval(sums, _retained) or (None, None)
    return replace(
        counts,
        value=float((ours - floor) / (ceiling - floor)),
        low=low,
        high=high,
        standard_error=linear_standard_error(sums, _retained),
    )


def _retained(totals: Float[np.ndarray, "samples columns"]) -> Float[np.ndarray, " samples"]:
    ours, ceiling, floor = totals.T
    return np.where(ceiling > floor, (ours - floor) / (ceiling - floor), math.nan)

"""Runs with their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.results import Run
from eval.scoring import (
    ALL,
    EXACT_MATCH,
    JUDGE_ACCURACY,
    Judgements,
    MetricScore,
    Summary,
    score_questions,
    summarise,
)
from eval.statistics import QuestionScore


@dataclass(frozen=True, kw_only=True)
class ScoredRun:
    """A run with its judgements, if any, and its scores: a summary, and those of each question by metric."""

    run: Run
    judgements: Judgements | None
    summary: Summary
    question_scores: Mapping[str, tuple[QuestionScore, ...]]

    @property
    def name(self) -> str:
        """The run's name in tables."""
        return self.run.name

    def find(self, metric: str, group: str = ALL) -> MetricScore | None:
        """Find the score by a metric on a group of questions; None if there is none."""
        return next((one for one in self.summary.scores if (one.metric, one.group) == (metric, group)), None)


def score_run(run: Run, judgements: Judgements | None = None, *, allow_unfinished: bool = False) -> ScoredRun:
    """Score a run for a report; arguments and errors are those of :func:`eval.scoring.summarise`."""
    return ScoredRun(
        run=run,
        judgements=judgements,
        summary=summarise(run, judgements, allow_unfinished=allow_unfinished),
        question_scores=score_questions(run, judgements),
    )


def leading_metric(runs: Sequence[ScoredRun]) -> str:
    """The metric that comes first: judge accuracy if one judge judged all runs, else exact match."""
    judges = {one.summary.judge["fingerprint"] if one.summary.judge else None for one in runs}
    return EXACT_MATCH if None in judges or len(judges) > 1 else JUDGE_ACCURACY


def flatten_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to one level, with names joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten_settings(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def package_versions(run: Run) -> dict[str, str]:
    """The versions of the packages that produced a run; several if it was resumed after an update."""
    versions: dict[str, dict[str, None]] = {}
    for one in run.results:
        of_result = one.trace.get("versions")
        if isinstance(of_result, Mapping):
            for name, version in of_result.items():
                versions.setdefault(str(name), {})[str(version)] = None
    return {name: " and ".join(several) for name, several in versions.items()}

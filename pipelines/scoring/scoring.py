"""Scoring and comparing runs, from their folders."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from eval.agreement import Agreement, measure_agreement
from eval.comparing import Comparison, compare
from eval.results import Run
from eval.scoring import (
    EXACT_MATCH,
    JUDGE_ACCURACY,
    Judgements,
    Retention,
    Summary,
    retention,
    score_questions,
    summarise,
)
from pipelines.scoring.judging import REPLIES, JudgeSettings, judge_run, replay_judge
from pipelines.scoring.loading import load_run
from vidzip.errors import BadArgument
from vidzip.files import write_text

SCORES = "scores.json"
"""Name of the file of scores in a run's folder."""

EXACT_MATCH_JUDGE = "exact-match"
"""Stands for exact match where a judge is named."""


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    """How runs are scored.

    Attributes:
        judge: the judge, if any.
        uncompressed: folder of the run with uncompressed video, for retention.
        no_video: folder of the run without video, for retention.
        intervals: in :data:`eval.scoring.INTERVALS`.
        allow_unfinished: accept runs that are not finished.

    Raises:
        BadArgument: only one of the two runs for retention is given.
    """

    judge: JudgeSettings = field(default_factory=JudgeSettings)
    uncompressed: str | None = None
    no_video: str | None = None
    intervals: str = "wilson"
    allow_unfinished: bool = False

    def __post_init__(self) -> None:
        if (self.uncompressed is None) != (self.no_video is None):
            raise BadArgument("retention needs --uncompressed and --no-video", hint="give both")


@dataclass(frozen=True, kw_only=True)
class RunScores:
    """The scores of a run, and its retentions by metric with the names of the two runs for retention, if given."""

    summary: Summary
    retentions: Mapping[str, Retention]
    uncompressed: str | None = None
    no_video: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON data."""
        data = self.summary.to_json()
        if self.retentions:
            data["retention"] = {
                "uncompressed": self.uncompressed,
                "no_video": self.no_video,
                "metrics": {metric: asdict(one) for metric, one in self.retentions.items()},
            }
        return data


def score_folders(
    folders: Sequence[str], settings: ScoreSettings, confirm_cost: Callable[[str], None]
) -> Iterator[RunScores]:
    """Score runs, and write :data:`SCORES` into their folders; :func:`judge_run` explains ``confirm_cost``.

    Raises:
        ScoringError: a run cannot be scored.
        JudgeError: the judge cannot judge.
    """

    def load(folder: str) -> tuple[Run, Judgements | None]:
        run = load_run(folder)
        return run, judge_run(run, folder, settings.judge, confirm_cost)

    loaded = {folder: load(folder) for folder in folders}
    references = [
        loaded.get(folder) or load(folder)
        for folder in (settings.uncompressed, settings.no_video)
        if folder is not None
    ]
    names = [run.name for run, _ in references]
    reference_scores = [score_questions(*one) for one in references]
    for folder, one in loaded.items():
        summary = summarise(*one, intervals=settings.intervals, allow_unfinished=settings.allow_unfinished)
        scores = RunScores(summary=summary, retentions={})
        if references:
            ceiling, floor = reference_scores
            retentions = {
                metric: retention(rows, ceiling[metric], floor[metric])
                for metric, rows in score_questions(*one).items()
                if metric in ceiling and metric in floor
            }
            scores = RunScores(summary=summary, retentions=retentions, uncompressed=names[0], no_video=names[1])
        write_text(os.path.join(folder, SCORES), json.dumps(scores.to_json(), indent=1) + "\n")
        yield scores


def compare_folders(
    first: str,
    second: str,
    metric: str,
    judge: JudgeSettings,
    *,
    is_strict: bool = False,
    allow_different_questions: bool = False,
) -> Comparison:
    """Compare two runs as :func:`eval.comparing.compare` does, with kept replies if the metric needs a judge.

    Raises:
        BadArgument: a judge is named, and the metric needs none.
        ScoringError: the runs cannot be compared.
        JudgeError: there are no such replies.
    """
    needs_judge = metric.startswith("judge")
    if not needs_judge and judge != JudgeSettings():
        raise BadArgument(
            f"--metric {metric.replace(' ', '-')} needs no judge",
            hint="use judge-accuracy or judge-score, or remove the judge",
        )
    runs = load_run(first), load_run(second)
    judgements = None
    if needs_judge:
        judgements = _kept_judgements(runs[0], first, judge), _kept_judgements(runs[1], second, judge)
    return compare(
        *runs,
        metric,
        judgements=judgements,
        is_strict=is_strict,
        allow_different_questions=allow_different_questions,
    )


def compare_judges(folder: str, judges: tuple[str, str], replay: str | None = None) -> Agreement:
    """Measure the agreement between two judges on a run, or a judge and exact match, from kept replies.

    Args:
        folder: the run's folder.
        judges: models or fingerprints, or :data:`EXACT_MATCH_JUDGE`.
        replay: file of kept replies; :data:`REPLIES` in the folder when None.

    Raises:
        BadArgument: the two judges are the same.
        ScoringError: no answer has a verdict of both.
        JudgeError: there are no such replies.
    """
    if judges[0] == judges[1]:
        raise BadArgument(f"both judges are {judges[0]!r}", hint="name two different ones")
    run = load_run(folder)
    first, second = (
        score_questions(run)[EXACT_MATCH]
        if name == EXACT_MATCH_JUDGE
        else score_questions(run, _kept_judgements(run, folder, JudgeSettings(model=name, replay=replay)))[
            JUDGE_ACCURACY
        ]
        for name in judges
    )
    return measure_agreement(run, judges, (first, second))


def _kept_judgements(run: Run, folder: str, judge: JudgeSettings) -> Judgements:
    return replay_judge(run, judge.replay or os.path.join(folder, REPLIES), judge.model)

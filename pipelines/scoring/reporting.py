"""Reports of runs, from their folders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import vidzip
from eval.reporting import Report, ScoredRun, choose_examples, make_chapters, score_run
from pipelines.scoring.example_frames import find_input_frames
from pipelines.scoring.judging import REPLIES, JudgeSettings, replay_judge
from pipelines.scoring.loading import load_run
from pipelines.terminal import Progress


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """What a report contains.

    Attributes:
        runs: folders of the runs.
        uncompressed: folders of runs with uncompressed video, one per set, for retention.
        no_video: folders of runs without video, one per set, for retention.
        videos: folder of the videos, to show the frames of examples.
        packs: folder of packed videos, to show the patches of these frames.
        num_examples: limit on the examples of each category.
        allow_unfinished: accept runs that are not finished.
        judge: the judge whose replies are kept, and the file if it is another than :data:`REPLIES`.
        title: the report's heading.
    """

    runs: Sequence[str]
    uncompressed: Sequence[str] = ()
    no_video: Sequence[str] = ()
    videos: str | None = None
    packs: str | None = None
    num_examples: int = 3
    allow_unfinished: bool = False
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    title: str = "Video question answering"


def make_report(settings: ReportSettings, progress: Progress) -> Report:
    """Load, score and compare runs. No judge is asked: kept replies are used if there are any.

    Raises:
        ScoringError: runs cannot be scored, or their sets do not match.
        JudgeError: there are no replies of the judge.
    """
    folders = dict.fromkeys((*settings.runs, *settings.uncompressed, *settings.no_video))
    scored = {folder: _score(folder, settings, progress) for folder in folders}
    progress("compare runs", 0, 1)
    chapters = make_chapters(
        _with_unique_names({folder: scored[folder] for folder in settings.runs}),
        uncompressed=[scored[folder] for folder in settings.uncompressed],
        no_video=[scored[folder] for folder in settings.no_video],
    )
    with_examples = []
    for chapter in chapters:
        chosen = replace(chapter, examples=choose_examples(chapter.runs, settings.num_examples))
        selections = find_input_frames(chosen, settings.videos, settings.packs, progress)
        with_examples.append(replace(chosen, input_frames=selections))
    return Report(title=settings.title, made_by=f"vidzip {vidzip.__version__}", chapters=tuple(with_examples))


def _score(folder: str, settings: ReportSettings, progress: Progress) -> ScoredRun:
    progress(f"score {os.path.basename(folder)}", 0, 1)
    run, judge = load_run(folder), settings.judge
    replies = judge.replay or os.path.join(folder, REPLIES)
    has_judge = judge != JudgeSettings() or os.path.exists(replies)
    judgements = replay_judge(run, replies, judge.model) if has_judge else None
    return score_run(run, judgements, allow_unfinished=settings.allow_unfinished)


def _with_unique_names(runs: dict[str, ScoredRun]) -> list[ScoredRun]:
    """Name runs by their whole paths if the names of their folders are the same."""
    counts = Counter(scored.name for scored in runs.values())
    return [
        scored if counts[scored.name] == 1 else replace(scored, run=replace(scored.run, name=folder))
        for folder, scored in runs.items()
    ]

"""VisionZip's Table 3: its rows on the four question sets, and more frames with the same budget."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipelines.runs.settings import (
    NO_VIDEO,
    UNCOMPRESSED,
    FrameSelection,
    FrameSettings,
    QuestionSettings,
    RunSettings,
)
from pipelines.terminal import Progress
from vidzip import Budget

if TYPE_CHECKING:
    from eval.scoring import Summary
    from pipelines.runs.executing import RunResult
    from pipelines.scoring.judging import JudgeSettings
    from vidzip import VideoModel

SETS = {"tgif": "tgif-mixture", "msvd": "msvd", "msrvtt": "msrvtt", "activitynet": "activitynet"}
"""Question sets by column: those of Video-LLaVA's files. The data folder has one folder for each column."""

ORIGINAL = "LanguageBind/Video-LLaVA-7B"
"""The model of the paper."""


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A row of the table.

    Attributes:
        key: its name on the command line and the name of its folders.
        title: its name in the table.
        system: its name in :data:`eval.reporting.literature.LITERATURE`; empty for a row that is not in the paper.
        frames: frame selection of its runs; None for a method that vidzip does not have.
    """

    key: str
    title: str
    system: str = ""
    frames: FrameSelection | None = None


def _visionzip(frames: int) -> FrameSettings:
    return FrameSettings(budget=Budget(num_frames=frames))


BASELINE_ROW = TableRow(
    key=UNCOMPRESSED,
    title="8 uncompressed frames",
    system="Video-LLaVA 7B, as VisionZip's baseline",
    frames=UNCOMPRESSED,
)
ROWS = (
    BASELINE_ROW,
    TableRow(key=NO_VIDEO, title="no video", frames=NO_VIDEO),
    TableRow(key="fastv", title="FastV", system="FastV"),
    TableRow(key="sparsevlm", title="SparseVLM", system="SparseVLM"),
    TableRow(key="visionzip", title="VisionZip, 8 frames, 136 tokens", system="VisionZip", frames=_visionzip(8)),
    *(
        TableRow(key=f"frames-{count}", title=f"VisionZip, {count} frames, 136 tokens", frames=_visionzip(count))
        for count in (17, 34, 68)
    ),
)


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """Settings of a table.

    Attributes:
        data: folder with a folder for each set.
        out: folder of the runs: a folder for each set, and in it one for each row.
        run: what all runs have in common, without the questions' name and folder.
        judge: the judge, if any.
    """

    data: str
    out: str
    sets: Sequence[str]
    rows: Sequence[TableRow]
    run: RunSettings
    judge: JudgeSettings

    @property
    def metric(self) -> str:
        """Name of the accuracy in the table."""
        is_judged = self.judge.model is not None or self.judge.replay is not None
        return "judge accuracy" if is_judged else "exact match"

    def questions(self, name: str) -> QuestionSettings:
        """Return which questions of a set are asked."""
        return replace(self.run.questions, name=SETS[name], data=os.path.join(self.data, name))

    def folder(self, name: str, row: TableRow) -> str:
        """Return the folder of a row's run on a set."""
        return os.path.join(self.out, name, row.key)


@dataclass(frozen=True, kw_only=True)
class SetAvailability:
    """What this machine has of a question set.

    Attributes:
        name: the set's column.
        num_published: number of questions of the published set.
        problem: why its questions cannot be read; empty if they can.
        num_questions: number of questions of all videos.
        num_asked: number of questions that each row asks.
        num_videos: number of videos that they are about.
        num_missing_videos: number of those without a file.
        num_done: number of answers that the rows have already.
    """

    name: str
    num_published: int
    problem: str = ""
    num_questions: int = 0
    num_asked: int = 0
    num_videos: int = 0
    num_missing_videos: int = 0
    num_done: int = 0


def check_set(settings: TableSettings, name: str) -> SetAvailability:
    """Check what this machine has of a set, without opening a video."""
    from eval.datasets import SETS as KNOWN_SETS
    from eval.datasets import DatasetError
    from pipelines.runs.questions import by_video, find_videos, read_questions
    from pipelines.runs.run_log import RunMismatch, read_run

    questions, num_published = settings.questions(name), KNOWN_SETS[SETS[name]].published.questions
    try:
        num_questions = len(read_questions(replace(questions, subset=None, limit=None)))
        samples, videos = read_questions(questions), find_videos(questions)
    except DatasetError as error:
        return SetAvailability(name=name, num_published=num_published, problem=str(error))
    asked, num_missing, num_done = by_video(samples), 0, 0
    for video in asked:
        try:
            videos.find(video)
        except DatasetError:
            num_missing += 1
    for row in settings.rows:
        with suppress(RunMismatch):  # the run does not exist yet
            num_done += len(read_run(settings.folder(name, row))[1])
    return SetAvailability(
        name=name,
        num_published=num_published,
        num_questions=num_questions,
        num_asked=len(samples),
        num_videos=len(asked),
        num_missing_videos=num_missing,
        num_done=num_done,
    )


def missing(settings: TableSettings, sets: Sequence[SetAvailability]) -> Iterator[str]:
    """List what the table cannot be made without, and this machine does not have."""
    from vidzip.models.loading import is_available

    for one in sets:
        if one.problem:
            yield f"{one.name}: {one.problem}"
        elif one.num_missing_videos:
            yield f"{one.name}: {one.num_missing_videos:,} of {one.num_videos:,} videos have no file"
    model = settings.run.model
    if not is_available(model.name_or_default, model.revision):
        yield f"the model {model.name_or_default} is not on this machine"


def deviations(settings: TableSettings, sets: Sequence[SetAvailability]) -> Iterator[str]:
    """List what makes the table differ from the paper's."""
    import torch

    for one in sets:
        if not one.problem and one.num_asked != one.num_published:
            yield f"{one.name}: {one.num_asked:,} questions are asked, and the published set has {one.num_published:,}"
    if settings.run.model.name != ORIGINAL:
        yield f"the model is {settings.run.model.name_or_default}, and the paper's is {ORIGINAL}"
    if settings.metric != "judge accuracy":
        yield "no --judge is given: exact match takes the place of the paper's judge accuracy"
    if not torch.cuda.is_available():
        yield "this machine has no GPU"


def run_rows(settings: TableSettings, name: str, progress: Progress, model: VideoModel | None) -> dict[str, RunResult]:
    """Run the rows that vidzip has on one set; return the results by row key. Interrupted runs resume."""
    from pipelines.runs.executing import execute_runs

    run = replace(settings.run, questions=settings.questions(name))
    frames = {row.key: row.frames for row in settings.rows if row.frames is not None}
    folders = {row.key: settings.folder(name, row) for row in settings.rows}
    results = execute_runs(run, {folders[key]: one for key, one in frames.items()}, progress, model=model)
    return {key: results[folders[key]] for key in frames}


def score_rows(settings: TableSettings, name: str, confirm_cost: Callable[[str], None]) -> dict[str, Summary]:
    """Score the runs of a set, with the judge if there is one and its cost is confirmed; return the scores by row key."""
    from eval.scoring import summarise
    from pipelines.scoring.judging import judge_run
    from pipelines.scoring.loading import load_run

    scores = {}
    for row in settings.rows:
        if row.frames is not None:
            folder = settings.folder(name, row)
            run = load_run(folder)
            scores[row.key] = summarise(run, judge_run(run, folder, settings.judge, confirm_cost))
    return scores


def compare_with_paper(
    summaries: Mapping[str, Mapping[str, Summary]], sets: Sequence[str], rows: Sequence[TableRow]
) -> list[list[str]]:
    """Make the lines of the table: for each row accuracies with intervals, and below them the paper's figures.

    Args:
        summaries: scores by set and row.
        sets: the columns.
        rows: the rows.
    """
    from eval.reporting.literature import LITERATURE

    paper = {(one.system, one.family): one.accuracy for one in LITERATURE}
    measured = {
        (row, name): _accuracy(summary) for name, of_set in summaries.items() for row, summary in of_set.items()
    }
    lines = []
    for row in rows:
        if row.frames is None:
            lines.append([f"{row.title} (not in vidzip yet)", *("" for _ in sets), ""])
        else:
            cells = [measured.get((row.key, name), (None, "-")) for name in sets]
            baseline = [measured.get((BASELINE_ROW.key, name), (None, "-"))[0] for name in sets]
            share = _mean_share([value for value, _ in cells], baseline)
            lines.append([row.title, *(text for _, text in cells), share])
        if row.system:
            figures = [paper[row.system, name] for name in sets]
            share = _mean_share(figures, [paper[BASELINE_ROW.system, name] for name in sets])
            lines.append(["  the paper's", *(f"{figure:.1f}" for figure in figures), share])
    return lines


def _accuracy(summary: Summary) -> tuple[float | None, str]:
    from eval.reporting.formatting import format_interval
    from eval.scoring import ALL, EXACT_MATCH, JUDGE_ACCURACY

    metric = JUDGE_ACCURACY if summary.judge else EXACT_MATCH
    (one,) = (one.published for one in summary.scores if one.metric == metric and one.group == ALL)
    return None if one.value is None else 100 * one.value, format_interval(one)


def _mean_share(accuracies: Sequence[float | None], baseline: Sequence[float | None]) -> str:
    """Average over sets the accuracy as a share of the baseline's, in percent, as the paper does; empty if one is missing."""
    shares = [one / whole for one, whole in zip(accuracies, baseline, strict=True) if one is not None and whole]
    return f"{100 * sum(shares) / len(shares):.1f}" if len(shares) == len(accuracies) else ""

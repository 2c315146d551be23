"""``vidzip reproduce-table3``: the rows of VisionZip's Table 3 on the four sets, and more frames at the same budget."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from pipelines.files import write_text
from pipelines.options import answer_option, debug_option, decoding_options, model_options
from pipelines.scoring.judging import judge_options, judged
from pipelines.terminal import print_line, print_markdown_table, print_message, print_table, progress_bar
from vidzip.errors import BadArgument, VidzipError

if TYPE_CHECKING:
    from eval.scoring import Summary

SETS = {"tgif": "tgif-mixture", "msvd": "msvd", "msrvtt": "msrvtt", "activitynet": "activitynet"}
"""The table's columns, each a folder of ``--data``, and the question set that is asked: those of Video-LLaVA's files."""

ORIGINAL = "LanguageBind/Video-LLaVA-7B"
"""The model of the paper."""

RESULT = "table3.json"


class NotAtHand(VidzipError):
    """Something that the table needs is not on this machine."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table.

    Attributes:
        key: what the command line and the folders call it.
        title: what the table calls it.
        system: what :data:`eval.reporting.literature.LITERATURE` calls it; empty for a row that is not in the paper.
        options: of 'vidzip eval'; None for a method that vidzip does not have.
    """

    key: str
    title: str
    system: str = ""
    options: Mapping[str, Any] | None = field(default_factory=dict)


FULL = "full"

ROWS = (
    Row(key=FULL, title="8 full frames", system="Video-LLaVA 7B, as VisionZip's baseline", options={"full": True}),
    Row(key="blind", title="no video", options={"blind": True}),
    Row(key="fastv", title="FastV", system="FastV", options=None),
    Row(key="sparsevlm", title="SparseVLM", system="SparseVLM", options=None),
    Row(key="visionzip", title="VisionZip, 8 frames, 136 tokens", system="VisionZip", options={"frames": 8}),
    *(
        Row(key=f"frames-{frames}", title=f"VisionZip, {frames} frames, 136 tokens", options={"frames": frames})
        for frames in (17, 34, 68)
    ),
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What of the table is asked for.

    Attributes:
        data: holds a folder for each set.
        out: where the runs lie: a folder for each set, and in it one for each row.
        sets: columns, names in :data:`SETS`.
        rows: in the table's order.
        options: of 'vidzip eval' and of the judge.
    """

    data: str
    out: str
    sets: Sequence[str]
    rows: Sequence[Row]
    options: Mapping[str, Any]

    @property
    def metric(self) -> str:
        """What accuracies are of."""
        is_judged = self.options["judge"] is not None or self.options["judge_replay"] is not None
        return "judge accuracy" if is_judged else "exact match"


@dataclass(frozen=True, kw_only=True)
class There:
    """What of a set is on this machine.

    Attributes:
        name: the set's column.
        problem: why its questions cannot be read; empty where they can.
        questions: how many there are.
        asked: how many of them are asked at each row.
        published: how many there should be.
        videos: how many are asked about.
        missing_videos: those without a file.
        done: answers that the rows have already.
    """

    name: str
    problem: str
    questions: int = 0
    asked: int = 0
    published: int = 0
    videos: int = 0
    missing_videos: int = 0
    done: int = 0


@click.command(name="reproduce-table3")
@click.option("--data", metavar="DIR", required=True, type=click.Path(), help=f"A folder a set: {', '.join(SETS)}.")
@click.option(
    "--out", metavar="DIR", required=True, type=click.Path(), help="Where the runs lie; a second start goes on."
)
@click.option("--sets", metavar="NAME,...", default=",".join(SETS), show_default=True, help="The columns.")
@click.option(
    "--rows", metavar="NAME,...", default=",".join(row.key for row in ROWS), show_default=True, help="The rows."
)
@click.option("--subset", metavar="firstN", help="The first N questions of each set, in file order.")
@click.option("--limit", type=int, metavar="N", help="The first N videos of each set.")
@click.option("--gpus", metavar="all|N", help="Devices that share the work, a process each.")
@click.option("--dry-run", is_flag=True, help="Say what is there and what is missing, and run nothing.")
@click.option("--markdown", is_flag=True, help="Print the table in Markdown.")
@model_options
@decoding_options
@answer_option
@judge_options
@debug_option
def table3_command(*, data: str, out: str, sets: str, rows: str, dry_run: bool, markdown: bool, **options: Any) -> None:
    """Run the rows of VisionZip's Table 3, and set them beside the paper's figures.

    DIR holds a folder for each set, with its questions and a folder 'videos'. Accuracies are a judge's with --judge, as
    the paper's are; exact match without one.
    """
    keys = _named(rows, [row.key for row in ROWS], "--rows")
    request = Request(
        data=data,
        out=out,
        sets=_named(sets, list(SETS), "--sets"),
        rows=[row for row in ROWS if row.key in keys],
        options={**options, "model": options["model"] or ORIGINAL},
    )
    there = [look(request, name) for name in request.sets]
    missing, doubts = list(_missing(request, there)), list(_doubts(request, there))
    if dry_run:
        _print_plan(request, there, [*missing, *doubts])
        return
    if missing:
        raise NotAtHand(missing[0], hint="--dry-run lists all that is missing; --sets and --rows leave some out")
    for doubt in doubts:
        print_message("warning", doubt)
    summaries = run_all(request)
    record = {
        "schema": "vidzip/table3/1",
        "model": request.options["model"],
        "metric": request.metric,
        "rows": {key: {name: one.to_json() for name, one in of.items()} for key, of in summaries.items()},
    }
    path = os.path.join(out, RESULT)
    write_text(path, json.dumps(record, indent=1) + "\n")
    print_line(f"{request.metric} in percent, with 95 % intervals clustered by video; below it the paper's figure\n")
    lines = compare_with_paper(summaries, request.sets, request.rows)
    (print_markdown_table if markdown else print_table)(lines, ("row", *request.sets, "mean share of full"))
    print_line(f"\n{path} holds all of it, with both denominators")


def look(request: Request, name: str) -> There:
    """See what of a set is there, without opening a video."""
    from eval.datasets import SETS as KNOWN
    from eval.datasets import DatasetError, list_videos, load, subset
    from pipelines.evaluation.command import limited, videos_of
    from pipelines.evaluation.running import by_video

    folder, subset_name = os.path.join(request.data, name), request.options["subset"]
    known = KNOWN[SETS[name]]
    try:
        samples = load(folder, SETS[name])
        chosen = limited(subset(samples, subset_name) if subset_name else samples, request.options["limit"])
        videos = by_video(chosen)
        listed = list_videos(videos_of(folder), known, annotations=folder)
    except DatasetError as error:
        return There(name=name, problem=str(error), published=known.published.questions)
    num_missing = 0
    for video in videos:
        try:
            listed.find(video)
        except DatasetError:
            num_missing += 1
    return There(
        name=name,
        problem="",
        questions=len(samples),
        asked=len(chosen),
        published=known.published.questions,
        videos=len(videos),
        missing_videos=num_missing,
        done=sum(_num_done(os.path.join(request.out, name, row.key)) for row in request.rows),
    )


def run_all(request: Request) -> dict[str, dict[str, Summary]]:
    """Run and score every row on every set; what was run before is not run again.

    Returns:
        Scores by row and set.
    """
    from eval.scoring import summarise
    from pipelines.evaluation.command import eval_command, evaluate, load_model
    from pipelines.scoring.runs import read

    scored: dict[str, dict[str, Summary]] = {}
    options, model = request.options, None
    for row in request.rows:
        if row.options is None:
            continue
        for name in request.sets:
            folder = os.path.join(request.out, name, row.key)
            asked = [SETS[name], "--data", os.path.join(request.data, name), "--out", folder]
            usual = eval_command.make_context("eval", asked).params
            wanted = {key: value for key, value in options.items() if key in usual}
            with progress_bar() as show:
                if model is None and options["gpus"] is None:
                    model = load_model(options, show)
                report = evaluate({**usual, **wanted, **row.options}, show, model)
            for kind, count in report["failures"].items():
                print_message("warning", f"{name}, {row.title}: {count:,} questions have no answer: {kind}")
            run = read(folder)
            scored.setdefault(row.key, {})[name] = summarise(run, judged(run, folder, options))
    return scored


def compare_with_paper(
    summaries: Mapping[str, Mapping[str, Summary]], sets: Sequence[str], rows: Sequence[Row]
) -> list[list[str]]:
    """The table's lines: a row's accuracies with intervals, and below them the paper's figures."""
    from eval.reporting.literature import LITERATURE

    paper = {(one.system, one.family): one.accuracy for one in LITERATURE}
    lines = []
    for row in rows:
        ours = {name: _accuracy(one) for name, one in summaries.get(row.key, {}).items()}
        if row.options is None:
            lines.append([f"{row.title} (not in vidzip yet)", *("" for _ in sets), ""])
        else:
            full = {name: _accuracy(one)[0] for name, one in summaries.get(FULL, {}).items()}
            values = {name: value for name, (value, _) in ours.items()}
            lines.append([row.title, *(ours.get(name, (None, "-"))[1] for name in sets), _share(values, full, sets)])
        if row.system:
            figures = {name: paper[row.system, name] for name in sets}
            whole = {name: paper[ROWS[0].system, name] for name in sets}
            lines.append(["  the paper's", *(f"{figures[name]:.1f}" for name in sets), _share(figures, whole, sets)])
    return lines


def _accuracy(summary: Summary) -> tuple[float | None, str]:
    from eval.reporting.texts import interval
    from eval.scoring import ALL, EXACT_MATCH, JUDGE_ACCURACY

    metric = JUDGE_ACCURACY if summary.judge else EXACT_MATCH
    (one,) = (one.published for one in summary.measured if one.metric == metric and one.group == ALL)
    return None if one.value is None else 100 * one.value, interval(one)


def _share(ours: Mapping[str, float | None], full: Mapping[str, float | None], sets: Sequence[str]) -> str:
    """The mean over sets of what is kept of the full frames' accuracy, in percent, as the paper averages it."""
    pairs = [(ours.get(name), full.get(name)) for name in sets]
    shares = [one / whole for one, whole in pairs if one is not None and whole]
    return f"{100 * sum(shares) / len(shares):.1f}" if len(shares) == len(pairs) else ""


def _missing(request: Request, there: Sequence[There]) -> Iterator[str]:
    """What the table cannot be made without, a sentence each."""
    from vidzip.models.loading import is_at_hand

    for one in there:
        if one.problem:
            yield f"{one.name}: {one.problem}"
        elif one.missing_videos:
            yield f"{one.name}: {one.missing_videos:,} of {one.videos:,} videos have no file"
    model = request.options["model"]
    if not is_at_hand(model, request.options["revision"]):
        yield f"the model {model} is not on this machine"


def _doubts(request: Request, there: Sequence[There]) -> Iterator[str]:
    """What makes the table another one than the paper's, a sentence each."""
    import torch

    for one in there:
        if not one.problem and one.asked != one.published:
            yield f"{one.name}: {one.asked:,} questions are asked, and the published set has {one.published:,}"
    if request.options["model"] != ORIGINAL:
        yield f"the model is {request.options['model']}, and the paper's is {ORIGINAL}"
    if request.metric != "judge accuracy":
        yield "no --judge is named: exact match would stand where the paper has a judge's accuracy"
    if not torch.cuda.is_available():
        yield "no GPU is at hand"


def _print_plan(request: Request, there: Sequence[There], missing: Sequence[str]) -> None:
    ours = [row for row in request.rows if row.options is not None]
    lines: list[tuple[str, ...]] = []
    for one in there:
        if one.problem:
            lines.append((one.name, SETS[one.name], f"none of {one.published:,}", "", ""))
            continue
        lines.append(
            (
                one.name,
                SETS[one.name],
                f"{one.questions:,} of {one.published:,}",
                f"{one.videos - one.missing_videos:,} of {one.videos:,}",
                f"{one.done:,} of {one.asked * len(ours):,}",
            )
        )
    print_table(lines, ("column", "question set", "questions", "videos", "answers"))
    print_line()
    for row in request.rows:
        note = "" if row in ours else " (not in vidzip yet: the paper's figures alone)"
        print_line(f"row {row.key}: {row.title}{note}")
    print_line()
    for sentence in missing or ["nothing"]:
        print_line(f"missing: {sentence}")


def _num_done(folder: str) -> int:
    """How many questions of a run have a line."""
    from pipelines.evaluation.journal import OtherRun, read_run

    if not os.path.isdir(folder):
        return 0
    try:
        return len(read_run(folder)[1])
    except OtherRun:
        return 0


def _named(text: str, known: Sequence[str], flag: str) -> list[str]:
    """Read a list of names, in the order in which they are known."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise BadArgument(
            f"{flag} names {unknown[0]!r}" if unknown else f"{flag} names nothing", hint=f"use {', '.join(known)}"
        )
    return [name for name in known if name in names]

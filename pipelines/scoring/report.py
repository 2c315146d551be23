"""``vidzip report``."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

import vidzip
from pipelines.options import debug_option
from pipelines.scoring.judging import REPLIES, judged
from pipelines.terminal import Progress, format_bytes, print_line, print_message, progress_bar
from vidzip.errors import BadArgument, VidzipError
from vidzip.files import write_text

if TYPE_CHECKING:
    from eval.reporting import Chapter, Report, ScoredRun


class BadReport(VidzipError):
    """Runs that cannot be reported on."""


@click.command(name="report")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path())
@click.option("-o", "--out", metavar="FILE", required=True, type=click.Path(), help="Page to write: NAME.html.")
@click.option("--videos", metavar="DIR", type=click.Path(), help="Folder of the videos, to show the examples' frames.")
@click.option(
    "--packs",
    metavar="DIR",
    type=click.Path(),
    help="Folder of packed videos (vidzip eval --pack-cache), to show what became of the patches.",
)
@click.option(
    "--examples",
    type=click.IntRange(min=0),
    metavar="N",
    default=3,
    show_default=True,
    help="Questions of each sort: where runs differ, unanswered, wrong, right.",
)
@click.option(
    "--full", metavar="RUN", multiple=True, type=click.Path(), help="A set's run of whole frames, for retention."
)
@click.option("--blind", metavar="RUN", multiple=True, type=click.Path(), help="Its run without videos, for retention.")
@click.option("--unfinished", is_flag=True, help="Take runs that are not finished; what is missing counts as failed.")
@click.option("--judge", metavar="NAME", help="Model or fingerprint, where replies of several judges are kept.")
@click.option(
    "--judge-replay",
    metavar="FILE",
    type=click.Path(),
    help=f"Kept replies of judges.  [default: RUN/{REPLIES}, where there is one]",
)
@click.option("--json", "json_file", metavar="FILE", type=click.Path(), help="Write all numbers as JSON, too.")
@click.option(
    "--markdown", "markdown_file", metavar="FILE", type=click.Path(), help="Write the tables as Markdown, too."
)
@click.option("--title", metavar="TEXT", default="Video question answering", show_default=True)
@debug_option
def report_command(
    *,
    runs: tuple[str, ...],
    out: str,
    videos: str | None,
    packs: str | None,
    examples: int,
    full: tuple[str, ...],
    blind: tuple[str, ...],
    unfinished: bool,
    judge: str | None,
    judge_replay: str | None,
    json_file: str | None,
    markdown_file: str | None,
    title: str,
) -> None:
    """Write runs of 'vidzip eval' side by side into one page.

    The page loads nothing and runs nothing: it can be sent, printed and kept. A judge is not asked again: its kept
    replies are taken.
    """
    from eval.reporting import Report, to_html, to_json, to_markdown

    wanted = ((out, to_html), (json_file, to_json), (markdown_file, to_markdown))
    written = [(file, write) for file, write in wanted if file is not None]
    if len({os.path.realpath(file) for file, _ in written}) < len(written):
        raise BadArgument("two of the files to write are one", hint="give each a name of its own")
    options = {"unfinished": unfinished, "judge": judge, "judge_replay": judge_replay}
    with progress_bar() as show:
        chapters = tuple(
            _with_examples(chapter, examples, videos, packs, show)
            for chapter in _chapters((runs, full, blind), options, show)
        )
    report = Report(title=title, made_by=f"vidzip {vidzip.__version__}", chapters=chapters)
    for file, write in written:
        write_text(file, write(report))
        print_line(f"{file} holds {_told(report)} ({format_bytes(os.path.getsize(file))})")
    _warn(report)


def _chapters(
    folders: tuple[Sequence[str], Sequence[str], Sequence[str]], options: dict[str, Any], show: Progress
) -> tuple[Chapter, ...]:
    """Read and score the runs, those of whole frames and those without videos, and sort them by question set."""
    from eval.reporting import make_chapters
    from eval.scoring import ScoringError

    runs, full, blind = folders
    try:
        opened = {folder: _scored(folder, options, show) for folder in dict.fromkeys((*runs, *full, *blind))}
        show("compare runs", 0, 1)
        return make_chapters(
            _distinct([(folder, opened[folder]) for folder in dict.fromkeys(runs)]),
            uncompressed=[opened[folder] for folder in full],
            no_video=[opened[folder] for folder in blind],
        )
    except ScoringError as error:
        raise BadReport(error.message, hint=error.hint) from error


def _scored(folder: str, options: dict[str, Any], show: Progress) -> ScoredRun:
    from eval.reporting import score_run
    from pipelines.scoring.runs import read

    show(f"score {os.path.basename(folder)}", 0, 1)
    run = read(folder)
    replies = options["judge_replay"] or os.path.join(folder, REPLIES)
    found = None
    if options["judge_replay"] or options["judge"] or os.path.exists(replies):
        asked: defaultdict[str, Any] = defaultdict(lambda: None)
        asked.update(judge=options["judge"], judge_replay=replies)
        found = judged(run, folder, asked, show)
    return score_run(run, found, allow_unfinished=options["unfinished"])


def _distinct(opened: Sequence[tuple[str, ScoredRun]]) -> list[ScoredRun]:
    """Call runs by their folders' whole paths where the last parts are the same."""
    counts = Counter(scored.name for _, scored in opened)
    return [
        scored if counts[scored.name] == 1 else replace(scored, run=replace(scored.run, name=folder))
        for folder, scored in opened
    ]


def _with_examples(chapter: Chapter, number: int, videos: str | None, packs: str | None, show: Progress) -> Chapter:
    from eval.reporting import choose_examples
    from pipelines.scoring.pictures import find_frame_selections

    chosen = replace(chapter, examples=choose_examples(chapter.runs, number))
    return replace(chosen, frame_selections=find_frame_selections(chosen, videos, packs, show))


def _told(report: Report) -> str:
    num_runs = sum(len(chapter.runs) for chapter in report.chapters)
    num_sets = len(report.chapters)
    return f"{num_runs} run{'s'[: num_runs > 1]} of {'one set' if num_sets == 1 else f'{num_sets} sets'}"


def _warn(report: Report) -> None:
    """Say what the page says, too, where it is not what was asked for."""
    for chapter in report.chapters:
        for each in chapter.runs:
            for warning in each.summary.warnings:
                print_message("warning", f"{each.name[:80]}: {warning}")
        for difference in chapter.differences:
            if difference.refusal:
                print_message("warning", f"{difference.run[:80]} is not compared: {difference.refusal}")
        selections = {id(one): one for one in chapter.frame_selections.values()}  # shared by questions about a video
        for note, count in Counter(note for one in selections.values() for note in one.notes).items():
            print_message("note", f"an example's video: {note}" if count == 1 else f"{count} examples' videos: {note}")

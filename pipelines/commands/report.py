"""``vidzip report``."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

import click

from pipelines.options import debug_option
from pipelines.scoring.judging import JudgeSettings
from pipelines.scoring.options import takes_replay
from pipelines.terminal import format_bytes, print_line, print_message, progress_bar
from vidzip.errors import BadArgument
from vidzip.files import write_text

if TYPE_CHECKING:
    from eval.reporting import Report


@click.command(name="report")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path())
@click.option("-o", "--out", metavar="FILE", required=True, type=click.Path(), help="Page to write: NAME.html.")
@click.option("--videos", metavar="DIR", type=click.Path(), help="Folder of the videos, to show the examples' frames.")
@click.option(
    "--packs", metavar="DIR", type=click.Path(), help="Folder of packed videos (vidzip eval --pack-cache), for patches."
)
@click.option(
    "--examples",
    "num_examples",
    type=click.IntRange(min=0),
    metavar="N",
    default=3,
    show_default=True,
    help="Limit on the examples of each category: runs differ, failed or unjudged, wrong, right.",
)
@click.option(
    "--uncompressed", metavar="RUN", multiple=True, type=click.Path(), help="A set's uncompressed run, for retention."
)
@click.option("--no-video", metavar="RUN", multiple=True, type=click.Path(), help="Its run without video.")
@click.option("--unfinished", is_flag=True, help="Accept unfinished runs; questions not asked yet count as failed.")
@takes_replay
@click.option("--json", "json_file", metavar="FILE", type=click.Path(), help="Also write all numbers as JSON.")
@click.option(
    "--markdown", "markdown_file", metavar="FILE", type=click.Path(), help="Also write the tables as Markdown."
)
@click.option("--title", metavar="TEXT", default="Video question answering", show_default=True)
@debug_option
def command(
    *,
    runs: tuple[str, ...],
    out: str,
    videos: str | None,
    packs: str | None,
    num_examples: int,
    uncompressed: tuple[str, ...],
    no_video: tuple[str, ...],
    unfinished: bool,
    judge: JudgeSettings,
    json_file: str | None,
    markdown_file: str | None,
    title: str,
) -> None:
    """Write runs of 'vidzip eval' side by side into one page.

    The page loads nothing and runs nothing. A judge is not asked again: kept replies are used.
    """
    from eval.reporting import to_html, to_json, to_markdown
    from pipelines.scoring.reporting import ReportSettings, make_report

    formats = ((out, to_html), (json_file, to_json), (markdown_file, to_markdown))
    files = [(file, write) for file, write in formats if file is not None]
    if len({os.path.realpath(file) for file, _ in files}) < len(files):
        raise BadArgument("two of the files to write are the same", hint="give each another name")
    settings = ReportSettings(
        runs=runs,
        uncompressed=uncompressed,
        no_video=no_video,
        videos=videos,
        packs=packs,
        num_examples=num_examples,
        allow_unfinished=unfinished,
        judge=judge,
        title=title,
    )
    with progress_bar() as show:
        report = make_report(settings, show)
    num_runs, num_sets = sum(len(chapter.runs) for chapter in report.chapters), len(report.chapters)
    content = f"{num_runs} run{'s'[: num_runs > 1]} on {num_sets} question set{'s'[: num_sets > 1]}"
    for file, write in files:
        write_text(file, write(report))
        print_line(f"{file} holds {content} ({format_bytes(os.path.getsize(file))})")
    _print_warnings(report)


def _print_warnings(report: Report) -> None:
    for chapter in report.chapters:
        for each in chapter.runs:
            for warning in each.summary.warnings:
                print_message("warning", f"{each.name[:80]}: {warning}")
        for difference in chapter.differences:
            if difference.refusal:
                print_message("warning", f"{difference.run[:80]} is not compared: {difference.refusal}")
        selections = {id(one): one for one in chapter.input_frames.values()}  # questions about a video share one
        for note, count in Counter(note for one in selections.values() for note in one.notes).items():
            print_message("note", f"an example's video: {note}" if count == 1 else f"{count} examples' videos: {note}")

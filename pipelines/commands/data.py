"""``vidzip data``: whether a question set and its videos are complete, and where sets are available."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import click

from eval.datasets import SETS, CheckReport, Counts, VideoProblem
from pipelines.data import CheckSettings, check_data, report_to_json, sets_to_json
from pipelines.options import debug_option
from pipelines.terminal import print_line, print_message, print_table, progress_bar

PROBLEMS, CLEAN = 2, 0
"""Exit codes of a check."""

MAX_PLACES = 5
"""Limit on the places printed of each kind of problem; JSON has all."""

_Places = tuple[str, Sequence[str]]
"""A kind of problem with its count, and the places where it occurs."""


@click.group(name="data")
def command() -> None:
    """Check question sets and their videos, and show where they are available."""


@command.command(name="check")
@click.argument("name", metavar="SET", type=click.Choice(list(SETS)))
@click.option(
    "--data", "folder", metavar="DIR", type=click.Path(), required=True, help="Folder, or file, of the questions."
)
@click.option("--videos", metavar="DIR", type=click.Path(), required=True, help="Folder of the videos.")
@click.option("--subset", "part", metavar="firstN", help="Open the videos of the first N questions only.")
@click.option("--workers", type=int, metavar="N", help="Videos opened at a time.  [default: one per CPU]")
@click.option("--follow-links", is_flag=True, help="Use links to videos outside DIR.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all places of all problems.")
@debug_option
def check_command(
    *,
    name: str,
    folder: str,
    videos: str,
    part: str | None,
    workers: int | None,
    follow_links: bool,
    as_json: bool,
) -> int:
    """Count a set's questions, open its videos, and report what would cost questions. Then the exit code is 2."""
    settings = CheckSettings(
        name=name, data=folder, videos=videos, subset=part, workers=workers, follow_links=follow_links
    )
    with progress_bar() as show:
        report = check_data(settings, show)
    if as_json:
        click.echo(json.dumps(report_to_json(settings, report)))
    else:
        print_table(_summary(report))
        _print_places("warning", _problems(report))
        _print_places("note", _notes(report))
        print_line(_verdict(report))
    return CLEAN if report.ok else PROBLEMS


@command.command(name="where")
@click.argument("name", metavar="[SET]", type=click.Choice(list(SETS)), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@debug_option
def where_command(*, name: str | None, as_json: bool) -> None:
    """Show where questions and videos are available, and under which terms."""
    sets = {key: one for key, one in sets_to_json().items() if name in {None, key}}
    if as_json:
        click.echo(json.dumps({"schema": "vidzip/data-where/1", "sets": sets}))
        return
    for number, (key, one) in enumerate(sets.items()):
        if number:
            print_line()
        print_table([(key, one["title"]), *_set_rows(one)])


def _summary(report: CheckReport) -> list[tuple[str, str]]:
    source = "published" if report.name is None or SETS[report.name].described_in is None else "declared"
    rows = [("set", "unknown" if report.name is None else f"{report.name}, {SETS[report.name].title}")]
    for part in ("questions", "videos"):
        expected = f"   ({getattr(report.expected, part):,} {source})" if report.expected is not None else ""
        rows.append((part, f"{getattr(report.found, part):,}{expected}"))
    rows.append(("opened", f"{report.num_opened:,} of {report.num_videos:,}, for {report.num_asked:,} questions"))
    if report.duration_seconds is not None and report.num_opened:
        rows.append(("duration", f"{report.duration_seconds / report.num_opened:.1f} s per video on average"))
    return rows


def _problems(report: CheckReport) -> list[_Places]:
    """The problems that would cost questions."""
    problems: list[_Places] = []
    if report.expected is not None and not report.is_complete:
        split = f": that is the {report.looks_like} split" if report.looks_like else ""
        problems.append((f"there are {_size(report.found)}, not {_size(report.expected)}{split}", ()))
    duplicates = [str(one) for one in report.broken_rows if one.kind == "duplicate"]
    broken = [str(one) for one in report.broken_rows if one.kind != "duplicate"]
    return [
        *problems,
        *_counted("row is broken", "rows are broken", broken),
        *_counted("id is repeated", "ids are repeated", duplicates),
        *_counted("question has no answer", "questions have no answer", report.unanswered),
        *_counted("answer has no question", "answers have no question", report.unasked),
        *_counted("question is empty", "questions are empty", report.blank),
        *_counted("video is missing", "videos are missing", _lines(report.missing)),
        *_counted("video cannot be opened", "videos cannot be opened", _lines(report.unreadable)),
    ]


def _notes(report: CheckReport) -> list[_Places]:
    """What costs no question, but may matter."""
    again = "questions asked again about the same video, with "
    misnamed, damaged = "the suffix of another format, but can be opened", "damaged, but can be opened"
    return [
        *_counted(f"video has {misnamed}", f"videos have {misnamed}", _lines(report.misnamed)),
        *_counted(f"video looks {damaged}", f"videos look {damaged}", _lines(report.damaged)),
        *_counted("video has several files", "videos have several files", _lines(report.ambiguous)),
        *_counted("file belongs to no question", "files belong to no question", report.unused),
        *([(f"{again}the same answer: {report.repeated:,}", ())] if report.repeated else []),
        *([(f"{again}another answer: {report.conflicting:,}", ())] if report.conflicting else []),
    ]


def _counted(one: str, several: str, places: Sequence[str]) -> list[_Places]:
    return [(f"{len(places):,} {one if len(places) == 1 else several}", places)] if places else []


def _lines(problems: Sequence[VideoProblem]) -> list[str]:
    return [f"{one.video} ({one.num_questions:,} question{_s(one.num_questions)}): {one.message}" for one in problems]


def _print_places(kind: str, lines: Sequence[_Places]) -> None:
    for title, places in lines:
        print_message(kind, title)
        for place in places[:MAX_PLACES]:
            print_message(kind, place)
        if len(places) > MAX_PLACES:
            print_message(kind, f"and {len(places) - MAX_PLACES:,} more, which --json lists")


def _verdict(report: CheckReport) -> str:
    if report.ok:
        return f"all {report.num_asked:,} questions can be asked"
    if report.num_lost:
        return f"{report.num_lost:,} of {report.num_asked:,} questions would be lost: their videos cannot be opened"
    return "the set is incomplete"


def _set_rows(one: dict[str, Any]) -> Iterable[tuple[str, str]]:
    yield "published", _size(Counts(**one["published"]))
    for split, size in one["other_splits"].items():
        yield split, _size(Counts(**size))
    for files in one["annotations"]:
        yield "files", files
    yield "", f"videos: {' or '.join(one['video_files'])}"
    for part in ("questions", "videos"):
        for source in one[part]:
            yield part, source["content"]
            for location in source["locations"]:
                yield "", location
            yield "", f"terms: {source['terms']}"
    for note in one["notes"]:
        yield "note", note


def _size(size: Counts) -> str:
    return f"{size.questions:,} question{_s(size.questions)} about {size.videos:,} video{_s(size.videos)}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"

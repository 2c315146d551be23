"""``vidzip data``: whether a question set and its videos are whole, and where their makers offer them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import click

import vidzip
from eval.datasets import SETS, Counts, DatasetError, Opened, Report, Trouble, check, list_videos, read, subset
from pipelines.options import debug_option
from pipelines.terminal import Progress, print_line, print_message, print_table, progress_bar
from pipelines.workers import check_workers
from vidzip import VidzipError
from vidzip.cpus import available_cpus

PROBLEMS, CLEAN = 2, 0
"""Exit codes of a check."""

MOST_SHOWN = 5
"""Places shown of each kind of problem; JSON holds all."""


class BadQuestionSet(VidzipError):
    """The folder holds no such question set, or one of which nothing can be read."""


@dataclass(frozen=True, kw_only=True)
class CheckRequest:
    """What to check.

    Attributes:
        name: the set's, in :data:`eval.datasets.SETS`.
        data: the folder of questions and answers.
        videos: the folder of videos.
        subset: the part of the set whose videos are opened, such as ``first1000``; None opens those of all.
        workers: how many videos are opened at a time; None takes as many as there are CPUs.
        follow_links: whether links may lead to videos outside of their folder.
    """

    name: str
    data: str
    videos: str
    subset: str | None = None
    workers: int | None = None
    follow_links: bool = False


def check_data(request: CheckRequest, show: Progress) -> Report:
    """Check a question set and really open its videos: each is read, and its first picture decoded.

    Raises:
        BadQuestionSet: the folders hold no such set or cannot be read, or the subset is none.
        BadArgument: fewer than 1 worker.
    """
    check_workers(request.workers)
    try:
        reading = read(request.data, request.name)
        videos = list_videos(
            request.videos, SETS[request.name], annotations=request.data, follow_links=request.follow_links
        )
        is_broken = bool(reading.faults or reading.unanswered)
        samples = subset(reading.samples, request.subset, or_fewer=is_broken) if request.subset is not None else None
    except DatasetError as error:
        raise BadQuestionSet(error.message, hint=error.hint) from error

    def on_opened(done: int, total: int) -> None:
        show("open videos", done, total)

    pool = ThreadPoolExecutor(request.workers or available_cpus())
    try:
        return check(reading, videos, open_video, samples=samples, in_order=pool.map, on_opened=on_opened)
    finally:
        pool.shutdown(cancel_futures=True)


def open_video(path: str) -> Opened:
    """Open a video as ``vidzip probe`` does.

    Raises:
        VideoError: it cannot be.
    """
    info = vidzip.probe(path)
    return Opened(container=info.container, duration_seconds=info.duration_seconds, warnings=info.warnings)


def where(name: str | None = None) -> dict[str, dict[str, Any]]:
    """Tell where makers offer a set's questions and videos, and under what terms; of all sets if none is named.

    Raises:
        BadQuestionSet: there is no such set.
    """
    if name is not None and name not in SETS:
        raise BadQuestionSet(f"there is no question set {name!r}", hint=f"use one of {', '.join(SETS)}")
    return {
        one.name: {
            "title": one.title,
            "published": asdict(one.published),
            "other_splits": {split: asdict(size) for split, size in one.other_splits.items()},
            "kinds": list(one.kinds),
            "annotations": list(one.annotations),
            "video_files": [f"{one.prefixes[0]}NAME{suffix}" for suffix in one.suffixes],
            "questions": [asdict(source) for source in one.questions],
            "videos": [asdict(source) for source in one.videos],
            "notes": list(one.notes),
        }
        for one in SETS.values()
        if name in (None, one.name)
    }


def record(request: CheckRequest, report: Report) -> dict[str, Any]:
    """What a check found, for JSON."""
    return {
        "schema": "vidzip/data-check/1",
        "ok": report.ok,
        "data": request.data,
        "videos_folder": request.videos,
        "subset": request.subset,
        **asdict(report),
        "num_lost": report.num_lost,
    }


def summary(report: Report) -> list[tuple[str, str]]:
    """What a check found, in a short table."""
    by = "published" if report.name is None or SETS[report.name].described_in is None else "promised"
    rows = [("set", "unknown" if report.name is None else f"{report.name}, {SETS[report.name].title}")]
    for part in ("questions", "videos"):
        held = getattr(report.held, part)
        wanted = f"   ({getattr(report.expected, part):,} {by})" if report.expected is not None else ""
        rows.append((part, f"{held:,}{wanted}"))
    rows.append(("opened", f"{report.num_opened:,} of {report.num_videos:,}, for {report.num_asked:,} questions"))
    if report.duration_seconds is not None and report.num_opened:
        rows.append(("duration", f"{report.duration_seconds / report.num_opened:.1f} s a video on average"))
    return rows


def problems(report: Report) -> list[tuple[str, Sequence[str]]]:
    """What would cost questions: what it is and how much of it there is, and each place."""
    lines: list[tuple[str, Sequence[str]]] = []
    if report.expected is not None and not report.is_complete:
        split = f": that is the {report.looks_like} split" if report.looks_like else ""
        lines.append((f"there are {_size(report.held)}, not {_size(report.expected)}{split}", ()))
    repeats = [str(fault) for fault in report.faults if fault.kind == "duplicate"]
    broken = [str(fault) for fault in report.faults if fault.kind != "duplicate"]
    return [
        *lines,
        *_counted("row is broken", "rows are broken", broken),
        *_counted("id stands there twice", "ids stand there twice", repeats),
        *_counted("question has no answer", "questions have no answer", report.unanswered),
        *_counted("answer has no question", "answers have no question", report.unasked),
        *_counted("question is empty", "questions are empty", report.blank),
        *_counted("video is missing", "videos are missing", _told(report.missing)),
        *_counted("video cannot be opened", "videos cannot be opened", _told(report.unreadable)),
    ]


def notes(report: Report) -> list[tuple[str, Sequence[str]]]:
    """What costs no question, but is worth knowing, as :func:`problems` does."""
    again = "questions asked again of the same video, with "
    misnamed, damaged = "the suffix of another format, but can be opened", "damaged, but can be opened"
    return [
        *_counted(f"video has {misnamed}", f"videos have {misnamed}", _told(report.misnamed)),
        *_counted(f"video looks {damaged}", f"videos look {damaged}", _told(report.doubtful)),
        *_counted("video has several files", "videos have several files", _told(report.in_several_files)),
        *_counted("file belongs to no question", "files belong to no question", report.unused),
        *([(f"{again}the same answer: {report.repeated:,}", ())] if report.repeated else []),
        *([(f"{again}another answer: {report.disputed:,}", ())] if report.disputed else []),
    ]


def _counted(one: str, several: str, places: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    return [(f"{len(places):,} {one if len(places) == 1 else several}", places)] if places else []


def _size(size: Counts) -> str:
    return f"{size.questions:,} question{_s(size.questions)} about {size.videos:,} video{_s(size.videos)}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _told(troubles: Sequence[Trouble]) -> list[str]:
    return [f"{one.video} ({one.num_questions:,} question{_s(one.num_questions)}): {one.says}" for one in troubles]


@click.group()
def data() -> None:
    """Check question sets and their videos, and tell where they are offered."""


@data.command(name="check")
@click.argument("name", metavar="SET", type=click.Choice(list(SETS)))
@click.option(
    "--data",
    "folder",
    metavar="DIR",
    type=click.Path(),
    required=True,
    help="Folder, or file, of questions and answers.",
)
@click.option("--videos", metavar="DIR", type=click.Path(), required=True, help="Videos.")
@click.option("--subset", "part", metavar="NAME", help="Open the videos of a part only: first1000.")
@click.option("--workers", type=int, metavar="N", help="Videos opened at a time.  [default: one a CPU]")
@click.option("--follow-links", is_flag=True, help="Links may lead to videos outside of DIR.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every place of every problem.")
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
    """Count a set's questions, open its videos, and say what would cost questions. The exit code is 2 if anything."""
    request = CheckRequest(
        name=name, data=folder, videos=videos, subset=part, workers=workers, follow_links=follow_links
    )
    with progress_bar() as show:
        report = check_data(request, show)
    if as_json:
        click.echo(json.dumps(record(request, report)))
    else:
        print_table(summary(report))
        _remark("warning", problems(report))
        _remark("note", notes(report))
        print_line(_verdict(report))
    return CLEAN if report.ok else PROBLEMS


def _verdict(report: Report) -> str:
    if report.ok:
        return f"all {report.num_asked:,} questions can be asked"
    if report.num_lost:
        return f"{report.num_lost:,} of {report.num_asked:,} questions would be lost: their videos cannot be opened"
    return "the set is not whole"


@data.command(name="where")
@click.argument("name", metavar="[SET]", type=click.Choice(list(SETS)), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@debug_option
def where_command(*, name: str | None, as_json: bool) -> None:
    """Tell where makers offer questions and videos, and under what terms."""
    told = where(name)
    if as_json:
        click.echo(json.dumps({"schema": "vidzip/data-where/1", "sets": told}))
        return
    for number, (key, one) in enumerate(told.items()):
        if number:
            print_line()
        print_table([(key, one["title"]), *_offers(one)])


def _offers(one: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """What is known of a set, line by line."""
    yield "published", _size(Counts(**one["published"]))
    for split, size in one["other_splits"].items():
        yield split, _size(Counts(**size))
    for files in one["annotations"]:
        yield "files", files
    yield "", f"videos: {' or '.join(one['video_files'])}"
    for part in ("questions", "videos"):
        for source in one[part]:
            yield part, source["what"]
            for address in source["where"]:
                yield "", address
            yield "", f"terms: {source['terms']}"
    for note in one["notes"]:
        yield "note", note


def _remark(kind: str, lines: Sequence[tuple[str, Sequence[str]]]) -> None:
    for title, places in lines:
        print_message(kind, title)
        for place in places[:MOST_SHOWN]:
            print_message(kind, place)
        if len(places) > MOST_SHOWN:
            print_message(kind, f"and {len(places) - MOST_SHOWN:,} more, which --json lists")

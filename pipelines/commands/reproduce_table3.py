"""``vidzip reproduce-table3``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import click

from pipelines.options import (
    answer_option,
    debug_option,
    gpus_option,
    subset_options,
    takes_decoding,
    takes_model,
)
from pipelines.runs.settings import GenerationSettings, QuestionSettings, RunSettings
from pipelines.scoring.judging import JudgeSettings
from pipelines.scoring.options import confirm_cost, takes_judge, yes_option
from pipelines.settings import ModelSettings
from pipelines.table3 import (
    ORIGINAL,
    ROWS,
    SETS,
    SetAvailability,
    TableSettings,
    check_set,
    compare_with_paper,
    deviations,
    missing,
    run_rows,
    score_rows,
)
from pipelines.terminal import print_line, print_markdown_table, print_message, print_table, progress_bar
from vidzip import DecodeOptions
from vidzip.errors import BadArgument, VidzipError
from vidzip.files import write_text

RESULT = "table3.json"


class Unavailable(VidzipError):
    """This machine lacks something that the table needs."""


@click.command(name="reproduce-table3")
@click.option("--data", metavar="DIR", required=True, type=click.Path(), help=f"A folder a set: {', '.join(SETS)}.")
@click.option("--out", metavar="DIR", required=True, type=click.Path(), help="Folder of the runs; they resume there.")
@click.option("--sets", metavar="NAME,...", default=",".join(SETS), show_default=True, help="The columns.")
@click.option(
    "--rows", metavar="NAME,...", default=",".join(row.key for row in ROWS), show_default=True, help="The rows."
)
@subset_options
@gpus_option
@click.option("--dry-run", is_flag=True, help="Only list what is available and what is missing.")
@click.option("--markdown", is_flag=True, help="Print the table in Markdown.")
@takes_model
@takes_decoding
@answer_option
@takes_judge
@yes_option
@debug_option
def command(
    *,
    data: str,
    out: str,
    sets: str,
    rows: str,
    subset: str | None,
    limit: int | None,
    devices: tuple[str, ...],
    dry_run: bool,
    markdown: bool,
    model: ModelSettings,
    decoding: DecodeOptions,
    max_new_tokens: int,
    judge: JudgeSettings,
    yes: bool,
) -> None:
    """Run the rows of VisionZip's Table 3, and print them beside the paper's figures.

    DIR holds a folder for each set, with its questions and a folder 'videos'. Accuracies are a judge's with --judge, as
    the paper's are; exact match without one.
    """
    keys = _read_names(rows, [row.key for row in ROWS], "--rows")
    settings = TableSettings(
        data=data,
        out=out,
        sets=_read_names(sets, list(SETS), "--sets"),
        rows=[row for row in ROWS if row.key in keys],
        run=RunSettings(
            questions=QuestionSettings(name="", data=data, subset=subset, limit=limit),
            model=replace(model, name=model.name or ORIGINAL),
            decoding=decoding,
            generation=GenerationSettings(max_new_tokens=max_new_tokens),
            devices=devices,
        ),
        judge=judge,
    )
    available = [check_set(settings, name) for name in settings.sets]
    problems, notes = list(missing(settings, available)), list(deviations(settings, available))
    if dry_run:
        _print_available(settings, available, [*problems, *notes])
        return
    if problems:
        raise Unavailable(problems[0], hint="--dry-run lists all that is missing; --sets and --rows leave some out")
    for note in notes:
        print_message("warning", note)
    loaded, summaries = None, {}
    for name in settings.sets:
        with progress_bar() as progress:
            if loaded is None and not devices:
                loaded = settings.run.model.load(progress)
            results = run_rows(settings, name, progress, loaded)
        for key, result in results.items():
            for kind, count in result.failures.items():
                print_message("warning", f"{name}, {key}: {count:,} questions have no answer: {kind}")
        summaries[name] = score_rows(settings, name, partial(confirm_cost, yes=yes))
    record = {
        "schema": "vidzip/table3/1",
        "model": settings.run.model.name,
        "metric": settings.metric,
        "rows": {
            row.key: {name: summaries[name][row.key].to_json() for name in settings.sets}
            for row in settings.rows
            if row.frames is not None
        },
    }
    path = os.path.join(out, RESULT)
    write_text(path, json.dumps(record, indent=1) + "\n")
    print_line(f"{settings.metric} in percent, with 95 % intervals clustered by video; below it the paper's figure\n")
    lines = compare_with_paper(summaries, settings.sets, settings.rows)
    header = ("row", *settings.sets, "mean share of the baseline")
    (print_markdown_table if markdown else print_table)(lines, header)
    print_line(f"\n{path} holds all accuracies, with both denominators")


def _print_available(settings: TableSettings, sets: Sequence[SetAvailability], problems: Sequence[str]) -> None:
    num_runs = sum(row.frames is not None for row in settings.rows)
    lines: list[tuple[str, ...]] = []
    for one in sets:
        if one.problem:
            lines.append((one.name, SETS[one.name], f"none of {one.num_published:,}", "", ""))
            continue
        lines.append(
            (
                one.name,
                SETS[one.name],
                f"{one.num_questions:,} of {one.num_published:,}",
                f"{one.num_videos - one.num_missing_videos:,} of {one.num_videos:,}",
                f"{one.num_done:,} of {one.num_asked * num_runs:,}",
            )
        )
    print_table(lines, ("column", "question set", "questions", "videos", "answers"))
    print_line()
    for row in settings.rows:
        note = " (not in vidzip yet: only the paper's figures)" if row.frames is None else ""
        print_line(f"row {row.key}: {row.title}{note}")
    print_line()
    for problem in problems or ["nothing"]:
        print_line(f"missing: {problem}")


def _read_names(text: str, known: Sequence[str], flag: str) -> list[str]:
    """Read a list of names, and return them in the order of the known ones."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise BadArgument(
            f"{flag} has the unknown name {unknown[0]!r}" if unknown else f"{flag} is empty",
            hint=f"use {', '.join(known)}",
        )
    return [name for name in known if name in names]

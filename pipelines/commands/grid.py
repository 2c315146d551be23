"""``vidzip grid``."""

from __future__ import annotations

import json
import os

import click

from pipelines.options import (
    debug_option,
    processes_option,
    takes_decoding,
    takes_generation,
    takes_model,
    takes_questions,
)
from pipelines.runs.settings import GenerationSettings, QuestionSettings, RunSettings
from pipelines.settings import ModelSettings, note_default_model
from pipelines.terminal import print_line, print_markdown_table, print_message, print_table, progress_bar
from vidzip import DecodeOptions

RESULT, PLOT = "grid.json", "grid.png"


@click.command(name="grid")
@takes_questions
@click.option("--out", metavar="DIR", required=True, type=click.Path(), help="Folder of the runs; they resume there.")
@click.option(
    "--methods",
    metavar="NAME,...",
    default="all",
    show_default=True,
    help="Methods, with options as NAME:KEY=VALUE.",
)
@click.option("--frames", metavar="N,...", default="8,17,34,68,136", show_default=True, help="Frame counts.")
@click.option("--budget", metavar="N,...", default="136", show_default=True, help="Visual tokens in all.")
@click.option(
    "--baseline",
    metavar="NAME,...",
    default="visionzip,visionzip:merge=mean",
    show_default=True,
    help="Methods that the others are compared with; of several, the best in each comparison.",
)
@processes_option
@click.option("--markdown", is_flag=True, help="Print Markdown tables.")
@takes_generation
@takes_model
@takes_decoding
@debug_option
def command(
    *,
    questions: QuestionSettings,
    out: str,
    methods: str,
    frames: str,
    budget: str,
    baseline: str,
    processes: int | None,
    markdown: bool,
    generation: GenerationSettings,
    model: ModelSettings,
    decoding: DecodeOptions,
) -> None:
    """Compare compression methods at every frame count with the same budget.

    SET is a name such as msvd or shapes. Each video is encoded once for each frame count, and compressed by every
    method. Each run is one of 'vidzip eval': 'vidzip report', 'compare' and 'score' take its folder.
    """
    from pipelines.grid.plot import plot_grid
    from pipelines.grid.results import read_results
    from pipelines.grid.tables import grid_tables
    from pipelines.grid.variants import make_variants, read_counts, read_methods
    from pipelines.plotting import check_plotting
    from pipelines.runs.executing import execute_runs
    from vidzip.compress import describe
    from vidzip.files import atomic_file, write_text

    check_plotting()
    baselines = [describe(method) for method in read_methods(baseline)]
    counts, budgets = read_counts(frames, "--frames"), read_counts(budget, "--budget")
    variants = make_variants(read_methods(methods), counts, budgets)
    for tokens in budgets:
        if tokens < max(counts):
            skipped = ", ".join(str(count) for count in counts if count > tokens)
            print_message("note", f"{tokens} tokens cannot hold {skipped} frames at 1 each: these runs are skipped")
    settings = RunSettings(
        questions=questions, model=model, decoding=decoding, generation=generation, processes=processes
    )
    note_default_model(model, "answers")
    with progress_bar() as progress:
        execute_runs(settings, {os.path.join(out, one.key): one.selection for one in variants}, progress)
    result = read_results(out, variants, baselines)
    write_text(os.path.join(out, RESULT), json.dumps(result.to_json(), indent=1) + "\n")
    with atomic_file(os.path.join(out, PLOT)) as file:
        plot_grid(result, file)
    for one in result.variants:
        if one.num_failed:
            print_message(
                "warning", f"{one.variant.key}: {one.num_failed:,} questions have no answer, and count as wrong"
            )
    for title, rows, header in grid_tables(result):
        print_line(f"\n{title}\n")
        (print_markdown_table if markdown else print_table)(rows, header)
    print_line(f"\n{out} holds the runs, {RESULT} and {PLOT}")

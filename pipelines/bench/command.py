"""``vidzip bench``: measure every stage, and compare with the published implementation and uncompressed frames."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from pipelines.bench.settings import FILE, SIZES, TOWER_ONLY, UNCOMPRESSED, VARIANTS, BenchSettings, read_names
from pipelines.options import debug_option, device_option
from pipelines.terminal import print_line, print_markdown_table, print_table, progress_bar
from vidzip import Budget, probe
from vidzip.errors import BadArgument, WriteError

if TYPE_CHECKING:
    import torch

    from pipelines.bench.comparing import Comparison
    from pipelines.bench.measuring import CaseResult
    from pipelines.bench.predicting import Prediction
    from pipelines.bench.tables import PrintTable
    from pipelines.bench.variants import MeasuredModel

FRAMES = {"cuda": "8,16,32,64,128", "cpu": "8,32"}
"""Default frame counts; those of a CPU for all other devices."""


@click.command(name="bench")
@click.argument("videos", metavar="[VIDEO]...", nargs=-1, type=click.Path())
@click.option(
    "--size",
    type=click.Choice(list(SIZES)),
    help=f"{'; '.join(f'{name}: {what}' for name, what in SIZES.items())}.  [default: 7b on CUDA, tiny elsewhere]",
)
@click.option("--frames", metavar="N,...", help="Frame counts.  [default: 8,16,32,64,128 on CUDA, 8,32 elsewhere]")
@click.option(
    "--budget",
    metavar="N,...",
    default=str(Budget.total_tokens),
    show_default=True,
    help="Total visual tokens of compressed frames.",
)
@click.option(
    "--variants",
    metavar="NAME,...",
    multiple=True,
    help=f"Some of {', '.join(VARIANTS)}.  [default: all that the model and videos allow]",
)
@device_option
@click.option(
    "--dtype",
    metavar="NAME,...",
    multiple=True,
    default=["auto"],
    show_default=True,
    help="Precisions, measured interleaved: auto, float32, float16, bfloat16.",
)
@click.option("--batch", type=int, metavar="N", help="Maximum frames per tower batch.  [default: the device's]")
@click.option("--compile", "compile_tower", is_flag=True, help="Compile the tower for vidzip's variants.")
@click.option(
    "--rounds",
    type=int,
    metavar="N",
    default=BenchSettings.rounds,
    show_default=True,
    help="Measured rounds, after one to warm up.",
)
@click.option("--json", "out", metavar="OUT", type=click.Path(), help="Write the measurements of every round here.")
@click.option("--plot", metavar="OUT.png", type=click.Path(), help="Write a bar chart of the stages here.")
@click.option("--markdown", is_flag=True, help="Print Markdown tables.")
@debug_option
def bench_command(
    *,
    videos: tuple[str, ...],
    size: str | None,
    frames: str | None,
    budget: str,
    variants: tuple[str, ...],
    device: str,
    dtype: tuple[str, ...],
    batch: int | None,
    compile_tower: bool,
    rounds: int,
    out: str | None,
    plot: str | None,
    markdown: bool,
) -> None:
    """Measure every stage from a video to an answer.

    The model's own uncompressed frames, the published implementation of VisionZip and vidzip are measured in one
    process, in a random order within each round; ratios are taken within a round. Without VIDEO, decoded random frames
    are used.
    """
    from pipelines.grid.variants import read_counts
    from pipelines.plotting import check_plotting
    from vidzip.models.placing import find_device, find_dtype

    if plot is not None:
        check_plotting()
    for path in filter(None, (out, plot)):
        _check_writable(path)
    if out is not None and plot is not None and os.path.realpath(out) == os.path.realpath(plot):
        raise BadArgument("--json and --plot name the same file", hint="give two files")
    where = find_device(device)
    chosen_size = size or ("7b" if where.type == "cuda" else "tiny")
    unavailable = {FILE, UNCOMPRESSED} if chosen_size == TOWER_ONLY else set() if videos else {FILE}
    settings = BenchSettings(
        size=chosen_size,
        variants=read_names(variants) if variants else tuple(name for name in VARIANTS if name not in unavailable),
        dtypes=tuple(str(find_dtype(name, where)).removeprefix("torch.") for name in read_names(dtype)),
        frames=tuple(read_counts(frames or FRAMES.get(where.type, FRAMES["cpu"]), "--frames")),
        budgets=tuple(read_counts(budget, "--budget")),
        videos=videos,
        rounds=rounds,
        batch=batch,
        compile_tower=compile_tower,
    )
    run_bench(settings, where, out=out, plot=plot, draw=print_markdown_table if markdown else print_table)


def run_bench(
    settings: BenchSettings, device: torch.device, *, out: str | None, plot: str | None, draw: PrintTable
) -> None:
    """Measure, print the tables, and write the files.

    Raises:
        VidzipError: a case cannot be measured; a video that cannot be decoded is found before measuring.
    """
    from pipelines.bench.comparing import compare
    from pipelines.bench.measuring import check_cases, measure
    from pipelines.bench.models import build_models
    from pipelines.bench.plot import plot_stages
    from pipelines.bench.predicting import costs_of, predict
    from pipelines.bench.tables import (
        describe_machine,
        print_comparisons,
        print_predictions,
        print_stages,
        print_variants,
    )
    from vidzip.files import atomic_file, write_text
    from vidzip.planner import NOT_CALIBRATED

    for video in settings.videos:
        probe(video)
    with progress_bar() as progress:
        progress(f"build {settings.size}", 0, 1)
        models = build_models(settings, device)
        cases = list(settings.cases({dtype: model.model.batch_frames for dtype, model in models.items()}))
        check_cases(models, cases, progress)
        costs = {dtype: costs_of(model.model) for dtype, model in models.items()}
        results = measure(models, cases, settings.rounds, progress)
    comparisons = list(compare(results))
    predictions = list(predict(results, models, costs))
    model = next(iter(models.values())).model
    print_line(
        f"{model.name} on {describe_machine(device)}; {model.batch_frames} frames per tower batch; medians of "
        f"{settings.rounds} rounds\n"
    )
    print_variants(results)
    print_line()
    print_stages(results, draw)
    if comparisons:
        print_line("\nratios within a round\n")
        print_comparisons(comparisons, draw)
    if predictions:
        is_calibrated = all(one.is_calibrated for one in costs.values())
        print_line(f"\npredicted and measured; {'calibrated' if is_calibrated else NOT_CALIBRATED}\n")
        print_predictions(predictions, draw)
    if out is not None:
        record = {
            **describe_run(settings, models, describe_machine(device)),
            **results_to_json(results, comparisons, predictions),
            "costs": {dtype: asdict(one) for dtype, one in costs.items()},
        }
        write_text(out, json.dumps(record, indent=1) + "\n")
    if plot is not None:
        with atomic_file(plot) as file:
            plot_stages(results, file)


def describe_run(settings: BenchSettings, models: Mapping[str, MeasuredModel], device: str) -> dict[str, Any]:
    """Return command, versions, device, settings and models as JSON values."""
    from pipelines.runs.running import versions

    return {
        "schema": "vidzip/bench/1",
        "command": shlex.join(["vidzip", *sys.argv[1:]]),
        "versions": {**versions(), "python": platform.python_version()},
        "device": device,
        "settings": asdict(settings),
        "models": {
            dtype: {
                "name": one.model.name,
                "batch_frames": one.model.batch_frames,
                "weight_bytes": sum(weight.nbytes for weight in one.model.network.parameters()),
            }
            for dtype, one in models.items()
        },
    }


def results_to_json(
    results: Sequence[CaseResult], comparisons: Sequence[Comparison], predictions: Sequence[Prediction]
) -> dict[str, Any]:
    """Return all measurements, including those of each round, as JSON values."""
    from pipelines.bench.medians import median

    return {
        "cases": [
            {
                **asdict(result.case),
                "visual_tokens": result.tokens,
                "rounds": [dict(seconds) for seconds in result.rounds],
                "median_seconds": {name: asdict(median(result.seconds(name))) for name in result.rounds[0]},
                "peak_bytes": {"to_tokens": result.encode_peak_bytes, "to_the_answer": result.answer_peak_bytes},
                "changed_share": result.changed_share,
            }
            for result in results
        ],
        "ratios": [asdict(comparison) for comparison in comparisons],
        "predictions": [asdict(prediction) for prediction in predictions],
    }


def _check_writable(path: str) -> None:
    """Check that a file can be written, before minutes of measuring.

    Raises:
        WriteError: it cannot be written.
    """
    folder = os.path.dirname(path) or os.curdir
    if os.path.isdir(path) or not os.path.isdir(folder):
        reason = "it is a folder" if os.path.isdir(path) else f"there is no folder {folder!r}"
        raise WriteError(f"{path!r} cannot be written: {reason}", hint="give a file in an existing folder")

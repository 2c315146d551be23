"""``vidzip bench``."""

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

from pipelines.bench.settings import FILE, FULL, SIZES, TOWER_ALONE, WAYS, Settings, read_words
from pipelines.options import debug_option, device_option
from pipelines.terminal import print_line, print_markdown_table, print_table, progress_bar
from vidzip import Budget, probe
from vidzip.errors import BadArgument, WriteError

if TYPE_CHECKING:
    import torch

    from pipelines.bench.comparing import Comparison
    from pipelines.bench.measuring import Measured
    from pipelines.bench.predicting import Prediction
    from pipelines.bench.tables import Draw
    from pipelines.bench.ways import Subject

FRAMES = {"cuda": "8,16,32,64,128", "cpu": "8,32"}
"""Frame counts where none are named; those of a CPU elsewhere."""


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
    help="Visual tokens of compressed frames, in all.",
)
@click.option(
    "--ways",
    metavar="NAME,...",
    multiple=True,
    help=f"Some of {', '.join(WAYS)}.  [default: all that can be measured]",
)
@device_option
@click.option(
    "--dtype",
    metavar="NAME,...",
    multiple=True,
    default=["auto"],
    show_default=True,
    help="Precisions that take turns: auto, float32, float16, bfloat16.",
)
@click.option("--batch", type=int, metavar="N", help="Frames at once in the tower, at most.  [default: the device's]")
@click.option("--compile", "compile_tower", is_flag=True, help="Compile the tower, for vidzip's own ways.")
@click.option(
    "--rounds", type=int, metavar="N", default=Settings.rounds, show_default=True, help="One more goes ahead of them."
)
@click.option("--json", "out", metavar="OUT", type=click.Path(), help="A file for every round's figures.")
@click.option("--plot", metavar="OUT.png", type=click.Path(), help="A picture of the stages.")
@click.option("--markdown", is_flag=True, help="Print tables of Markdown.")
@debug_option
def bench_command(
    *,
    videos: tuple[str, ...],
    size: str | None,
    frames: str | None,
    budget: str,
    ways: tuple[str, ...],
    device: str,
    dtype: tuple[str, ...],
    batch: int | None,
    compile_tower: bool,
    rounds: int,
    out: str | None,
    plot: str | None,
    markdown: bool,
) -> None:
    """Measure every stage of looking at a video.

    The model's own path, the published way of VisionZip and vidzip's take turns in one process, round after round, in
    an order drawn anew each time. Ratios are taken within a round. Without VIDEO, frames are random and decoded
    already.
    """
    from pipelines.grid.variants import read_counts
    from pipelines.plotting import check_plotting
    from vidzip.models.placing import find_device, find_dtype

    if plot is not None:
        check_plotting()
    for path in filter(None, (out, plot)):
        _check_place(path)
    if out is not None and plot is not None and os.path.realpath(out) == os.path.realpath(plot):
        raise BadArgument("--json and --plot name one file", hint="give each a name of its own")
    where = find_device(device)
    chosen = size or ("7b" if where.type == "cuda" else "tiny")
    unfit = {FILE, FULL} if chosen == TOWER_ALONE else set() if videos else {FILE}
    settings = Settings(
        size=chosen,
        ways=read_words(ways) if ways else tuple(way for way in WAYS if way not in unfit),
        dtypes=tuple(str(find_dtype(one, where)).removeprefix("torch.") for one in read_words(dtype)),
        frames=tuple(read_counts(frames or FRAMES.get(where.type, FRAMES["cpu"]), "--frames")),
        budgets=tuple(read_counts(budget, "--budget")),
        videos=videos,
        rounds=rounds,
        batch=batch,
        compile_tower=compile_tower,
    )
    run_bench(settings, where, out=out, plot=plot, draw=print_markdown_table if markdown else print_table)


def run_bench(settings: Settings, device: torch.device, *, out: str | None, plot: str | None, draw: Draw) -> None:
    """Measure, print the tables, and write what is asked for.

    Raises:
        VidzipError: what cannot be measured; a video that cannot be decoded, before anything is.
    """
    from pipelines.bench.comparing import compare
    from pipelines.bench.measuring import check_cases, measure
    from pipelines.bench.plot import plot_stages
    from pipelines.bench.predicting import costs_of, predict
    from pipelines.bench.subjects import make_subjects
    from pipelines.bench.tables import machine, print_comparisons, print_predictions, print_stages, print_ways
    from vidzip.files import atomic_file, write_text
    from vidzip.planner import NOT_CALIBRATED

    for video in settings.videos:
        probe(video)
    with progress_bar() as show:
        show(f"make {settings.size}", 0, 1)
        subjects = make_subjects(settings, device)
        at_once = {dtype: one.model.batch_frames for dtype, one in subjects.items()}
        cases = list(settings.cases(at_once))
        check_cases(subjects, cases, show)
        costs = {dtype: costs_of(one.model) for dtype, one in subjects.items()}
        measured = measure(subjects, cases, settings.rounds, show)
    comparisons = list(compare(measured))
    predictions = list(predict(measured, subjects, costs))
    one = next(iter(subjects.values()))
    print_line(
        f"{one.model.name} on {machine(device)}; {one.model.batch_frames} frames at once in the tower; medians of "
        f"{settings.rounds} rounds\n"
    )
    print_ways(measured)
    print_line()
    print_stages(measured, draw)
    if comparisons:
        print_line("\nratios, within a round\n")
        print_comparisons(comparisons, draw)
    if predictions:
        is_calibrated = all(one.is_calibrated for one in costs.values())
        print_line(f"\npredicted and measured; {'this machine was calibrated' if is_calibrated else NOT_CALIBRATED}\n")
        print_predictions(predictions, draw)
    if out is not None:
        record = {
            **describe(settings, subjects, machine(device)),
            **record_of(measured, comparisons, predictions),
            "costs": {dtype: asdict(one) for dtype, one in costs.items()},
        }
        write_text(out, json.dumps(record, indent=1) + "\n")
    if plot is not None:
        with atomic_file(plot) as file:
            plot_stages(measured, file)


def describe(settings: Settings, subjects: Mapping[str, Subject], device: str) -> dict[str, Any]:
    """Say what was measured, on what, with what."""
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
                "frames_at_once": one.model.batch_frames,
                "weight_bytes": sum(weight.nbytes for weight in one.model.network.parameters()),
            }
            for dtype, one in subjects.items()
        },
    }


def record_of(
    measured: Sequence[Measured], comparisons: Sequence[Comparison], predictions: Sequence[Prediction]
) -> dict[str, Any]:
    """All figures, every round's among them, as JSON takes them."""
    from pipelines.bench.figures import middle

    return {
        "cases": [
            {
                **asdict(one.case),
                "visual_tokens": one.tokens,
                "rounds": [dict(seconds) for seconds in one.rounds],
                "median_seconds": {name: asdict(middle(one.series(name))) for name in one.rounds[0]},
                "peak_bytes": {"to_tokens": one.look_bytes, "to_the_answer": one.ask_bytes},
                "share_kept_otherwise": one.differing,
            }
            for one in measured
        ],
        "ratios": [asdict(one) for one in comparisons],
        "predictions": [asdict(one) for one in predictions],
    }


def _check_place(path: str) -> None:
    """Make sure that a file can be written, before minutes are spent on what it holds.

    Raises:
        WriteError: it cannot.
    """
    folder = os.path.dirname(path) or os.curdir
    if os.path.isdir(path) or not os.path.isdir(folder):
        reason = "it is a folder" if os.path.isdir(path) else f"there is no folder {folder!r}"
        raise WriteError(f"{path!r} cannot be written: {reason}", hint="give a file in a folder that is there")

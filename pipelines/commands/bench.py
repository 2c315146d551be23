"""``vidzip bench``: measure every stage, and compare with the published implementation and uncompressed frames."""

from __future__ import annotations

import os

import click

from pipelines.bench.settings import FILE, SIZES, TOWER_ONLY, UNCOMPRESSED, VARIANTS, BenchSettings, read_names
from pipelines.options import debug_option, device_option
from pipelines.terminal import print_markdown_table, print_table
from vidzip import Budget
from vidzip.errors import BadArgument, WriteError

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
def command(
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
    from pipelines.bench.running import run_bench
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
    run_bench(settings, where, out=out, plot=plot, print_table=print_markdown_table if markdown else print_table)


def _check_writable(path: str) -> None:
    """Check that a file can be written, before minutes of measuring.

    Raises:
        WriteError: it cannot be written.
    """
    folder = os.path.dirname(path) or os.curdir
    if os.path.isdir(path) or not os.path.isdir(folder):
        reason = "it is a folder" if os.path.isdir(path) else f"there is no folder {folder!r}"
        raise WriteError(f"{path!r} cannot be written: {reason}", hint="give a file in an existing folder")

"""``vidzip shapes``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipelines.options import debug_option
from pipelines.terminal import format_clock, print_line, print_message, print_table, progress_bar

if TYPE_CHECKING:
    from pipelines.shapes import WrittenSet


@click.command(name="shapes")
@click.argument("folder", metavar="OUT", type=click.Path())
@click.option("--split", metavar="NAME", default="test", show_default=True, help="train, validation, test or long.")
@click.option(
    "--videos",
    type=int,
    metavar="N",
    help="Number of videos.  [default: all frozen ones of test and long, 200 of train, 100 of validation]",
)
@click.option("--seed", type=int, metavar="N", default=7, show_default=True, help="Seed of the videos.")
@click.option("--workers", type=int, metavar="N", help="Number of processes.  [default: one per CPU]")
@debug_option
def command(*, folder: str, split: str, videos: int | None, seed: int, workers: int | None) -> None:
    """Write the synthetic question set into a folder.

    The same command resumes an interrupted one.
    """
    from pipelines.shapes import ShapesSettings, write_set

    settings = ShapesSettings(folder=folder, split=split, videos=videos, seed=seed, workers=workers)
    try:
        with progress_bar() as show:
            written = write_set(settings, show)
    except KeyboardInterrupt:
        print_message("note", "finished videos are kept: the same command resumes")
        raise
    if written.num_written == 0:
        print_line(f"{folder} holds this set already: no video was missing")
    print_table(_rows(written))


def _rows(written: WrittenSet) -> list[tuple[str, str]]:
    if written.num_frozen == 0:
        frames = f"not compared: split {written.settings.split} with seed {written.settings.seed} is not frozen"
    elif written.num_frozen == written.num_videos:
        frames = f"equal to the frozen set's in all {written.num_frozen:,} videos"
    else:
        frames = f"equal to the frozen set's in its {written.num_frozen:,} videos; the others are not frozen"
    return [
        ("videos", f"{written.num_videos:,}   ({written.num_written:,} written now)"),
        ("questions", f"{written.num_questions:,}"),
        ("duration", format_clock(written.duration_seconds)),
        ("size", f"{written.size_bytes / 1e6:,.1f} MB"),
        ("frames", frames),
    ]

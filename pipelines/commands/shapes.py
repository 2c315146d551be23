"""``vidzip shapes``."""

from __future__ import annotations

import click

from pipelines.options import debug_option
from pipelines.terminal import print_line, print_message, print_table, progress_bar


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
    from pipelines.shapes import SetRequest, make_set, summary

    request = SetRequest(folder=folder, split=split, videos=videos, seed=seed, workers=workers)
    try:
        with progress_bar() as show:
            made = make_set(request, show)
    except KeyboardInterrupt:
        print_message("note", "finished videos are kept: the same command resumes")
        raise
    if made.num_written == 0:
        print_line(f"{folder} holds this set already: no video was missing")
    print_table(summary(made))

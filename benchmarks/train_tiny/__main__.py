"""Train ``tiny`` in a folder: ``python -m benchmarks.train_tiny OUT``."""

from __future__ import annotations

import sys

import click

from benchmarks.train_tiny.recipe import Recipe
from benchmarks.train_tiny.training import train_tiny
from pipelines.cli import run
from pipelines.options import debug_option, device_option
from pipelines.terminal import format_bytes, print_line, progress_bar
from vidzip.models.placing import find_device


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", metavar="OUT", type=click.Path())
@click.option(
    "--seed", type=int, metavar="N", default=Recipe.seed, show_default=True, help="Seed of everything random."
)
@click.option("--videos", type=int, metavar="N", default=Recipe.videos, show_default=True, help="Training videos.")
@click.option(
    "--tower-steps", type=int, metavar="N", default=Recipe.tower_steps, show_default=True, help="Steps of the tower."
)
@click.option(
    "--alignment-steps",
    type=int,
    metavar="N",
    default=Recipe.alignment_steps,
    show_default=True,
    help="Steps of the projector alone.",
)
@click.option(
    "--language-steps",
    type=int,
    metavar="N",
    default=Recipe.language_steps,
    show_default=True,
    help="Steps of projector and language model.",
)
@device_option
@click.option("--workers", type=int, metavar="N", help="Processes that render videos.  [default: one per CPU]")
@debug_option
def command(*, folder: str, device: str, workers: int | None, **recipe: int) -> None:
    """Train tiny in a folder. Run it again with the same options to resume."""
    with progress_bar() as show:
        trained = train_tiny(folder, Recipe(**recipe), find_device(device), show, workers)
    print_line(
        f"{trained.folder} holds the model ({format_bytes(trained.size_bytes)}): vidzip ask --model {trained.folder} …"
    )
    print_line(f"{trained.curves} shows the training curves")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return run(command, "python -m benchmarks.train_tiny", arguments)


if __name__ == "__main__":
    sys.exit(main())

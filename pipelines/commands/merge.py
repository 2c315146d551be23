"""``vidzip merge``."""

from __future__ import annotations

import click

from pipelines.options import debug_option
from pipelines.terminal import print_line


@click.command(name="merge")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path())
@click.option("--out", metavar="RUN", required=True, type=click.Path(), help="Folder of the merged run.")
@debug_option
def command(*, runs: tuple[str, ...], out: str) -> None:
    """Merge the parts of a run that were made with --shard."""
    from pipelines.runs.merging import merge

    merged = merge(runs, out)
    print_line(f"{out} holds the whole run: {merged['questions']['count']:,} questions of {len(runs)} parts")

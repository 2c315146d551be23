"""``vidzip demo``."""

from __future__ import annotations

import contextlib
import tempfile

import click

from pipelines.options import debug_option
from pipelines.terminal import print_line, print_table, progress_bar


@click.command(name="demo")
@debug_option
def command() -> None:
    """Write a video of shapes and ask about it, with 8 uncompressed frames and with packed ones."""
    from pipelines.demo import run_demo

    with tempfile.TemporaryDirectory(prefix="vidzip-demo-") as folder, contextlib.chdir(folder):
        with progress_bar() as show:
            result = run_demo(show)
        for line in result.lines:
            print_line(line)
        print_line()
        print_table(result.answers, header=result.columns)
        print_line()
        print_table(result.costs, header=result.cost_columns)

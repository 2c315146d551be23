"""``vidzip demo``."""

from __future__ import annotations

import click

from pipelines.options import debug_option
from pipelines.terminal import print_line, print_table, progress_bar


@click.command(name="demo")
@click.option(
    "--out", metavar="FILE", type=click.Path(), default="clip.mp4", show_default=True, help="The video to write."
)
@debug_option
def command(*, out: str) -> None:
    """Write a video of shapes and ask about it.

    The questions are asked twice: with 8 uncompressed frames, and with packed frames.
    """
    from pipelines.demo import run_demo

    with progress_bar() as progress:
        report = run_demo(out, progress)
    for line in report.lines:
        print_line(line)
    print_line()
    print_table(report.answers, header=report.answer_columns)
    print_line()
    print_table(report.costs, header=report.cost_columns)

"""What a person sees: lines, tables and progress on a terminal; quiet in a pipe."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click

Progress = Callable[[str, int, int], None]


def print_what_the_terminal_can() -> None:
    """Let characters that the terminal's encoding lacks come out as escapes, not as an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def plain(text: str) -> str:
    """Make text safe to print: control characters, which could steer a terminal, show as escapes."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode("ascii") for char in text
    )


def say(text: str = "") -> None:
    """Print a line of output."""
    click.echo(plain(text))


def remark(kind: str, text: str) -> None:
    """Print an error, a hint, a warning or a note on standard error, on one line."""
    colours = {"error": "red", "warning": "yellow"}
    head = click.style(f"{kind}:", fg=colours.get(kind), bold=True)
    colour = False if os.environ.get("NO_COLOR") else None
    click.echo(f"{head} {' '.join(plain(text).split())}", err=True, color=colour)


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> None:
    """Print rows in aligned columns."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, show_header=bool(header), pad_edge=False, header_style="bold")
    for name in header or [""] * len(rows[0]):
        shown.add_column(name)
    for row in rows:
        shown.add_row(*(Text(plain(cell)) for cell in row))
    console = Console(highlight=False, width=10_000)  # no value is ever cut
    with console.capture() as captured:
        console.print(shown)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def size(num_bytes: int) -> str:
    """Show a number of bytes."""
    if num_bytes >= 1e9:
        return f"{num_bytes / 1e9:.1f} GB"
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:.1f} kB"


def markdown_table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> None:
    """Print rows as a table of Markdown."""
    for line in (header, ["---"] * len(header), *rows):
        say(f"| {' | '.join(cell.strip() for cell in line)} |")


def _silently(_stage: str, _done: int, _total: int) -> None:
    """Show nothing."""


@contextmanager
def progress() -> Iterator[Progress]:
    """Show a bar for the stage that is running, on a terminal; do nothing in a pipe."""
    if not sys.stderr.isatty():
        yield _silently
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total)

        yield show

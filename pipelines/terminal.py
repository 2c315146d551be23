"""Terminal output: lines, messages, tables, and a progress bar that stays quiet in a pipe."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import click

Progress = Callable[[str, int, int], None]
"""Takes the current stage, and how many of how many items are done."""


def configure_output() -> None:
    """Print characters that the terminal's encoding lacks as escapes instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    """Escape control characters, which could steer a terminal; keep newlines and tabs."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode("ascii") for char in text
    )


def print_line(text: str = "") -> None:
    """Print a line of output."""
    click.echo(printable(text))


def print_message(kind: str, text: str) -> None:
    """Print an error, a hint, a warning or a note on standard error, on one line."""
    colours = {"error": "red", "warning": "yellow"}
    head = click.style(f"{kind}:", fg=colours.get(kind), bold=True)
    colour = False if os.environ.get("NO_COLOR") else None
    click.echo(f"{head} {' '.join(printable(text).split())}", err=True, color=colour)


def print_messages(kind: str, texts: Iterable[str]) -> None:
    """Print several messages of a kind, each once."""
    for text in dict.fromkeys(texts):
        print_message(kind, text)


def print_table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> None:
    """Print rows in aligned columns."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=bool(header), pad_edge=False, header_style="bold")
    for name in header or [""] * len(rows[0]):
        table.add_column(name)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(highlight=False, width=10_000)  # wide enough to never cut a value
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def print_markdown_table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> None:
    """Print rows as a Markdown table."""
    for line in (header, ["---"] * len(header), *rows):
        print_line(f"| {' | '.join(cell.strip() for cell in line)} |")


def format_bytes(num_bytes: int) -> str:
    """Format a number of bytes, such as ``"1.5 GB"``."""
    if num_bytes >= 1e9:
        return f"{num_bytes / 1e9:.1f} GB"
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:.1f} kB"


def format_clock(seconds: float) -> str:
    """Format a duration as hours, minutes and seconds, such as ``"1:02:03"``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show a bar for the current stage on a terminal; show nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def update(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total)

        yield update

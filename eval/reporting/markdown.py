"""The tables of a report as Markdown, for a paper or a pull request."""

from __future__ import annotations

from collections.abc import Iterator

from eval.reporting.contents import Report
from eval.reporting.tables import Table, tables_of
from eval.reporting.texts import NAME_LIMIT, escaped, shown


def to_markdown(report: Report) -> str:
    """Write a report's tables as Markdown (GitHub's, which pandoc reads too); text in them is text, never markup."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"# {escaped(shown(report.title, NAME_LIMIT))}"
    for chapter in report.chapters:
        yield ""
        yield f"## {escaped(shown(chapter.title, NAME_LIMIT))}"
        for table in tables_of(chapter):
            yield ""
            yield from _table(table)


def _table(table: Table) -> Iterator[str]:
    yield f"**{escaped(table.caption)}**"
    yield ""
    yield _row(table.columns)
    yield "| " + " | ".join("---:" if letter == "r" else "---" for letter in table.align) + " |"
    for row in table.rows:
        yield _row(row)
    for note in table.notes:
        yield ""
        yield escaped(note)


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(escaped(cell) for cell in cells) + " |"

"""The tables of a report as Markdown, for a paper or a pull request."""

from __future__ import annotations

from collections.abc import Iterator

from eval.reporting.formatting import MAX_NAME, escape_markdown, safe_text
from eval.reporting.report import Report
from eval.reporting.tables import Table, tables_of


def to_markdown(report: Report) -> str:
    """Write a report's tables as GitHub's Markdown, which pandoc also reads; no text in them is markup."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"# {escape_markdown(safe_text(report.title, MAX_NAME))}"
    for chapter in report.chapters:
        yield ""
        yield f"## {escape_markdown(safe_text(chapter.title, MAX_NAME))}"
        for table in tables_of(chapter):
            yield ""
            yield from _table(table)


def _table(table: Table) -> Iterator[str]:
    yield f"**{escape_markdown(table.caption)}**"
    yield ""
    yield _row(table.columns)
    yield "| " + " | ".join("---:" if letter == "r" else "---" for letter in table.align) + " |"
    for row in table.rows:
        yield _row(row)
    for note in table.notes:
        yield ""
        yield escape_markdown(note)


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(escape_markdown(cell) for cell in cells) + " |"

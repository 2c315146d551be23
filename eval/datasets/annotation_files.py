"""Reading of annotation files row by row: a broken row becomes a problem with its place, and the others are read."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.datasets.samples import DatasetError, RowProblem

_HEADER_BYTES = 1 << 12
"""Limit on the length of a header."""


def read_json_list(file: Path) -> list[Any]:
    """Read a file with a JSON list, in any Unicode encoding, with or without a byte-order mark.

    Raises:
        DatasetError: it cannot be read, or holds something else.
    """
    try:
        rows = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{file} cannot be read: {error}") from error
    if not isinstance(rows, list):
        raise DatasetError(f"{file} is not a list of rows")
    return rows


def check_object(file: Path, number: int, row: Any, texts: Sequence[str], ids: Sequence[str] = ()) -> RowProblem | None:
    """Check that a row of a JSON list is an object with texts, and with ids (text or integers)."""
    place = f"row {number}"
    if not isinstance(row, dict):
        return RowProblem(file=str(file), place=place, message=f"is not an object but {row!r:.80}")
    for column in (*texts, *ids):
        value = row.get(column)
        if column in ids and type(value) is int:
            continue
        message = f"is {value!r:.80}, not text" if not isinstance(value, str) else _problem_of(value)
        if message:
            return RowProblem(file=str(file), place=place, column=column, message=message)
    return None


def duplicate(file: Path, place: str, key: str) -> RowProblem:
    """The problem of an id that occurs earlier in the file."""
    return RowProblem(file=str(file), place=place, message=f"repeats the id {key!r}", kind="duplicate")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a table: its place, and its cells by column, or its problem."""

    place: str
    cells: Mapping[str, str] = field(default_factory=dict)
    problem: RowProblem | None = None


def read_header(file: Path) -> list[str]:
    """Read the column names of a table, in lower case; empty if the first line is malformed.

    Raises:
        DatasetError: the file cannot be read.
    """
    try:
        with file.open("rb") as opened:
            start = opened.read(_HEADER_BYTES)
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error}") from error
    return _names(_lines(start, errors="ignore")[0])  # a character may be cut, but not in the first line


def read_table(file: Path) -> Iterator[Line]:
    """Yield the lines of a table below its header. Cells are separated by tabs, or by commas if the header has no tab.

    A cell may be quoted, with quotation marks in it doubled; it cannot contain a line break.

    Raises:
        DatasetError: the file cannot be read.
    """
    try:
        header, *lines = _lines(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file} cannot be read: {error}") from error
    names, separator = _names(header), _separator(header)
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        place = f"line {number}"
        cells = _split(line, separator)
        if not isinstance(cells, str) and len(cells) != len(names):
            cells = f"has {len(cells)} columns, not the header's {len(names)}: {', '.join(names)}"
        if isinstance(cells, str):
            yield Line(place=place, problem=RowProblem(file=str(file), place=place, message=cells))
            continue
        row = dict(zip(names, cells, strict=True))
        problems = ((name, message) for name, cell in row.items() if (message := _problem_of(cell)))
        column, message = next(problems, ("", ""))
        problem = RowProblem(file=str(file), place=place, column=column, message=message) if message else None
        yield Line(place=place, cells=row, problem=problem)


def _lines(content: bytes, errors: str = "strict") -> list[bytes]:
    """Split a file into lines, in UTF-8 and without a byte-order mark.

    Raises:
        ValueError: the file starts with the byte-order mark of UTF-16 and has another encoding.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        content = content.decode("utf-16", errors).encode("utf-8", errors)
    return content.removeprefix(codecs.BOM_UTF8).split(b"\n")


def _names(header: bytes) -> list[str]:
    cells = _split(header, _separator(header))
    return [] if isinstance(cells, str) else [cell.strip().lower() for cell in cells]


def _separator(header: bytes) -> str:
    return "\t" if b"\t" in header else ","


def _split(line: bytes, separator: str) -> list[str] | str:
    """Split a line into cells; returns a message if it is malformed."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return f"has the byte {line[error.start]:#04x} at position {error.start}, which is not UTF-8"
    try:
        rows = list(csv.reader([text], delimiter=separator, strict=True))
    except csv.Error as error:
        return f"has malformed cells: {error}"
    return rows[0] if rows else []


def _problem_of(text: str) -> str:
    """Say why a text cannot be a question, an answer or a name; empty if it can."""
    if "\0" in text:
        return f"is {text!r:.80}, which contains a null character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"is {text!r:.80}, which contains a lone surrogate"
    return ""

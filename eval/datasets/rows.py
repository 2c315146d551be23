"""Rows of files, checked one by one: a broken one is a fault that names its place, and the others are read on."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from eval.datasets.sample import DatasetError, Sample

_HEADER_BYTES = 1 << 12
"""No header is longer."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many questions there are, about how many videos."""

    questions: int
    videos: int


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with one row.

    Attributes:
        file: as it was found.
        place: ``row 3``, counted from 0, in a list of JSON; ``line 3``, counted from 1, in a file of lines.
        column: where in the row; None where it is the whole row.
        says: what is there and what is needed.
        kind: ``duplicate`` where an id stands there a second time, ``broken`` for all else.
    """

    file: str
    place: str
    column: str | None = None
    says: str
    kind: Literal["broken", "duplicate"] = "broken"

    def __str__(self) -> str:
        return f"{self.file}, {self.place}: {f'{self.column} ' if self.column else ''}{self.says}"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a folder's files hold of a question set.

    Attributes:
        name: the set's, in :data:`eval.datasets.SETS`; None for questions of no published set.
        files: what was read.
        num_rows: rows of questions, whole or not.
        samples: the whole ones, in file order.
        faults: the rows that are not whole.
        unanswered: ids of questions that no answer goes with.
        unasked: ids of answers that no question goes with.
        promised: how many questions and videos the folder itself says it holds; None where it does not say.
    """

    name: str | None
    files: tuple[str, ...]
    num_rows: int
    samples: tuple[Sample, ...]
    faults: tuple[Fault, ...] = ()
    unanswered: tuple[str, ...] = ()
    unasked: tuple[str, ...] = ()
    promised: Counts | None = None

    def whole(self) -> list[Sample]:
        """The samples, in file order, of a set in which nothing is broken.

        Raises:
            DatasetError: something is; it names the first place, and says how many there are.
        """
        if self.faults:
            others = len(self.faults) - 1
            more = f" ({others:,} more such row{'s' if others > 1 else ''})" if others else ""
            raise DatasetError(f"{self.faults[0]}{more}")
        alone = [*self.unanswered, *self.unasked]
        if alone:
            raise DatasetError(
                f"{len(alone)} ids stand in only one of {' and '.join(self.files)}, such as {alone[0]!r}"
            )
        return list(self.samples)


def json_list(file: Path) -> list[Any]:
    """Read a file that holds one list. Any Unicode encoding is read, with or without a byte-order mark.

    Raises:
        DatasetError: it cannot be read, or holds something else.
    """
    try:
        rows = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{file} cannot be read: {error}") from error
    if not isinstance(rows, list):
        raise DatasetError(f"{file} holds no list of rows")
    return rows


def check_object(file: Path, number: int, row: Any, texts: Sequence[str], ids: Sequence[str] = ()) -> Fault | None:
    """Say what is wrong with a row of JSON: it must be an object, with text and with ids (text or whole numbers)."""
    place = f"row {number}"
    if not isinstance(row, dict):
        return Fault(file=str(file), place=place, says=f"not an object but {row!r:.80}")
    for column in (*texts, *ids):
        value = row.get(column)
        if column in ids and type(value) is int:
            continue
        says = f"is {value!r:.80}, not text" if not isinstance(value, str) else _unusable(value)
        if says:
            return Fault(file=str(file), place=place, column=column, says=says)
    return None


def twice(file: Path, place: str, key: str) -> Fault:
    """The fault of an id that stands in a file already."""
    return Fault(file=str(file), place=place, says=f"the id {key!r} stands there twice", kind="duplicate")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a table: its place, and its cells by column, or what is wrong with it."""

    place: str
    cells: Mapping[str, str] = field(default_factory=dict)
    fault: Fault | None = None


def header_of(file: Path) -> list[str]:
    """Read the names of a table's columns, in lower case; none where the file holds no such line.

    Raises:
        DatasetError: the file cannot be read.
    """
    try:
        with file.open("rb") as opened:
            start = opened.read(_HEADER_BYTES)
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error}") from error
    return _names(_lines(start, errors="ignore")[0])  # it may be cut off within a character, but not in the first line


def table_lines(file: Path) -> Iterator[Line]:
    """Read the lines under a table's header, one by one. Cells are separated by tabs, or by commas where no tab is.

    A cell may stand in quotation marks, and a quotation mark in it is doubled then; no cell goes on in the next line.

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
            yield Line(place=place, fault=Fault(file=str(file), place=place, says=cells))
            continue
        row = dict(zip(names, cells, strict=True))
        column, says = next(((name, says) for name, cell in row.items() if (says := _unusable(cell))), ("", ""))
        fault = Fault(file=str(file), place=place, column=column, says=says) if says else None
        yield Line(place=place, cells=row, fault=fault)


def _lines(content: bytes, errors: str = "strict") -> list[bytes]:
    """Split a file at its line ends, in UTF-8 and without a byte-order mark.

    Raises:
        ValueError: a byte-order mark says UTF-16, and it is none.
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
    """Split a line into its cells, or say what is wrong with it."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return f"byte {line[error.start]:#04x} at position {error.start} is no UTF-8; save the file in that encoding"
    try:
        rows = list(csv.reader([text], delimiter=separator, strict=True))
    except csv.Error as error:
        return f"its cells cannot be told apart: {error}"
    return rows[0] if rows else []


def _unusable(text: str) -> str:
    """Say why a text can be no question, answer or name; empty where it can."""
    if "\0" in text:
        return f"is {text!r:.80}, which holds a NUL"
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"is {text!r:.80}, which holds half a character"
    return ""

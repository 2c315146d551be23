"""The folder of a run: a description of the run, and one line for each question that is done."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.jsonl import BrokenLine, JsonlAppender, encode_rows, read_rows
from vidzip.errors import VidzipError, WriteError
from vidzip.files import atomic_file, lock_folder, write_error, write_text

RUN, ANSWERS = "run.json", "answers.jsonl"
SCHEMA = "vidzip/run/1"

Row = dict[str, Any]


class RunMismatch(VidzipError):
    """The folder holds another run, or something else."""


class BrokenRunLog(VidzipError):
    """The answers in a run's folder cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a question has no answer.

    Attributes:
        kind: the name of an error, or ``"Crashed"`` or ``"TimedOut"``.
        reason: what happened.
    """

    kind: str
    reason: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Describe an error."""
        return cls(kind=type(error).__name__, reason=str(error))


class RunLog:
    """The rows of one run, in the order in which they were added; :func:`open_run_log` opens one.

    Attributes:
        rows: the row of each question that is done, by question id.
        num_failed: number of rows that have a failure instead of an answer.
    """

    def __init__(self, rows: dict[str, Row], write: Callable[[Sequence[Row]], object]) -> None:
        self.rows = rows
        self.num_failed = count_failed(rows.values())
        self._write = write

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows to the file. When this returns, they are on the disk.

        Raises:
            ValueError: a question already has a row.
            DiskFull, WriteError: they cannot be written; the file is as it was before.
        """
        ids = [str(row["id"]) for row in rows]
        repeated = [key for key in ids if key in self.rows] or len(set(ids)) < len(ids)
        if repeated:
            raise ValueError(f"questions would be written twice: {repeated}")
        if rows:
            self._write(rows)
            self.rows.update(zip(ids, rows, strict=True))
            self.num_failed += count_failed(rows)


def count_failed(rows: Iterable[Row]) -> int:
    """Count the lines that have a failure instead of an answer."""
    return sum(row.get("failure") is not None for row in rows)


@contextmanager
def open_run_log(folder: str, run: Mapping[str, Any], *, retry_failed: bool = False) -> Iterator[RunLog]:
    """Open the folder of a new run, or of one that resumes, and lock it until the block ends.

    An incomplete last line, left by a run that was killed, is removed.

    Args:
        folder: new, empty, or the folder of this run.
        run: description of the run: everything that its answers depend on.
        retry_failed: remove the lines with failures, so that their questions are asked again.

    Raises:
        RunMismatch: the folder holds another run, or something else.
        BrokenRunLog: its answers cannot be read.
        WriteError: another process uses it, or it cannot be written.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise WriteError(f"cannot create the folder {folder!r}: {error}", hint="give another folder") from error
    with lock_folder(folder):
        run = json.loads(json.dumps({"schema": SCHEMA, **run}))
        path, answers = os.path.join(folder, RUN), os.path.join(folder, ANSWERS)
        if os.path.exists(path):
            _check_same(folder, _read_description(path), run)
        else:
            _check_empty(folder)
            write_text(path, json.dumps(run, ensure_ascii=False, indent=1) + "\n")
        rows = _read_answers(answers, repair=True)
        if retry_failed and count_failed(rows.values()):
            rows = {key: row for key, row in rows.items() if row.get("failure") is None}
            with atomic_file(answers) as file:
                file.write(encode_rows(rows.values()))
        with JsonlAppender(answers) as appender:

            def write(rows: Sequence[Row]) -> None:
                try:
                    appender.append(rows)
                except OSError as error:
                    raise write_error(answers, error) from error

            yield RunLog(rows, write)


def read_run(folder: str) -> tuple[dict[str, Any], dict[str, Row]]:
    """Read a run's folder without changing it.

    Returns:
        The description of the run, and its lines by question id, in file order.

    Raises:
        RunMismatch: the folder holds no run.
        BrokenRunLog: its answers cannot be read.
    """
    return _read_description(os.path.join(folder, RUN)), _read_answers(os.path.join(folder, ANSWERS))


def _read_description(path: str) -> dict[str, Any]:
    try:
        run = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunMismatch(f"cannot read the run's description {path!r}: {error}", hint="give a run's folder") from error
    if not isinstance(run, dict) or run.get("schema") != SCHEMA:
        raise RunMismatch(f"{path!r} is not of schema {SCHEMA}", hint="give a run's folder")
    return run


def _check_same(folder: str, existing: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    for key in {**existing, **run}:
        if existing.get(key) != run.get(key):
            raise RunMismatch(
                f"{folder!r} holds another run: its {key} is {existing.get(key)!r}, not {run.get(key)!r}",
                hint="give another folder with --out, or the options that the run was started with",
            )


def _check_empty(folder: str) -> None:
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    if names:
        raise RunMismatch(f"{folder!r} holds {names[0]!r}, but no run", hint="give a new or empty folder with --out")


def _read_answers(path: str, *, repair: bool = False) -> dict[str, Row]:
    try:
        rows = read_rows(path, repair=repair)
    except BrokenLine as error:
        raise BrokenRunLog(error.message, hint=error.hint) from error
    by_id: dict[str, Row] = {}
    for number, row in enumerate(rows, start=1):
        key = row.get("id")
        if not isinstance(key, str) or key in by_id:
            problem = f"a second row of {key!r}" if isinstance(key, str) else f"its id is {key!r}, not text"
            raise BrokenRunLog(f"{path!r}, line {number}: {problem}", hint="delete the line, and run the command again")
        by_id[key] = row
    return by_id

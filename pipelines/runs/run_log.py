"""The folder of a run: a description of the run, and one line for each question that is done."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.files import alone_in, write_text
from vidzip.errors import VidzipError, WriteError
from vidzip.files import cannot_write, whole_file

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
    """The answers of one run, in the order in which they were added; :func:`open_run_log` opens one.

    Attributes:
        folder: the run's folder.
        rows: the line of each question, by question id.
        num_failed: number of lines that have a failure instead of an answer.
    """

    def __init__(self, folder: str, rows: dict[str, Row]) -> None:
        self.folder = folder
        self.rows = rows
        self.num_failed = count_failed(rows.values())

    def add(self, rows: Sequence[Row]) -> None:
        """Append lines to the file. When this returns, they are on the disk.

        Raises:
            ValueError: a question already has a line.
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

    def _write(self, rows: Sequence[Row]) -> None:
        _append(os.path.join(self.folder, ANSWERS), _encode(rows))


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
    with alone_in(folder):
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
            with whole_file(answers) as file:
                file.write(_encode(rows.values()))
        yield RunLog(folder, rows)


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


def _encode(rows: Iterable[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "surrogatepass")


def _read_answers(path: str, *, repair: bool = False) -> dict[str, Row]:
    """Read the lines by question id, without an incomplete last one; ``repair`` removes it from the file."""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        return {}
    complete = content[: content.rfind(b"\n") + 1]
    rows: dict[str, Row] = {}
    for number, line in enumerate(complete.split(b"\n")[:-1], start=1):
        try:
            row = json.loads(line.decode("utf-8", "surrogatepass"))
            key = row["id"]
        except (ValueError, KeyError, TypeError) as error:
            raise BrokenRunLog(
                f"{path!r}, line {number}, is not an answer: {error!r}",
                hint="remove the line and run the command again",
            ) from error
        if key in rows:
            raise BrokenRunLog(
                f"{path!r}, line {number}: question {key!r} already has a line", hint="remove one of the two"
            )
        rows[key] = row
    if repair and complete != content:
        os.truncate(path, len(complete))
    return rows


def _append(path: str, text: bytes) -> None:
    """Append text and wait until it is on the disk; on failure, restore the file."""
    is_new = not os.path.exists(path)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        length = os.fstat(handle).st_size
        try:
            left = memoryview(text)
            while left:
                left = left[os.write(handle, left) :]
            os.fsync(handle)
        except OSError as error:
            os.ftruncate(handle, length)
            raise cannot_write(path, error) from error
    finally:
        os.close(handle)
    if is_new:
        _sync_folder(os.path.dirname(path))


def _sync_folder(folder: str) -> None:
    """Write a new file's directory entry to the disk, if the file system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems cannot sync folders
    finally:
        os.close(handle)

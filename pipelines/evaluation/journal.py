"""The folder of a run: what was asked of it, and one line for each question that is done."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.files import alone_in, write_text
from vidzip.errors import DiskFull, VidzipError, WriteError
from vidzip.files import whole_file

RUN, ANSWERS = "run.json", "answers.jsonl"
SCHEMA = "vidzip/run/1"


class OtherRun(VidzipError):
    """The folder holds another run, or something else."""


class BrokenJournal(VidzipError):
    """A file of answers that no run of this kind left behind."""


class Journal:
    """The answers of one run, in the order in which they were given; :func:`open_journal` opens one.

    Attributes:
        folder: where it lies.
        run: what the run is, as JSON takes it.
        rows: every question's line, by its id.
        num_failed: those that say why there is no answer.
    """

    def __init__(self, folder: str, run: Mapping[str, Any], rows: dict[str, dict[str, Any]]) -> None:
        self.folder = folder
        self.run = run
        self.rows = rows
        self.num_failed = sum(row.get("failure") is not None for row in rows.values())

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the lines of questions that are done; once this returns, they outlive the machine's power.

        Raises:
            ValueError: a question has a line already.
            DiskFull, WriteError: they cannot be written; what was there before is as it was.
        """
        ids = [str(row["id"]) for row in rows]
        doubled = [one for one in ids if one in self.rows] or len(set(ids)) < len(ids)
        if doubled:
            raise ValueError(f"questions would be written twice: {doubled}")
        if not rows:
            return
        path = os.path.join(self.folder, ANSWERS)
        _append(path, _lines(rows))
        self.rows.update((str(row["id"]), dict(row)) for row in rows)
        self.num_failed += sum(row.get("failure") is not None for row in rows)


@contextmanager
def open_journal(folder: str, run: Mapping[str, Any], *, retry_failed: bool = False) -> Iterator[Journal]:
    """Open a run's folder, new or to be gone on with, and keep other processes out of it until the block ends.

    A line that was being written when the run was ended is taken away again.

    Args:
        folder: new, empty, or this run's.
        run: what the run is: all that its answers depend on.
        retry_failed: take away the lines that say why there is no answer, so that their questions are asked again.

    Raises:
        OtherRun: the folder holds another run, or something else.
        BrokenJournal: its answers cannot be read.
        WriteError: another process is in it, or it cannot be written.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{folder!r} cannot be made a folder: {error}", hint="give another folder") from error
    with alone_in(folder):
        described = {"schema": SCHEMA, **run}
        path = os.path.join(folder, RUN)
        if os.path.exists(path):
            _check_same(path, described)
        else:
            _check_empty(folder)
            write_text(path, json.dumps(described, ensure_ascii=False, indent=1) + "\n")
        rows = _read(os.path.join(folder, ANSWERS))
        if retry_failed and any(row.get("failure") is not None for row in rows.values()):
            rows = {key: row for key, row in rows.items() if row.get("failure") is None}
            with whole_file(os.path.join(folder, ANSWERS)) as file:
                file.write(_lines(rows.values()))
        yield Journal(folder, described, rows)


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "surrogatepass")


def read_run(folder: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Read a run's folder without changing it: what the run is, and its lines by question id, in their order.

    Raises:
        OtherRun: the folder holds no run.
        BrokenJournal: its answers cannot be read.
    """
    described = _described(os.path.join(folder, RUN))
    return described, _read(os.path.join(folder, ANSWERS), repair=False)


def _described(path: str) -> dict[str, Any]:
    try:
        described = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OtherRun(f"{path!r} describes no run: {error}", hint="give the folder of a run") from error
    if not isinstance(described, dict) or described.get("schema") != SCHEMA:
        raise OtherRun(f"{path!r} describes no run of this kind", hint="give the folder of a run")
    return described


def _check_same(path: str, run: Mapping[str, Any]) -> None:
    there = _described(path)
    wanted = json.loads(json.dumps(run))
    unlike = [key for key in {**there, **wanted} if there.get(key) != wanted.get(key)]
    if unlike:
        key = unlike[0]
        raise OtherRun(
            f"{os.path.dirname(path)!r} holds another run: its {key} is {there.get(key)!r}, not {wanted.get(key)!r}",
            hint="name another folder with --out, or give what that run was started with",
        )


def _check_empty(folder: str) -> None:
    held = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    if held:
        raise OtherRun(f"{folder!r} holds no run, but {held[0]!r}", hint="name a new or empty folder with --out")


def _read(path: str, *, repair: bool = True) -> dict[str, dict[str, Any]]:
    """Read the lines, by question id; a last one without an end is taken away."""
    try:
        held = Path(path).read_bytes()
    except FileNotFoundError:
        return {}
    whole = held[: held.rfind(b"\n") + 1]
    rows: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
        try:
            row = json.loads(line.decode("utf-8", "surrogatepass"))
            key = row["id"]
        except (ValueError, KeyError, TypeError) as error:
            raise BrokenJournal(
                f"{path!r}, line {number}, is no answer: {error!r}", hint="take the line away, and run it again"
            ) from error
        if key in rows:
            raise BrokenJournal(
                f"{path!r}, line {number}: the question {key!r} stands there twice", hint="take one away"
            )
        rows[key] = row
    if repair and whole != held:
        os.truncate(path, len(whole))
    return rows


def _append(path: str, text: bytes) -> None:
    """Append text and wait until it is on the disk; where that fails, take away what was written of it."""
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
            kind = DiskFull if error.errno in _NO_ROOM else WriteError
            raise kind(
                f"{path!r} cannot be written: {error.strerror or error}", hint="make room; the same command goes on"
            ) from error
    finally:
        os.close(handle)
    if is_new:
        _sync_folder(os.path.dirname(path))


def _sync_folder(folder: str) -> None:
    """Make a new file's name outlive the machine's power, where the system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems sync no folders
    finally:
        os.close(handle)


_NO_ROOM = (28, 122)  # ENOSPC and EDQUOT

"""JSON Lines files that only grow: one object a line, appended so that an interrupted write costs no complete line."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from filelock import lock_descriptor

from eval.errors import EvalError


class BrokenLine(EvalError):
    """A complete line of a file is not a JSON object."""


def encode_rows(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Write rows as JSON Lines in UTF-8. Lone surrogates, which text from other tools may hold, are kept."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "surrogatepass")


def read_rows(path: str, *, repair: bool = False) -> list[dict[str, Any]]:
    """Read a file's rows; row i is line i + 1. A missing file has no rows.

    A last line without a line end was interrupted while it was written: it is skipped, and cut off with ``repair``.

    Raises:
        BrokenLine: a complete line is not a JSON object; the message gives path and line number.
        OSError: the file cannot be read or cut.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        return []
    complete = content[: content.rfind(b"\n") + 1]
    rows = []
    for number, line in enumerate(complete.split(b"\n")[:-1], start=1):
        try:
            row = json.loads(line.decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError) as error:
            raise BrokenLine(f"{path!r}, line {number}, is not JSON: {error}", "delete the line") from None
        if not isinstance(row, dict):
            raise BrokenLine(f"{path!r}, line {number}, is not a JSON object", "delete the line")
        rows.append(row)
    if repair and len(complete) < len(content):
        os.truncate(path, len(complete))
    return rows


class JsonlAppender:
    """Appends rows to a file, which it creates if it is missing, and keeps other appenders out until it is closed.

    If the file may end in an interrupted line, call :func:`read_rows` with ``repair`` before the first append.

    Args:
        path: the file.
        sync_seconds: a row survives the end of the process once :meth:`append` returns, and a power failure at most so
            much later.

    Raises:
        BlockingIOError: another process is appending to the file.
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str, *, sync_seconds: float = 0.0) -> None:
        is_new = not os.path.exists(path)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self._sync_seconds = sync_seconds
        self._synced_at = 0.0
        is_locked = True
        with suppress(OSError):  # some network file systems have no locks
            is_locked = lock_descriptor(self._file, blocking=False)
        if not is_locked:
            os.close(self._file)
            raise BlockingIOError
        if is_new:
            _sync_folder(os.path.dirname(path) or os.curdir)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows; if that raises an OSError, the file is as it was before."""
        length = os.fstat(self._file).st_size
        try:
            left = memoryview(encode_rows(rows))
            while left:
                left = left[os.write(self._file, left) :]
            if time.monotonic() >= self._synced_at + self._sync_seconds:
                os.fsync(self._file)
                self._synced_at = time.monotonic()
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, length)
            raise

    def close(self) -> None:
        """Force all rows to the disk and close the file."""
        try:
            os.fsync(self._file)
        finally:
            os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _sync_folder(folder: str) -> None:
    """Make a new file's name survive a power failure, on systems that can."""
    with suppress(OSError):
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)

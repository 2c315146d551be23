"""Replies of judges, kept as they came: one line of JSON each, in a file that only grows."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eval.judging.errors import RepliesError
from eval.judging.judge import Judge, messages

SYNC_SECONDS = 1.0
"""A reply is handed to the system at once, and forced onto the disk at most so much later."""

_Key = tuple[str, str, str, str]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a judge said about one answer.

    Attributes:
        text: as it came; empty where the judge said nothing.
        model: the model that the server says has replied.
        finish: why it ended, such as ``stop`` or ``length``; empty where the server does not say.
        at: when it came, in UTC: a hosted model may change behind its name.
    """

    text: str
    model: str
    finish: str
    at: str


class Replies:
    """The replies of a file; :func:`read_replies` reads them, :func:`open_replies` adds to them.

    Attributes:
        path: where they lie.
        judges: what each judge is that replied, by its fingerprint.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.judges: dict[str, dict[str, Any]] = {}
        self._kept: dict[_Key, list[Reply]] = {}
        self._handle: int | None = None
        self._synced_at = 0.0

    def of(self, fingerprint: str, question: str, answer: str, prediction: str) -> list[Reply]:
        """What a judge said about an answer, in order: several times where it could not be read at first."""
        return self._kept.get((fingerprint, question, answer, prediction), [])

    def models(self, fingerprint: str) -> set[str]:
        """The models that replied, as the server calls them, where one was asked."""
        return {one.model for key, kept in self._kept.items() if key[0] == fingerprint for one in kept}

    def choose(self, name: str | None) -> str:
        """The fingerprint of the judge that is meant.

        Args:
            name: its model or its fingerprint; None where only one judge has replied.

        Raises:
            RepliesError: there is none, or more than one.
        """
        meant = [key for key, judge in self.judges.items() if name is None or name in {key, judge["model"]}]
        if len(meant) == 1:
            return meant[0]
        there = ", ".join(f"{judge['model']} ({key})" for key, judge in self.judges.items()) or "none"
        if not meant:
            wanted = "no judge" if name is None else f"no judge {name!r}"
            raise RepliesError(f"{self.path!r} holds replies of {wanted}; the judges there: {there}")
        raise RepliesError(
            f"{self.path!r} holds replies of several judges: {there}", hint="name one of them, by its fingerprint"
        )

    def add(self, judge: Judge, question: str, answer: str, prediction: str, reply: Reply) -> None:
        """Keep a reply.

        Once this returns, it outlives this process; the machine's power, :data:`SYNC_SECONDS` later.

        Raises:
            RepliesError: it cannot be written; what was there before is as it was.
        """
        key = (judge.fingerprint, question, answer, prediction)
        lines: list[Mapping[str, Any]] = []
        described = judge.described()
        if key[0] not in self.judges:
            lines.append({"judge": described, "messages": messages("", "", "")})
        lines.append({"by": key[0], "question": question, "answer": answer, "prediction": prediction, **asdict(reply)})
        self._append("".join(json.dumps(line) + "\n" for line in lines).encode())
        self.judges.setdefault(key[0], described)
        self._kept.setdefault(key, []).append(reply)

    def _append(self, text: bytes) -> None:
        if self._handle is None:
            raise ValueError(f"{self.path!r} was opened to be read; open_replies opens it to be added to")
        length = os.fstat(self._handle).st_size
        try:
            left = memoryview(text)
            while left:
                left = left[os.write(self._handle, left) :]
            if time.monotonic() >= self._synced_at + SYNC_SECONDS:
                os.fsync(self._handle)
                self._synced_at = time.monotonic()
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._handle, length)
            raise _cannot_write(self.path, error) from error

    def _read(self, held: bytes) -> None:
        for number, line in enumerate(held.split(b"\n")[:-1], start=1):
            try:
                row = json.loads(line)
                if "judge" in row:
                    judge = row["judge"]
                    self.judges.setdefault(str(judge["fingerprint"]), {"model": str(judge["model"]), **judge})
                    continue
                key = (row["by"], row["question"], row["answer"], row["prediction"])
                reply = Reply(text=row["text"], model=row["model"], finish=row["finish"], at=row["at"])
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise RepliesError(
                    f"{self.path!r}, line {number}, is no reply of a judge: {error!r}", hint="take the line away"
                ) from None
            if not all(isinstance(text, str) for text in (*key, reply.text, reply.model, reply.finish, reply.at)):
                raise RepliesError(f"{self.path!r}, line {number}: what should be text is none")
            if key[0] not in self.judges:
                raise RepliesError(f"{self.path!r}, line {number}, is of a judge that no line before it describes")
            self._kept.setdefault(key, []).append(reply)


def read_replies(path: str) -> Replies:
    """Read kept replies without touching them. A file that is not there holds none; a torn last line is none.

    Raises:
        RepliesError: it cannot be read, or holds something else.
    """
    replies, _ = _load(path)
    return replies


@contextmanager
def open_replies(path: str) -> Iterator[Replies]:
    """Open kept replies, or begin a file of them, and keep other processes from adding until the block ends.

    A last line that was being written when its process ended is taken away.

    Raises:
        RepliesError: it cannot be opened, holds something else, or another process adds to it.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    except (OSError, ValueError) as error:
        raise _cannot_write(path, error) from error
    try:
        _lock(handle, path)
        replies, length = _load(path)
        try:
            os.ftruncate(handle, length)
            replies._handle = handle  # noqa: SLF001 - its other half
            yield replies
            os.fsync(handle)
        except OSError as error:
            raise _cannot_write(path, error) from error
        finally:
            replies._handle = None  # noqa: SLF001 - likewise
    finally:
        os.close(handle)


def _load(path: str) -> tuple[Replies, int]:
    """Read the whole lines of a file; returns how many bytes they are, too."""
    replies = Replies(path)
    try:
        held = Path(path).read_bytes()
    except FileNotFoundError:
        return replies, 0
    except (OSError, ValueError) as error:
        raise RepliesError(f"{path!r} cannot be read: {error}") from error
    whole = held[: held.rfind(b"\n") + 1]
    replies._read(whole)  # noqa: SLF001 - its other half
    return replies, len(whole)


def _lock(handle: int, path: str) -> None:
    """Keep other processes out, where the system can."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RepliesError(
            f"another process is adding to {path!r}", hint="wait for it to end, or name another file"
        ) from None
    except OSError:
        pass  # some network file systems lock nothing


def _cannot_write(path: str, error: OSError | ValueError) -> RepliesError:
    says = getattr(error, "strerror", None) or error
    return RepliesError(
        f"{path!r} cannot be written: {says}", hint="make room, or name another file; the same command goes on"
    )

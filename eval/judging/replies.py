"""The replies of judges, kept as they came in a file of JSON Lines that only grows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from eval.jsonl import BrokenLine, JsonlAppender, read_rows
from eval.judging.errors import RepliesError
from eval.judging.judge import Judge, messages

SYNC_SECONDS = 1.0
"""A reply survives the end of the process at once, and a power failure at most so much later."""

_Key = tuple[str, str, str, str]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A judge's reply about one answer.

    Attributes:
        text: the reply; empty if the judge said nothing.
        model: the model that replied, according to the server.
        finish: why it ended, such as ``stop`` or ``length``; empty if the server does not say.
        at: when it came, in UTC: the model behind a hosted name may change.
    """

    text: str
    model: str
    finish: str
    at: str


class ReplyStore:
    """The replies in a file; :func:`read_replies` reads them, :func:`open_replies` also adds to them.

    Attributes:
        path: the file.
        judges: the description of each judge that replied, by its fingerprint.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.judges: dict[str, dict[str, Any]] = {}
        self._replies: dict[_Key, list[Reply]] = {}
        self._appender: JsonlAppender | None = None

    def find(self, fingerprint: str, question: str, answer: str, prediction: str) -> list[Reply]:
        """A judge's replies about an answer, oldest first; several if the first could not be read."""
        return self._replies.get((fingerprint, question, answer, prediction), [])

    def models(self, fingerprint: str) -> set[str]:
        """The names of the models that replied for a judge, according to the server."""
        return {one.model for key, replies in self._replies.items() if key[0] == fingerprint for one in replies}

    def choose(self, name: str | None) -> str:
        """The fingerprint of a judge.

        Args:
            name: its model or its fingerprint; None if the file has replies of one judge only.

        Raises:
            RepliesError: no judge matches, or more than one.
        """
        matches = [key for key, judge in self.judges.items() if name is None or name in {key, judge["model"]}]
        if len(matches) == 1:
            return matches[0]
        known = ", ".join(f"{judge['model']} ({key})" for key, judge in self.judges.items()) or "none"
        if not matches:
            wanted = "no judge" if name is None else f"no judge {name!r}"
            raise RepliesError(f"{self.path!r} holds replies of {wanted}; judges in it: {known}")
        raise RepliesError(
            f"{self.path!r} holds replies of several judges: {known}", hint="name one of them, by its fingerprint"
        )

    def add(self, judge: Judge, question: str, answer: str, prediction: str, reply: Reply) -> None:
        """Keep a reply. It survives the end of the process, and a power failure :data:`SYNC_SECONDS` later.

        Raises:
            RepliesError: it cannot be written; the file is as it was before.
        """
        if self._appender is None:
            raise ValueError(f"{self.path!r} is open for reading only; open it with open_replies")
        key = (judge.fingerprint, question, answer, prediction)
        rows: list[dict[str, Any]] = []
        if key[0] not in self.judges:
            rows.append({"judge": judge.describe(), "messages": messages("", "", "")})
        rows.append({"by": key[0], "question": question, "answer": answer, "prediction": prediction, **asdict(reply)})
        try:
            self._appender.append(rows)
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        self.judges.setdefault(key[0], judge.describe())
        self._replies.setdefault(key, []).append(reply)


def read_replies(path: str) -> ReplyStore:
    """Read the replies in a file without changing it. A missing file holds none.

    Raises:
        RepliesError: it cannot be read, or holds something else.
    """
    return _load(path)


@contextmanager
def open_replies(path: str) -> Iterator[ReplyStore]:
    """Open a file of replies, or create one; other processes cannot add to it until the block ends.

    An interrupted last line is removed.

    Raises:
        RepliesError: it cannot be opened, holds something else, or another process is adding to it.
    """
    try:
        appender = JsonlAppender(path, sync_seconds=SYNC_SECONDS)
    except BlockingIOError:
        raise RepliesError(
            f"another process is adding to {path!r}", hint="wait for it to end, or name another file"
        ) from None
    except (OSError, ValueError) as error:
        raise _cannot_write(path, error) from error
    try:
        store = _load(path, repair=True)
        store._appender = appender  # noqa: SLF001 - only this function opens a store for writing
        yield store
        store._appender = None  # noqa: SLF001
    finally:
        try:
            appender.close()
        except OSError as error:
            raise _cannot_write(path, error) from error


def _load(path: str, *, repair: bool = False) -> ReplyStore:
    store = ReplyStore(path)
    try:
        rows = read_rows(path, repair=repair)
    except BrokenLine as error:
        raise RepliesError(error.message, hint=error.hint) from None
    except (OSError, ValueError) as error:
        raise RepliesError(f"{path!r} cannot be read: {error}") from error
    for number, row in enumerate(rows, start=1):
        try:
            if "judge" in row:
                judge = row["judge"]
                store.judges.setdefault(str(judge["fingerprint"]), {"model": str(judge["model"]), **judge})
                continue
            key = (row["by"], row["question"], row["answer"], row["prediction"])
            reply = Reply(text=row["text"], model=row["model"], finish=row["finish"], at=row["at"])
        except (KeyError, TypeError) as error:
            raise RepliesError(
                f"{path!r}, line {number}, is not a judge's reply: {error!r}", hint="delete the line"
            ) from None
        if not all(isinstance(text, str) for text in (*key, reply.text, reply.model, reply.finish, reply.at)):
            raise RepliesError(f"{path!r}, line {number}: a field that must be text is not", hint="delete the line")
        if key[0] not in store.judges:
            raise RepliesError(f"{path!r}, line {number}: no line before it describes its judge")
        store._replies.setdefault(key, []).append(reply)  # noqa: SLF001 - fills the store it just made
    return store


def _cannot_write(path: str, error: OSError | ValueError) -> RepliesError:
    return RepliesError(
        f"{path!r} cannot be written: {getattr(error, 'strerror', None) or error}",
        hint="free some space or name another file, then run the same command again: it resumes",
    )

"""One question about one video."""

from __future__ import annotations

from dataclasses import dataclass


class DatasetError(Exception):
    """A question set that cannot be read; the message names the file and, where there are some, row and column.

    Attributes:
        message: what came and what is needed, in one line.
        hint: what to do about it, in one line; empty where the message says it all.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(kind: type[DatasetError], message: str, hint: str) -> DatasetError:
    """Let errors cross process boundaries: pickle cannot pass keyword-only arguments by itself."""
    return kind(message, hint=hint)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One question with its answer.

    Attributes:
        id: unique within its set.
        video: the video's name, without folder and suffix.
        question: as it stands in the file.
        answer: as it stands in the file; where the file holds choices and the right one's number, that choice's text.
        kind: the set's own name for the kind of question; None where it has none.
    """

    id: str
    video: str
    question: str
    answer: str
    kind: str | None = None

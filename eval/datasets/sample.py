"""One question about one video."""

from __future__ import annotations

from dataclasses import dataclass

from eval.errors import EvalError


class DatasetError(EvalError):
    """A question set that cannot be read; the message names the file and, where there are some, row and column."""


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

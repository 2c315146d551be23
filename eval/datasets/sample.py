"""One question about one video."""

from __future__ import annotations

from dataclasses import dataclass


class DatasetError(Exception):
    """A question set that cannot be read; the message names the file and, where there is one, the row."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One question with its answer.

    Attributes:
        id: unique within its set.
        video: the video's name, without folder and suffix.
        question: as it stands in the file.
        answer: as it stands in the file.
        kind: the set's own name for the kind of question; None where it has none.
    """

    id: str
    video: str
    question: str
    answer: str
    kind: str | None = None

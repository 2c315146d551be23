"""Questions, question sets as parsed from files, and the layouts that find and parse them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eval.datasets.sets import Counts, QuestionSet
from eval.errors import EvalError


class DatasetError(EvalError):
    """A question set cannot be read; the message names the file and, if known, row and column."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A question with its answer.

    Attributes:
        id: unique within its set.
        video: the video's name, without folder and suffix.
        question: as in the file.
        answer: as in the file; if the file has choices and the number of the right one, the text of that choice.
        kind: the set's name for the kind of question; None if it has none.
    """

    id: str
    video: str
    question: str
    answer: str
    kind: str | None = None


@dataclass(frozen=True, kw_only=True)
class RowProblem:
    """A problem of one row of a file.

    Attributes:
        file: path of the file.
        place: ``row 3``, counted from 0, in a JSON list; ``line 3``, counted from 1, in a file of lines.
        column: the column; None if the whole row is concerned.
        message: what is there and what is expected.
        kind: ``duplicate`` for a repeated id, ``broken`` for everything else.
    """

    file: str
    place: str
    column: str | None = None
    message: str
    kind: Literal["broken", "duplicate"] = "broken"

    def __str__(self) -> str:
        return f"{self.file}, {self.place}: {f'{self.column} ' if self.column else ''}{self.message}"


@dataclass(frozen=True, kw_only=True)
class ParsedSet:
    """A question set as parsed from its files.

    Attributes:
        name: in :data:`eval.datasets.SETS`; None for an unpublished set.
        files: the files.
        num_rows: rows of questions, including broken ones.
        samples: the valid ones, in file order.
        problems: of the other rows.
        unanswered: ids of questions without an answer.
        unasked: ids of answers without a question.
        declared: numbers of questions and videos according to the folder itself; None if it does not say.
    """

    name: str | None
    files: tuple[str, ...]
    num_rows: int
    samples: tuple[Sample, ...]
    problems: tuple[RowProblem, ...] = ()
    unanswered: tuple[str, ...] = ()
    unasked: tuple[str, ...] = ()
    declared: Counts | None = None

    def require_valid(self) -> list[Sample]:
        """Return the samples of a set without problems, in file order.

        Raises:
            DatasetError: there are problems; the message has the first one and their number.
        """
        if self.problems:
            others = len(self.problems) - 1
            more = f" ({others:,} more such row{'s' if others > 1 else ''})" if others else ""
            raise DatasetError(f"{self.problems[0]}{more}")
        unmatched = [*self.unanswered, *self.unasked]
        if unmatched:
            raise DatasetError(
                f"{len(unmatched)} ids are in only one of {' and '.join(self.files)}, such as {unmatched[0]!r}"
            )
        return list(self.samples)


@dataclass(frozen=True, kw_only=True)
class FoundSet:
    """A question set that was found in a folder.

    Attributes:
        name: in :data:`eval.datasets.SETS`, recognised from the content; None if it is of no published set.
        files: the files that hold it.
        parse: parses it as the given set; raises :class:`DatasetError` if a file has another format.
    """

    name: str | None
    files: tuple[str, ...]
    parse: Callable[[QuestionSet | None], ParsedSet]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A format of annotation files.

    Attributes:
        file_names: description of the files.
        find: finds the sets of this layout in a folder, or in one file; raises only errors of the operating system.
    """

    file_names: str
    find: Callable[[Path], list[FoundSet]]

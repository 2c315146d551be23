"""What a layout tells of a folder: the question sets that lie in it, recognised by their content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eval.datasets.rows import Reading
from eval.datasets.sets import QuestionSet


@dataclass(frozen=True, kw_only=True)
class Found:
    """A question set that lies in a folder.

    Attributes:
        name: in :data:`eval.datasets.SETS`, told from the content; None where that is of no published set.
        files: those that hold it.
        read: reads it, as the set it is or is said to be; raises :class:`DatasetError` for a file that is no such file.
    """

    name: str | None
    files: tuple[str, ...]
    read: Callable[[QuestionSet | None], Reading]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How question sets lie in a folder.

    Attributes:
        looks_for: the files, in words.
        find: the sets that lie in a folder, or in one file, in this way; raises nothing but what the system refuses.
    """

    looks_for: str
    find: Callable[[Path], list[Found]]

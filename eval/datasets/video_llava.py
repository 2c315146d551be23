"""The layout of Video-LLaVA's evaluation: ``test_q.json`` and ``test_a.json``, joined by question id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eval.datasets.sample import DatasetError, Sample

QUESTIONS, ANSWERS = "test_q.json", "test_a.json"


def recognises(root: Path) -> bool:
    """Whether a folder holds both files."""
    return (root / QUESTIONS).is_file() and (root / ANSWERS).is_file()


def load(root: Path) -> list[Sample]:
    """Read the samples in the order of the questions' file. Answers are found by id, never by position.

    Raises:
        DatasetError: a file or row is broken, an id stands twice, or a question or an answer is without the other.
    """
    questions = _rows(root / QUESTIONS, ("question_id", "video_name", "question"))
    answers = _rows(root / ANSWERS, ("question_id", "answer"))
    alone = [*(questions.keys() - answers.keys()), *(answers.keys() - questions.keys())]
    if alone:
        raise DatasetError(
            f"{len(alone)} ids stand in only one of {root / QUESTIONS} and {root / ANSWERS}, such as {min(alone)!r}"
        )
    return [
        Sample(
            id=key,
            video=row["video_name"],
            question=row["question"],
            answer=answers[key]["answer"],
            kind=None if answers[key].get("type") is None else str(answers[key]["type"]),
        )
        for key, row in questions.items()
    ]


def _rows(file: Path, columns: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Read a list of objects by question id, in file order; each column must hold text."""
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file} cannot be read: {error}") from error
    if not isinstance(rows, list):
        raise DatasetError(f"{file} holds no list of rows")
    found: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DatasetError(f"{file}, row {number}: not an object but {row!r:.80}")
        for column in columns:
            if not isinstance(row.get(column), str):
                raise DatasetError(f"{file}, row {number}: {column} is {row.get(column)!r:.80}, not text")
        key = row["question_id"]
        if key in found:
            raise DatasetError(f"{file}, row {number}: the id {key!r} stands there twice")
        found[key] = row
    return found

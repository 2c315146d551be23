"""Runs as measurement sees them, loaded from their folders."""

from __future__ import annotations

import os
from typing import Any, NoReturn

from eval.results import QuestionResult, Run
from pipelines.runs.run_log import ANSWERS, RUN, BrokenRunLog, read_run
from vidzip.errors import VidzipError


class PartialRun(VidzipError):
    """The folder holds one of several parts of a run."""


_FIELDS = ("id", "video", "kind", "question", "answer", "prediction", "failure")
"""Fields of a line that are fields of :class:`QuestionResult`; the others are its trace."""


def load_run(folder: str) -> Run:
    """Load a run from its folder without changing it.

    Raises:
        RunMismatch: the folder holds no run.
        BrokenRunLog: the run cannot be read.
        PartialRun: it is a part that was made with --shard.
    """
    settings, rows = read_run(folder)
    if settings.get("shard") is not None:
        raise PartialRun(
            f"{folder!r} holds part {settings['shard']} of a run, and its number of questions is unknown",
            hint="merge the parts with 'vidzip merge', and give that folder",
        )
    questions = settings.get("questions")
    count = questions.get("count") if isinstance(questions, dict) else None
    if not isinstance(count, int) or isinstance(count, bool) or count < len(rows):
        path = os.path.join(folder, RUN)
        raise BrokenRunLog(
            f"{path!r} says {count!r} questions, and {len(rows):,} have a line", hint="give the folder as it was made"
        )
    answers = os.path.join(folder, ANSWERS)
    return Run(
        name=os.path.basename(os.path.abspath(folder)),
        settings={key: value for key, value in settings.items() if key != "schema"},
        results=tuple(_result(row, f"{answers!r}, line {line}") for line, row in enumerate(rows.values(), start=1)),
        num_questions=count,
    )


def _result(row: dict[str, Any], where: str) -> QuestionResult:
    for key in ("id", "video", "question", "answer"):
        if not isinstance(row.get(key), str):
            _refuse(where, key, row.get(key), "text")
    for key in ("kind", "prediction"):
        if not isinstance(row.get(key), str | None):
            _refuse(where, key, row.get(key), "text or null")
    prediction = row.get("prediction")
    return QuestionResult(
        question_id=row["id"],
        video=row["video"],
        kind=row.get("kind") or "",
        question=row["question"],
        answer=row["answer"],
        prediction=prediction,
        failure=_failure(row.get("failure"), where, is_answered=prediction is not None),
        trace={key: value for key, value in row.items() if key not in _FIELDS},
    )


def _failure(failure: Any, where: str, *, is_answered: bool) -> str:
    if is_answered:
        if failure is not None:
            _refuse(where, "failure", failure, "null, although there is a prediction")
        return ""
    if not isinstance(failure, dict) or not all(isinstance(failure.get(key), str) for key in ("kind", "reason")):
        _refuse(where, "failure", failure, "kind and reason, although there is no prediction")
    return f"{failure['kind']}: {failure['reason']}"


def _refuse(where: str, key: str, value: Any, expected: str) -> NoReturn:
    raise BrokenRunLog(
        f"{where}: its {key} is {repr(value)[:80]}, not {expected}", hint="delete the line, and run it again"
    )

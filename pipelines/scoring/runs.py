"""From a run's folder to a run as measurement sees it."""

from __future__ import annotations

import os
from typing import Any, NoReturn

from eval.results import QuestionResult, Run
from pipelines.runs.run_log import ANSWERS, RUN, BrokenRunLog, read_run
from vidzip.errors import VidzipError


class PartOfARun(VidzipError):
    """The folder holds one of several parts of a run."""


_ASKED = ("id", "video", "kind", "question", "answer", "prediction", "failure")
"""What of a line has a field of its own; the rest is its trace."""


def read(folder: str) -> Run:
    """Read a run's folder; nothing in it is changed.

    Args:
        folder: as 'vidzip eval --out' or 'vidzip merge --out' wrote it; tables call the run by its name.

    Raises:
        RunMismatch: the folder holds no run.
        BrokenRunLog: what it holds cannot be read.
        PartOfARun: it holds a part that was made with --shard.
    """
    described, rows = read_run(folder)
    if described.get("shard") is not None:
        raise PartOfARun(
            f"{folder!r} holds part {described['shard']} of a run, and no part says how many questions are its own",
            hint="join the parts with 'vidzip merge', and give that folder",
        )
    path = os.path.join(folder, RUN)
    questions = described.get("questions")
    count = questions.get("count") if isinstance(questions, dict) else None
    if not isinstance(count, int) or isinstance(count, bool) or count < len(rows):
        raise BrokenRunLog(
            f"{path!r} names {count!r} questions, and {len(rows):,} have a line", hint="give the folder as it was made"
        )
    answers = os.path.join(folder, ANSWERS)
    return Run(
        name=os.path.basename(os.path.abspath(folder)),
        settings={key: value for key, value in described.items() if key != "schema"},
        results=tuple(_answered(row, f"{answers!r}, line {place}") for place, row in enumerate(rows.values(), start=1)),
        num_questions=count,
    )


def _answered(row: dict[str, Any], where: str) -> QuestionResult:
    for key in ("id", "video", "question", "answer"):
        if not isinstance(row.get(key), str):
            _refuse(where, key, row.get(key), "text")
    for key in ("kind", "prediction"):
        if not isinstance(row.get(key), str | None):
            _refuse(where, key, row.get(key), "text, or null")
    prediction = row.get("prediction")
    return QuestionResult(
        question_id=row["id"],
        video=row["video"],
        kind=row.get("kind") or "",
        question=row["question"],
        answer=row["answer"],
        prediction=prediction,
        failure=_failure(row.get("failure"), where, is_answered=prediction is not None),
        trace={key: value for key, value in row.items() if key not in _ASKED},
    )


def _failure(failure: Any, where: str, *, is_answered: bool) -> str:
    if is_answered:
        if failure is not None:
            _refuse(where, "failure", failure, "null, where there is a prediction")
        return ""
    if not isinstance(failure, dict) or not all(isinstance(failure.get(key), str) for key in ("kind", "reason")):
        _refuse(where, "failure", failure, "kind and reason, where there is no prediction")
    return f"{failure['kind']}: {failure['reason']}"


def _refuse(where: str, key: str, value: Any, wanted: str) -> NoReturn:
    raise BrokenRunLog(
        f"{where}: its {key} is {repr(value)[:80]}, not {wanted}", hint="take the line away, and run it again"
    )

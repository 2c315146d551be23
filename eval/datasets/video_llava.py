"""The layout of Video-LLaVA's evaluation: ``test_q.json`` and ``test_a.json``, joined by question id.

ActivityNet-QA is published in it, ``vidzip shapes`` writes it, and Video-LLaVA's authors converted TGIF-QA, MSVD-QA and
MSRVTT-QA to it. In these three, ``type`` is always 3 and meaningless: kinds follow from the questions' wording.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from eval.datasets.annotation_files import check_object, duplicate, read_json_list
from eval.datasets.samples import DatasetError, FoundSet, ParsedSet, RowProblem, Sample
from eval.datasets.sets import Counts, QuestionSet, recognise

QUESTIONS, ANSWERS = "test_q.json", "test_a.json"


def find(root: Path) -> list[FoundSet]:
    """Find the one set in the two files, given their folder or one of them."""
    if root.name in (QUESTIONS, ANSWERS) and root.is_file():
        root = root.parent
    if not ((root / QUESTIONS).is_file() and (root / ANSWERS).is_file()):
        return []
    try:
        rows = read_json_list(root / QUESTIONS)
    except DatasetError:
        rows = []  # parsing reports the error
    texts = [(row.get("video_name"), row.get("question")) for row in rows if isinstance(row, dict)]
    name = recognise([(video, text) for video, text in texts if isinstance(video, str) and isinstance(text, str)])
    return [FoundSet(name=name, files=(str(root / QUESTIONS), str(root / ANSWERS)), parse=partial(_parse, root))]


def _parse(root: Path, questions: QuestionSet | None) -> ParsedSet:
    """Parse the samples in the order of the questions. Answers are found by id, never by position.

    Raises:
        DatasetError: a file is not a list.
    """
    problems: list[RowProblem] = []
    rows = read_json_list(root / QUESTIONS)
    asked = _by_id(root / QUESTIONS, rows, ("video_name", "question"), problems)
    answers = _by_id(root / ANSWERS, read_json_list(root / ANSWERS), ("answer",), problems)
    return ParsedSet(
        name=questions.name if questions else None,
        files=(str(root / QUESTIONS), str(root / ANSWERS)),
        num_rows=len(rows),
        samples=tuple(_sample(row, answers[key], questions) for key, row in asked.items() if key in answers),
        problems=tuple(problems),
        unanswered=tuple(key for key in asked if key not in answers),
        unasked=tuple(key for key in answers if key not in asked),
        declared=_read_counts(root / questions.described_in) if questions and questions.described_in else None,
    )


def _by_id(
    file: Path, rows: list[Any], texts: tuple[str, ...], problems: list[RowProblem]
) -> dict[str, dict[str, Any]]:
    """Map valid rows by question id, in file order; append the problems of the others."""
    found: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows):
        problem = check_object(file, number, row, ("question_id", *texts))
        if problem is None and row["question_id"] in found:
            problem = duplicate(file, f"row {number}", row["question_id"])
        if problem is None:
            found[row["question_id"]] = row
        else:
            problems.append(problem)
    return found


def _sample(row: dict[str, Any], answer: dict[str, Any], questions: QuestionSet | None) -> Sample:
    code = None if answer.get("type") is None else str(answer["type"])
    if questions is None:
        kind = code
    elif questions.kind_of is not None:
        kind = questions.kind_of(row["question"])
    else:
        kind = questions.kind_codes.get(code, code) if code else None
    return Sample(
        id=row["question_id"],
        video=row["video_name"],
        question=row["question"],
        answer=answer["answer"],
        kind=kind,
    )


def _read_counts(file: Path) -> Counts | None:
    """Read a set's own description of its size; None if there is none."""
    try:
        data = json.loads(file.read_bytes())
        questions, videos = data["num_questions"], data["num_videos"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return Counts(questions=questions, videos=videos) if type(questions) is type(videos) is int else None

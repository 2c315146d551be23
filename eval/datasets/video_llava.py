"""The layout of Video-LLaVA's evaluation: ``test_q.json`` and ``test_a.json``, joined by question id.

ActivityNet-QA's makers offer theirs in it, ``vidzip shapes`` writes it, and Video-LLaVA's authors brought TGIF-QA,
MSVD-QA and MSRVTT-QA into it. Their ``type`` is 3 in every row, and says nothing: the questions' wording tells kinds.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from eval.datasets.layout import Found
from eval.datasets.rows import Counts, Fault, Reading, check_object, json_list, twice
from eval.datasets.sample import DatasetError, Sample
from eval.datasets.sets import QuestionSet, recognise

QUESTIONS, ANSWERS = "test_q.json", "test_a.json"


def find(root: Path) -> list[Found]:
    """Find the one set that both files hold; one of them tells of the other."""
    if root.name in (QUESTIONS, ANSWERS) and root.is_file():
        root = root.parent
    if not ((root / QUESTIONS).is_file() and (root / ANSWERS).is_file()):
        return []
    try:
        rows = json_list(root / QUESTIONS)
    except DatasetError:
        rows = []  # reading says why
    texts = [(row.get("video_name"), row.get("question")) for row in rows if isinstance(row, dict)]
    name = recognise([(video, text) for video, text in texts if isinstance(video, str) and isinstance(text, str)])
    return [Found(name=name, files=(str(root / QUESTIONS), str(root / ANSWERS)), read=partial(_read, root))]


def _read(root: Path, questions: QuestionSet | None) -> Reading:
    """Read the samples in the order of the questions' file. Answers are found by id, never by position.

    Raises:
        DatasetError: a file holds no list.
    """
    faults: list[Fault] = []
    rows = json_list(root / QUESTIONS)
    asked = _by_id(root / QUESTIONS, rows, ("video_name", "question"), faults)
    answers = _by_id(root / ANSWERS, json_list(root / ANSWERS), ("answer",), faults)
    return Reading(
        name=questions.name if questions else None,
        files=(str(root / QUESTIONS), str(root / ANSWERS)),
        num_rows=len(rows),
        samples=tuple(_sample(row, answers[key], questions) for key, row in asked.items() if key in answers),
        faults=tuple(faults),
        unanswered=tuple(key for key in asked if key not in answers),
        unasked=tuple(key for key in answers if key not in asked),
        promised=_promised(root / questions.described_in) if questions and questions.described_in else None,
    )


def _by_id(file: Path, rows: list[Any], texts: tuple[str, ...], faults: list[Fault]) -> dict[str, dict[str, Any]]:
    """List whole rows by question id, in file order; note the faults of the others."""
    found: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows):
        fault = check_object(file, number, row, ("question_id", *texts))
        if fault is None and row["question_id"] in found:
            fault = twice(file, f"row {number}", row["question_id"])
        if fault is None:
            found[row["question_id"]] = row
        else:
            faults.append(fault)
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


def _promised(file: Path) -> Counts | None:
    """Read how many questions and videos a set says it holds; None where it does not say."""
    try:
        held = json.loads(file.read_bytes())
        questions, videos = held["num_questions"], held["num_videos"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return Counts(questions=questions, videos=videos) if type(questions) is type(videos) is int else None

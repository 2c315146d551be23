"""The original files of MSVD-QA and MSRVTT-QA: a list in JSON, one question a row.

Videos are numbers. MSRVTT's 7010 is ``video7010``. MSVD's 1451 is ``vid1451``, or what ``youtube_mapping.txt`` calls it
where that lies beside the questions.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from eval.datasets.layout import Found
from eval.datasets.rows import Fault, Reading, check_object, json_list, twice
from eval.datasets.sample import DatasetError, Sample
from eval.datasets.sets import QuestionSet, question_word

QUESTIONS, MAPPING = "test_qa.json", "youtube_mapping.txt"


def find(root: Path) -> list[Found]:
    """Find the one set that the file holds: only MSRVTT-QA's rows have a category."""
    is_named = root.is_file()
    file = root if is_named else root / QUESTIONS
    if not file.is_file():
        return []
    try:
        rows = [row for row in json_list(file) if isinstance(row, dict) and "video_id" in row]
    except DatasetError:
        rows = []  # reading says why
    if is_named and not rows and file.name != QUESTIONS:
        return []
    with_category = sum("category_id" in row for row in rows)
    name = None if not rows else "msrvtt" if with_category * 2 > len(rows) else "msvd"
    return [Found(name=name, files=(str(file),), read=partial(_read, file))]


def read_mapping(file: Path) -> dict[str, str]:
    """Read what MSVD's ``vid1``, ``vid2``, … are called on YouTube, from lines of both names, the YouTube one first.

    Raises:
        DatasetError: it cannot be read, or a line holds anything else, or a name stands there twice.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file} cannot be read: {error}") from error
    names: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or words[1] in names:
            raise DatasetError(f"{file}, line {number}: {line!r:.80} is not a name and a new 'vid' with its number")
        names[words[1]] = words[0]
    return names


def _read(file: Path, questions: QuestionSet | None) -> Reading:
    """Read the samples in file order.

    Raises:
        DatasetError: the file holds no list, or the mapping beside it is broken.
    """
    rows = json_list(file)
    is_msvd = questions is None or questions.name == "msvd"
    mapping = read_mapping(file.parent / MAPPING) if is_msvd and (file.parent / MAPPING).is_file() else None
    samples: dict[str, Sample] = {}
    faults: list[Fault] = []
    for number, row in enumerate(rows):
        fault = check_object(file, number, row, ("question", "answer"), ids=("id", "video_id"))
        if fault is None and str(row["id"]) in samples:
            fault = twice(file, f"row {number}", str(row["id"]))
        video = "" if fault else _video(row["video_id"], "vid" if is_msvd else "video")
        if fault is None and mapping is not None and video not in mapping:
            says = f"is {row['video_id']!r}, but {file.parent / MAPPING} does not know {video!r}"
            fault = Fault(file=str(file), place=f"row {number}", column="video_id", says=says)
        if fault is not None:
            faults.append(fault)
            continue
        key = str(row["id"])
        samples[key] = Sample(
            id=key,
            video=mapping[video] if mapping else video,
            question=row["question"],
            answer=row["answer"],
            kind=question_word(row["question"]),
        )
    return Reading(
        name=questions.name if questions else None,
        files=(str(file),),
        num_rows=len(rows),
        samples=tuple(samples.values()),
        faults=tuple(faults),
    )


def _video(number: Any, before: str) -> str:
    """Name a video by its number; what is named already keeps its name."""
    return f"{before}{number}" if str(number).isdecimal() else str(number)

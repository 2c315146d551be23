"""The original files of MSVD-QA and MSRVTT-QA: a JSON list with one question per row.

Videos are numbers. MSRVTT's 7010 is ``video7010``. MSVD's 1451 is ``vid1451``, or its name in ``youtube_mapping.txt`` if
that file is in the same folder.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from eval.datasets.annotation_files import check_object, duplicate, read_json_list
from eval.datasets.samples import DatasetError, FoundSet, ParsedSet, RowProblem, Sample
from eval.datasets.sets import QuestionSet, question_word

QUESTIONS, MAPPING = "test_qa.json", "youtube_mapping.txt"


def find(root: Path) -> list[FoundSet]:
    """Find the one set of the file: only MSRVTT-QA's rows have a category."""
    is_file = root.is_file()
    file = root if is_file else root / QUESTIONS
    if not file.is_file():
        return []
    try:
        rows = [row for row in read_json_list(file) if isinstance(row, dict) and "video_id" in row]
    except DatasetError:
        rows = []  # parsing reports the error
    if is_file and not rows and file.name != QUESTIONS:
        return []
    with_category = sum("category_id" in row for row in rows)
    name = None if not rows else "msrvtt" if with_category * 2 > len(rows) else "msvd"
    return [FoundSet(name=name, files=(str(file),), parse=partial(_parse, file))]


def read_mapping(file: Path) -> dict[str, str]:
    """Read the YouTube names of MSVD's ``vid1``, ``vid2``, …, from lines of both names, the YouTube one first.

    Raises:
        DatasetError: the file cannot be read, a line has another form, or a name is repeated.
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


def _parse(file: Path, questions: QuestionSet | None) -> ParsedSet:
    """Parse the samples in file order.

    Raises:
        DatasetError: the file is not a list, or the mapping is malformed.
    """
    rows = read_json_list(file)
    is_msvd = questions is None or questions.name == "msvd"
    mapping = read_mapping(file.parent / MAPPING) if is_msvd and (file.parent / MAPPING).is_file() else None
    samples: dict[str, Sample] = {}
    problems: list[RowProblem] = []
    for number, row in enumerate(rows):
        problem = check_object(file, number, row, ("question", "answer"), ids=("id", "video_id"))
        if problem is None and str(row["id"]) in samples:
            problem = duplicate(file, f"row {number}", str(row["id"]))
        video = "" if problem else _video_name(row["video_id"], "vid" if is_msvd else "video")
        if problem is None and mapping is not None and video not in mapping:
            message = f"is {row['video_id']!r}, but {file.parent / MAPPING} has no {video!r}"
            problem = RowProblem(file=str(file), place=f"row {number}", column="video_id", message=message)
        if problem is not None:
            problems.append(problem)
            continue
        key = str(row["id"])
        samples[key] = Sample(
            id=key,
            video=mapping[video] if mapping else video,
            question=row["question"],
            answer=row["answer"],
            kind=question_word(row["question"]),
        )
    return ParsedSet(
        name=questions.name if questions else None,
        files=(str(file),),
        num_rows=len(rows),
        samples=tuple(samples.values()),
        problems=tuple(problems),
    )


def _video_name(number: Any, prefix: str) -> str:
    """Add the prefix to a number; other names stay."""
    return f"{prefix}{number}" if str(number).isdecimal() else str(number)

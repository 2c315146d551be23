"""The original files of TGIF-QA, one per kind of question: tables with tabs, in spite of their suffix .csv.

A question's id is its ``vid_id``; ``key`` is the GIF's. Action and Transition have five choices and the number of the
right one, counted from 0: they are asked without the choices, and the text of the right one is the answer.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from eval.datasets.annotation_files import Line, duplicate, read_header, read_table
from eval.datasets.samples import DatasetError, FoundSet, ParsedSet, RowProblem, Sample
from eval.datasets.sets import SETS, QuestionSet, tgif_kind

CHOICES = ("a1", "a2", "a3", "a4", "a5")

_COLUMNS = {"gif_name", "question", "answer", "vid_id"}
_KINDS = {"ACTION": "action", "TRANS": "transition"}
"""Kinds by the start of a question's id; the tables of these two have the same columns."""

_OTHER_SPLITS = ("train_", "total_", "val_")


def find(root: Path) -> list[FoundSet]:
    """Find the sets in a folder's tables, one per kind; a table with the original name wins over others of its kind."""
    files: dict[str, list[Path]] = {}
    for file in [root] if root.is_file() else sorted(root.iterdir()):
        name = file.name.lower()
        is_test_split = file == root or not name.startswith(_OTHER_SPLITS)
        if name.endswith((".csv", ".tsv")) and is_test_split and file.is_file():
            kind = _kind(file)
            if kind is not None:
                files.setdefault(kind, []).append(file)
    found: list[FoundSet] = []
    for kind, of_kind in files.items():
        original = [file for file in of_kind if file.stem.lower() == f"test_{kind}_question"]
        found += [
            FoundSet(name=f"tgif-{kind}", files=(str(file),), parse=partial(_parse, file, SETS[f"tgif-{kind}"]))
            for file in (original if len(original) == 1 else of_kind)
        ]
    return found


def _kind(file: Path) -> str | None:
    """Recognise a table's kind of questions by its columns and its first question; None for another table."""
    try:
        names = set(read_header(file))
        if not names >= _COLUMNS:
            return None
        if "type" in names or "description" in names:
            return "frameqa"
        if not names >= set(CHOICES):
            return "count"
        first = next((line.cells for line in read_table(file) if line.problem is None), None)
    except DatasetError:
        return None  # the table may belong to something else
    if first is None:
        return None
    return _KINDS.get(first["vid_id"].rstrip("0123456789")) or tgif_kind(first["question"])


def _parse(file: Path, questions: QuestionSet, _given: QuestionSet | None) -> ParsedSet:
    """Parse the samples in file order.

    Raises:
        DatasetError: the file cannot be read.
    """
    samples: dict[str, Sample] = {}
    problems: list[RowProblem] = []
    num_rows = 0
    for line in read_table(file):
        num_rows += 1
        sample = line.problem or _sample(file, line, questions)
        if isinstance(sample, Sample) and sample.id in samples:
            sample = duplicate(file, line.place, sample.id)
        if isinstance(sample, RowProblem):
            problems.append(sample)
        else:
            samples[sample.id] = sample
    return ParsedSet(
        name=questions.name,
        files=(str(file),),
        num_rows=num_rows,
        samples=tuple(samples.values()),
        problems=tuple(problems),
    )


def _sample(file: Path, line: Line, questions: QuestionSet) -> Sample | RowProblem:
    cells, answer = line.cells, line.cells["answer"]
    kind = questions.kind_of(cells["question"]) if questions.kind_of else None
    if "a1" in cells:
        if answer not in ("0", "1", "2", "3", "4"):
            message = f"is {answer!r:.80}, not 0 to 4"
            return RowProblem(file=str(file), place=line.place, column="answer", message=message)
        answer = cells[CHOICES[int(answer)]]
    if cells.get("type"):
        codes = {str(number): name for number, name in enumerate(questions.kinds)}
        if cells["type"] not in codes:
            message = f"is {cells['type']!r:.80}, not 0 to {len(codes) - 1}"
            return RowProblem(file=str(file), place=line.place, column="type", message=message)
        kind = codes[cells["type"]]
    return Sample(id=cells["vid_id"], video=cells["gif_name"], question=cells["question"], answer=answer, kind=kind)

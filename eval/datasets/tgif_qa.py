"""The original files of TGIF-QA, one a kind of question: tables separated by tabs, though their names end with .csv.

Questions are known by ``vid_id``; ``key`` is the GIF's. Action and Transition hold five choices and the right one's
number, counted from 0: they are asked without the choices, and the right choice's text is the answer.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from eval.datasets.layout import Found
from eval.datasets.rows import Fault, Line, Reading, header_of, table_lines, twice
from eval.datasets.sample import DatasetError, Sample
from eval.datasets.sets import SETS, QuestionSet, tgif_kind

CHOICES = ("a1", "a2", "a3", "a4", "a5")

_NEEDED = {"gif_name", "question", "answer", "vid_id"}
_KINDS = {"ACTION": "action", "TRANS": "transition"}
"""From what a question's id begins with to its kind; these two have the same columns."""

_OTHER_SPLITS = ("train_", "total_", "val_")


def find(root: Path) -> list[Found]:
    """Find the sets that a folder's tables hold, one a kind; a table of the makers' name goes before others of its kind."""
    files: dict[str, list[Path]] = {}
    for file in [root] if root.is_file() else sorted(root.iterdir()):
        name = file.name.lower()
        is_meant = file == root or not name.startswith(_OTHER_SPLITS)
        if name.endswith((".csv", ".tsv")) and is_meant and file.is_file():
            kind = _kind(file)
            if kind is not None:
                files.setdefault(kind, []).append(file)
    found: list[Found] = []
    for kind, of_kind in files.items():
        named = [file for file in of_kind if file.stem.lower() == f"test_{kind}_question"]
        found += [
            Found(name=f"tgif-{kind}", files=(str(file),), read=partial(_read, file, SETS[f"tgif-{kind}"]))
            for file in (named if len(named) == 1 else of_kind)
        ]
    return found


def _kind(file: Path) -> str | None:
    """Tell a table's kind of questions from its columns and its first question; None where it is no such table."""
    try:
        names = set(header_of(file))
        if not names >= _NEEDED:
            return None
        if "type" in names or "description" in names:
            return "frameqa"
        if not names >= set(CHOICES):
            return "count"
        first = next((line.cells for line in table_lines(file) if line.fault is None), None)
    except DatasetError:
        return None  # a table that is not asked for may be as broken as it likes
    if first is None:
        return None
    return _KINDS.get(first["vid_id"].rstrip("0123456789")) or tgif_kind(first["question"])


def _read(file: Path, questions: QuestionSet, _said: QuestionSet | None) -> Reading:
    """Read the samples in file order.

    Raises:
        DatasetError: the file cannot be read.
    """
    samples: dict[str, Sample] = {}
    faults: list[Fault] = []
    num_rows = 0
    for line in table_lines(file):
        num_rows += 1
        sample = line.fault or _sample(file, line, questions)
        if isinstance(sample, Sample) and sample.id in samples:
            sample = twice(file, line.place, sample.id)
        if isinstance(sample, Fault):
            faults.append(sample)
        else:
            samples[sample.id] = sample
    return Reading(
        name=questions.name,
        files=(str(file),),
        num_rows=num_rows,
        samples=tuple(samples.values()),
        faults=tuple(faults),
    )


def _sample(file: Path, line: Line, questions: QuestionSet) -> Sample | Fault:
    cells, answer = line.cells, line.cells["answer"]
    kind = questions.kind_of(cells["question"]) if questions.kind_of else None
    if "a1" in cells:
        if answer not in ("0", "1", "2", "3", "4"):
            return Fault(file=str(file), place=line.place, column="answer", says=f"is {answer!r:.80}, not 0 to 4")
        answer = cells[CHOICES[int(answer)]]
    if cells.get("type"):
        codes = {str(number): name for number, name in enumerate(questions.kinds)}
        if cells["type"] not in codes:
            says = f"is {cells['type']!r:.80}, not 0 to {len(codes) - 1}"
            return Fault(file=str(file), place=line.place, column="type", says=says)
        kind = codes[cells["type"]]
    return Sample(id=cells["vid_id"], video=cells["gif_name"], question=cells["question"], answer=answer, kind=kind)

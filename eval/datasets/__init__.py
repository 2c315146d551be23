"""Question sets: from annotation files to samples. One file per layout; :data:`LAYOUTS` lists them all."""

from __future__ import annotations

import os
from pathlib import Path

from eval.datasets import msr_qa, tgif_qa, video_llava
from eval.datasets.checking import CheckReport, OpenedVideo, VideoProblem, check
from eval.datasets.samples import DatasetError, FoundSet, Layout, ParsedSet, RowProblem, Sample
from eval.datasets.sets import SETS, Counts, QuestionSet, Source
from eval.datasets.subsets import subset
from eval.datasets.videos import BadVideoName, VideoFolder, VideoMissing, list_videos

__all__ = [
    "LAYOUTS",
    "SETS",
    "BadVideoName",
    "CheckReport",
    "Counts",
    "DatasetError",
    "FoundSet",
    "Layout",
    "OpenedVideo",
    "ParsedSet",
    "QuestionSet",
    "RowProblem",
    "Sample",
    "Source",
    "VideoFolder",
    "VideoMissing",
    "VideoProblem",
    "check",
    "find_sets",
    "list_videos",
    "load",
    "parse",
    "subset",
]

LAYOUTS: dict[str, Layout] = {
    "video-llava": Layout(file_names="test_q.json with test_a.json", find=video_llava.find),
    "msr-qa": Layout(file_names="test_qa.json", find=msr_qa.find),
    "tgif-qa": Layout(file_names="Test_frameqa_question.csv and similar names", find=tgif_qa.find),
}


def load(root: str | os.PathLike[str], name: str | None = None) -> list[Sample]:
    """Read the questions in a folder, in file order, in any layout.

    Args:
        root: a folder with one set, or with several if one is named; or the file of questions.
        name: in :data:`SETS`; None takes the only set in the folder, published or not.

    Raises:
        DatasetError: the folder is missing, holds no known layout, another set or several sets, or a file is broken; the
            message names file, row and column.
    """
    return parse(root, name).require_valid()


def parse(root: str | os.PathLike[str], name: str | None = None) -> ParsedSet:
    """Read the questions in a folder as :func:`load` does, but list problems instead of stopping at the first.

    Raises:
        DatasetError: the folder is missing, holds no known layout, another set or several sets, or a file is unreadable.
    """
    if name is not None and name not in SETS:
        raise DatasetError(f"unknown question set {name!r}", hint=f"use one of {', '.join(SETS)}")
    chosen = _choose(Path(root), find_sets(root), name)
    set_name = name or chosen.name
    return chosen.parse(SETS[set_name] if set_name else None)


def find_sets(root: str | os.PathLike[str]) -> list[FoundSet]:
    """Find the question sets in a folder, or in a file.

    Raises:
        DatasetError: it does not exist or cannot be read.
    """
    folder = Path(root)
    if not folder.is_dir() and not folder.is_file():
        raise DatasetError(f"{folder} does not exist", hint="give a folder that holds a question set")
    try:
        return [found for layout in LAYOUTS.values() for found in layout.find(folder)]
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error}") from error


def _choose(folder: Path, found: list[FoundSet], name: str | None) -> FoundSet:
    """Choose the named set. Files that are of no published set may be given any name."""
    if not found:
        known = "; ".join(f"{layout}: {one.file_names}" for layout, one in LAYOUTS.items())
        raise DatasetError(f"{folder} holds no question set of a known layout ({known})")
    matches = [one for one in found if name is None or one.name == name] or [one for one in found if one.name is None]
    if len(matches) == 1:
        return matches[0]
    present = ", ".join(
        f"{one.name or 'an unknown set'} ({' and '.join(map(os.path.basename, one.files))})" for one in found
    )
    if not matches:
        raise DatasetError(f"{folder} holds no {name}, but {present}", hint="name that, or give another folder")
    names = sorted({one.name for one in matches if one.name is not None})
    advice = f"name {' or '.join(names)}, or " if name is None and len({one.name for one in matches}) > 1 else ""
    raise DatasetError(
        f"{folder} holds several question sets: {present}", hint=f"{advice}keep each set in its own folder"
    )

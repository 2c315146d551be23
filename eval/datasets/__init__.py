"""Question sets: from a folder of annotations to samples. One file a layout; a dict literal names them all."""

from __future__ import annotations

import os
from pathlib import Path

from eval.datasets import msr_qa, tgif_qa, video_llava
from eval.datasets.checking import Opened, Report, Trouble, check
from eval.datasets.layout import Found, Layout
from eval.datasets.rows import Counts, Fault, Reading
from eval.datasets.sample import DatasetError, Sample
from eval.datasets.sets import SETS, QuestionSet, Source
from eval.datasets.subsets import subset
from eval.datasets.videos import BadVideoName, VideoFolder, VideoMissing, list_videos

__all__ = [
    "LAYOUTS",
    "SETS",
    "BadVideoName",
    "Counts",
    "DatasetError",
    "Fault",
    "Found",
    "Layout",
    "Opened",
    "QuestionSet",
    "Reading",
    "Report",
    "Sample",
    "Source",
    "Trouble",
    "VideoFolder",
    "VideoMissing",
    "check",
    "find",
    "list_videos",
    "load",
    "read",
    "subset",
]

LAYOUTS: dict[str, Layout] = {
    "video-llava": Layout(looks_for="test_q.json with test_a.json", find=video_llava.find),
    "msr-qa": Layout(looks_for="test_qa.json", find=msr_qa.find),
    "tgif-qa": Layout(looks_for="Test_frameqa_question.csv and its siblings", find=tgif_qa.find),
}


def load(root: str | os.PathLike[str], name: str | None = None) -> list[Sample]:
    """Read the questions of a folder, in file order, whichever layout they lie in.

    Args:
        root: a folder that holds one set, or several if one is named; or the very file of questions.
        name: in :data:`SETS`; None takes the only set that is there, published or not.

    Raises:
        DatasetError: no such folder, no known layout, another set, several, or a broken file; it names file, row and
            column.
    """
    return read(root, name).whole()


def read(root: str | os.PathLike[str], name: str | None = None) -> Reading:
    """Read the questions of a folder as :func:`load` does, but note broken rows instead of stopping at the first.

    Raises:
        DatasetError: no such folder, no known layout, another set, several, or a file that cannot be read at all.
    """
    if name is not None and name not in SETS:
        raise DatasetError(f"there is no question set {name!r}", hint=f"use one of {', '.join(SETS)}")
    chosen = _choose(Path(root), find(root), name)
    told = name or chosen.name
    return chosen.read(SETS[told] if told else None)


def find(root: str | os.PathLike[str]) -> list[Found]:
    """List the question sets that lie in a folder, or in a file.

    Raises:
        DatasetError: there is neither, or it cannot be looked into.
    """
    folder = Path(root)
    if not folder.is_dir() and not folder.is_file():
        raise DatasetError(f"{folder} is no folder and no file", hint="give a folder that holds a question set")
    try:
        return [found for layout in LAYOUTS.values() for found in layout.find(folder)]
    except OSError as error:
        raise DatasetError(f"{folder} cannot be looked into: {error}") from error


def _choose(folder: Path, found: list[Found], name: str | None) -> Found:
    """Take the set that is meant. Content that tells of no published set may be called any of them."""
    if not found:
        wanted = "; ".join(f"{layout}: {one.looks_for}" for layout, one in LAYOUTS.items())
        raise DatasetError(f"{folder} holds no question set of a known layout ({wanted})")
    meant = [one for one in found if name is None or one.name == name] or [one for one in found if one.name is None]
    if len(meant) == 1:
        return meant[0]
    lying = ", ".join(
        f"{one.name or 'an unknown set'} ({' and '.join(map(os.path.basename, one.files))})" for one in found
    )
    if not meant:
        raise DatasetError(f"{folder} holds no {name}, but {lying}", hint="name that, or give another folder")
    named = sorted({one.name for one in meant if one.name is not None})
    way = f"name {' or '.join(named)}, or " if name is None and len({one.name for one in meant}) > 1 else ""
    raise DatasetError(
        f"{folder} holds several question sets: {lying}", hint=f"{way}keep one set in a folder of its own"
    )

"""Question sets: from a folder of annotations to samples. One file a layout; a dict literal names them all."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eval.datasets import video_llava
from eval.datasets.sample import DatasetError, Sample

__all__ = ["LAYOUTS", "DatasetError", "Layout", "Sample", "load"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a kind of question set lies in a folder: whether a folder holds one, and how to read it."""

    recognises: Callable[[Path], bool]
    load: Callable[[Path], list[Sample]]


LAYOUTS: dict[str, Layout] = {
    "video-llava": Layout(recognises=video_llava.recognises, load=video_llava.load),
}


def load(root: str | os.PathLike[str]) -> list[Sample]:
    """Read the questions of a folder, in file order, whichever layout they lie in.

    Raises:
        DatasetError: no such folder, no known layout, or a broken file; it names file and row.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder; give one that holds a question set")
    for layout in LAYOUTS.values():
        if layout.recognises(folder):
            return layout.load(folder)
    raise DatasetError(f"{folder} holds no question set of a known layout ({', '.join(LAYOUTS)})")

"""Fixtures that several tests of the command line need."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def original(tmp_path_factory) -> Path:
    """A small checkpoint of the original's layout, whose tower encodes clips of 4 frames."""
    from originals import write_original

    folder = tmp_path_factory.mktemp("models") / "original"
    write_original(folder)
    return folder


@pytest.fixture(scope="session")
def pack(clip, tmp_path_factory) -> Path:
    """The clip, packed by the default model into 34 frames and 136 tokens."""
    from pipelines.cli import main

    path = tmp_path_factory.mktemp("packs") / "clip.vidzip"
    assert main(["pack", str(clip), "-o", str(path)]) == 0
    return path

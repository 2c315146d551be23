from __future__ import annotations

import os

import pytest

from pipelines.files import whole_file, write_text
from vidzip.errors import WriteError
from vidzip.video.writing import PARTIAL


def test_a_file_appears_once_it_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with whole_file(str(path)) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


def test_what_fails_half_way_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def write_half() -> None:
        with whole_file(str(path)) as file:
            file.write(b"ne")
            raise LookupError

    with pytest.raises(LookupError):
        write_half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["file/below", "no/folder", "n" * 300])
def test_a_file_that_cannot_be_is_said(tmp_path, name):
    (tmp_path / "file").write_text("old")
    with pytest.raises(WriteError, match="cannot be written"):
        write_text(str(tmp_path / name), "new")
    assert os.listdir(tmp_path) == ["file"]
    assert not list(tmp_path.glob(f"*{PARTIAL}"))

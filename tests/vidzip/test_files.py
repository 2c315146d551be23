from __future__ import annotations

import errno
import os

import pytest

from vidzip.errors import DiskFull, WriteError
from vidzip.files import PARTIAL, whole_file, whole_folder, whole_path


def write_text(path: str, text: str) -> None:
    with whole_file(path) as file:
        file.write(text.encode())


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


@pytest.mark.parametrize("name", ["file/below", "no/folder", "n" * 300, "null\0", "half\ud800"])
def test_a_file_that_cannot_be_is_said(tmp_path, name):
    (tmp_path / "file").write_text("old")
    with pytest.raises(WriteError, match="cannot be written"):
        write_text(str(tmp_path / name), "new")
    assert os.listdir(tmp_path) == ["file"]
    assert not list(tmp_path.glob(f"*{PARTIAL}"))


def test_what_others_write_appears_once_it_is_whole(tmp_path):
    path = tmp_path / "file"
    with whole_path(str(path)) as partial:
        assert partial == f"{path}{PARTIAL}"
        os.mkdir(partial)  # whatever it is
        assert not path.exists()
    assert os.listdir(tmp_path) == ["file"]


def test_an_error_of_the_writers_own_stays_what_it_is(tmp_path):
    def write() -> None:
        with whole_path(str(tmp_path / "file")):
            raise LookupError

    with pytest.raises(LookupError):
        write()


def test_a_folder_appears_once_it_is_whole(tmp_path):
    path = tmp_path / "folder"
    for text in ("old", "new"):
        with whole_folder(str(path)) as place:
            assert path.exists() == (text == "new")
            write_text(os.path.join(place, text), text)
        assert os.listdir(path) == [text]
    assert os.listdir(tmp_path) == ["folder"]


def test_a_folder_where_a_disk_begins_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "ismount", lambda _: True)

    def write() -> None:
        with whole_folder(str(tmp_path / "folder")):
            raise AssertionError

    with pytest.raises(WriteError, match="a disk begins there"):
        write()
    assert os.listdir(tmp_path) == []


def test_a_folder_that_fails_half_way_leaves_the_old_one(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("old")

    def write_half(error) -> None:
        with whole_folder(str(path)) as place:
            write_text(os.path.join(place, "new"), "new")
            raise error

    with pytest.raises(LookupError):
        write_half(LookupError())
    with pytest.raises(DiskFull, match="no room"):
        write_half(OSError(errno.ENOSPC, "full"))
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(path) == ["old"]

from __future__ import annotations

import errno
import os
import time

import pytest

from vidzip.errors import DiskFull, WriteError
from vidzip.files import atomic_file, atomic_folder, atomic_path, lock_folder, remove_partials, write_text


def test_a_file_appears_once_it_is_complete(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_file(str(path)) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


def test_text_is_written_in_utf_8(tmp_path):
    write_text(str(tmp_path / "file"), "früher\n")
    assert (tmp_path / "file").read_bytes() == "früher\n".encode()


def test_an_error_keeps_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def write_half() -> None:
        with atomic_file(str(path)) as file:
            file.write(b"ne")
            raise LookupError

    with pytest.raises(LookupError):
        write_half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_two_writers_of_one_file_do_not_collide(tmp_path):
    path = str(tmp_path / "{file}")
    with atomic_file(path) as first, atomic_file(path) as second:
        first.write(b"first")
        second.write(b"second")
    assert (tmp_path / "{file}").read_bytes() == b"first"  # its block ends last
    assert os.listdir(tmp_path) == ["{file}"]


@pytest.mark.parametrize("name", ["file/below", "no/folder", "n" * 300, "null\0", "half\ud800"])
def test_a_file_that_cannot_be_written_is_an_error(tmp_path, name):
    (tmp_path / "file").write_text("old")
    with pytest.raises(WriteError):
        write_text(str(tmp_path / name), "new")
    assert os.listdir(tmp_path) == ["file"]


def test_anything_written_at_the_path_is_moved(tmp_path):
    path = tmp_path / "file"
    with atomic_path(str(path)) as partial:
        os.mkdir(partial)
        assert not path.exists()
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_appears_once_it_is_complete(tmp_path):
    path = tmp_path / "folder"
    for text in ("old", "new"):
        with atomic_folder(str(path)) as partial:
            assert path.exists() == (text == "new")
            write_text(os.path.join(partial, text), text)
        assert os.listdir(path) == [text]
    assert os.listdir(tmp_path) == ["folder"]


def test_a_mount_point_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "ismount", lambda _: True)
    with pytest.raises(WriteError), atomic_folder(str(tmp_path / "folder")):
        raise AssertionError
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "expected"), [(LookupError(), LookupError), (OSError(errno.ENOSPC, "full"), DiskFull)]
)
def test_an_error_keeps_the_old_folder(tmp_path, error, expected):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("old")

    def write_half() -> None:
        with atomic_folder(str(path)) as partial:
            write_text(os.path.join(partial, "new"), "new")
            raise error

    with pytest.raises(expected):
        write_half()
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(path) == ["old"]


@pytest.fixture
def killed(tmp_path):
    """A folder with what killed processes leave, and files that look similar."""
    (tmp_path / ".clip.mp4.0123abcd.part").write_bytes(b"half")
    (tmp_path / ".model.4567cdef.part").mkdir()
    (tmp_path / ".model.4567cdef.part" / "weights").write_bytes(b"half")
    for name in ("download.part", ".hidden.part", "clip.mp4"):
        (tmp_path / name).write_bytes(b"other")
    return tmp_path


def test_partials_of_killed_processes_are_removed(killed):
    remove_partials(str(killed), min_age_seconds=3600)
    assert len(os.listdir(killed)) == 5
    remove_partials(str(killed))
    assert sorted(os.listdir(killed)) == [".hidden.part", "clip.mp4", "download.part"]


def test_partials_that_are_a_day_old_are_removed_by_the_next_write(killed):
    yesterday = time.time() - 25 * 3600
    os.utime(killed / ".clip.mp4.0123abcd.part", (yesterday, yesterday))
    write_text(str(killed / "new"), "new")
    assert sorted(os.listdir(killed)) == [".hidden.part", ".model.4567cdef.part", "clip.mp4", "download.part", "new"]


def test_a_folder_is_locked_by_one_run_at_a_time(tmp_path):
    with lock_folder(str(tmp_path)):
        with pytest.raises(WriteError), lock_folder(str(tmp_path)):
            raise AssertionError
        assert os.listdir(tmp_path) == []
    with lock_folder(str(tmp_path)):
        pass

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.jsonl import BrokenLine, JsonlAppender, encode_rows, read_rows

ROWS = [{"id": "a"}, {"id": "zwölf 🎬\u2028 \x00"}, {"id": "\ud800", "n": [1, None]}]


def test_rows_come_back_as_they_were_appended(tmp_path):
    path = str(tmp_path / "rows.jsonl")
    assert read_rows(path) == []
    assert not os.path.exists(path)
    with JsonlAppender(path) as file:
        file.append(ROWS[:1])
        file.append(ROWS[1:])
    assert read_rows(path) == ROWS
    assert Path(path).read_bytes() == encode_rows(ROWS)


@given(st.integers(0, 200))
def test_law_a_file_cut_anywhere_keeps_its_complete_lines_and_can_be_completed(cut):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.jsonl")
        complete = encode_rows(ROWS)
        cut_off = complete[: max(0, len(complete) - cut)]
        path.write_bytes(cut_off)
        rows = read_rows(str(path))
        assert rows == ROWS[: cut_off.count(b"\n")]
        assert path.read_bytes() == cut_off, "reading changes nothing"
        assert read_rows(str(path), repair=True) == rows
        with JsonlAppender(str(path)) as file:
            file.append(ROWS[len(rows) :])
        assert path.read_bytes() == complete


def test_a_second_appender_is_refused_until_the_first_is_closed(tmp_path):
    path = str(tmp_path / "rows.jsonl")
    with JsonlAppender(path), pytest.raises(BlockingIOError):
        JsonlAppender(path)
    with JsonlAppender(path):
        pass


@pytest.mark.parametrize("line", ["nonsense", "", "[]", "7", '{"id": "a"', "[" * 100_000])
def test_a_broken_line_is_refused_by_number(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(encode_rows(ROWS[:1]) + line.encode() + b"\n" + encode_rows(ROWS[:1]))
    with pytest.raises(BrokenLine, match=r"rows\.jsonl', line 2,"):
        read_rows(str(path), repair=True)


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    with JsonlAppender(str(path)) as file:
        file.append(ROWS[:1])
        real, calls = os.write, []

        def write(handle, text):
            calls.append(1)
            if len(calls) == 1:
                return real(handle, bytes(text[:5]))
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(os, "write", write)
            with pytest.raises(OSError, match="No space left"):
                file.append(ROWS[1:])
        assert read_rows(str(path)) == ROWS[:1]
        file.append(ROWS[1:])
    assert read_rows(str(path)) == ROWS

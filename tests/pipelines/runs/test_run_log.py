from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.runs.run_log import ANSWERS, RUN, BrokenRunLog, RunMismatch, open_run_log, read_run
from vidzip.errors import DiskFull, WriteError


def row(key, **fields):
    return {"id": key, "prediction": "two", "failure": None, **fields}


def test_rows_are_read_back(tmp_path):
    with open_run_log(str(tmp_path / "run"), {"set": "msvd"}) as log:
        log.add([row("a"), row("b", prediction="zwölf 🎬\u2028 \x00")])
        log.add([row("c", prediction=None, failure={"kind": "NoFrames", "reason": "none"})])
        assert log.num_failed == 1
    with open_run_log(str(tmp_path / "run"), {"set": "msvd"}) as log:
        assert list(log.rows) == ["a", "b", "c"]
        assert log.rows["b"]["prediction"] == "zwölf 🎬\u2028 \x00"
        assert log.num_failed == 1
    run, rows = read_run(str(tmp_path / "run"))
    assert run["set"] == "msvd"
    assert list(rows) == ["a", "b", "c"]


@given(st.integers(0, 200))
def test_law_a_file_cut_anywhere_keeps_its_complete_lines_and_resumes(cut):
    with tempfile.TemporaryDirectory() as folder:
        with open_run_log(folder, {}) as log:
            log.add([row("a"), row("b"), row("ü")])
        answers = Path(folder, ANSWERS)
        held = answers.read_bytes()
        kept = held[: max(0, len(held) - cut)]
        answers.write_bytes(kept)
        with open_run_log(folder, {}) as log:
            assert list(log.rows) == ["a", "b", "ü"][: kept.count(b"\n")]
            log.add([row(key) for key in ("a", "b", "ü") if key not in log.rows])
        assert answers.read_bytes() == held


def test_a_folder_of_another_run_is_refused(tmp_path):
    with open_run_log(str(tmp_path), {"model": "tiny", "frames": 34}):
        pass
    with (
        pytest.raises(RunMismatch, match=r"frames.*34.*8"),
        open_run_log(str(tmp_path), {"model": "tiny", "frames": 8}),
    ):
        pass
    with pytest.raises(RunMismatch, match=r"method.*None.*stride"):  # noqa: SIM117
        with open_run_log(str(tmp_path), {"model": "tiny", "frames": 34, "method": "stride"}):
            pass


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunMismatch, match=r"thesis\.tex"), open_run_log(str(tmp_path), {}):
        pass
    with pytest.raises(WriteError, match=r"thesis\.tex"), open_run_log(str(tmp_path / "thesis.tex"), {}):
        pass
    (tmp_path / RUN).write_text("{")
    with pytest.raises(RunMismatch, match=RUN), open_run_log(str(tmp_path), {}):
        pass


@pytest.mark.parametrize("line", ["nonsense", "[]", "{}", '{"id": "a"'])
def test_a_broken_line_is_named_by_its_number(tmp_path, line):
    with open_run_log(str(tmp_path), {}) as log:
        log.add([row("a")])
    with (tmp_path / ANSWERS).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(BrokenRunLog, match="line 2"), open_run_log(str(tmp_path), {}):
        pass


def test_a_second_row_of_a_question_is_refused(tmp_path):
    with open_run_log(str(tmp_path), {}) as log:
        log.add([row("a")])
        with pytest.raises(ValueError, match="twice"):
            log.add([row("a")])
        with pytest.raises(ValueError, match="twice"):
            log.add([row("b"), row("b")])
    with (tmp_path / ANSWERS).open("a") as file:
        file.write(json.dumps(row("a")) + "\n")
    with pytest.raises(BrokenRunLog, match=r"line 2.*'a'"), open_run_log(str(tmp_path), {}):
        pass


def test_a_second_process_cannot_open_the_folder(tmp_path):
    with open_run_log(str(tmp_path), {}):
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_open, args=(str(tmp_path), theirs))
        process.start()
        assert ours.recv() == "WriteError"
        process.join()


def _open(folder, line):
    try:
        with open_run_log(folder, {}):
            line.send("opened")
    except WriteError as error:
        line.send(type(error).__name__)


def test_a_full_disk_keeps_the_earlier_rows(tmp_path, monkeypatch):
    with open_run_log(str(tmp_path), {}) as log:
        log.add([row("a")])
        before = (tmp_path / ANSWERS).read_bytes()
        real = os.write

        def full(handle, text):
            if len(text) > 5:
                return real(handle, bytes(text[:5]))
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(DiskFull, match=ANSWERS):
            log.add([row("b", prediction="x" * 7)])
        monkeypatch.undo()
        assert (tmp_path / ANSWERS).read_bytes() == before
        log.add([row("b")])
        assert list(log.rows) == ["a", "b"]

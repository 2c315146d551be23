from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluation.journal import ANSWERS, RUN, BrokenJournal, OtherRun, open_journal, read_run
from vidzip.errors import DiskFull, WriteError


def row(key, **fields):
    return {"id": key, "prediction": "two", "failure": None, **fields}


def test_what_was_added_is_there_again(tmp_path):
    with open_journal(str(tmp_path / "run"), {"set": "msvd"}) as journal:
        journal.add([row("a"), row("b", prediction="zwölf 🎬\u2028 \x00")])
        journal.add([row("c", prediction=None, failure={"kind": "NoFrames", "reason": "none"})])
        assert journal.num_failed == 1
    with open_journal(str(tmp_path / "run"), {"set": "msvd"}) as journal:
        assert list(journal.rows) == ["a", "b", "c"]
        assert journal.rows["b"]["prediction"] == "zwölf 🎬\u2028 \x00"
        assert journal.num_failed == 1
    run, rows = read_run(str(tmp_path / "run"))
    assert run["set"] == "msvd"
    assert list(rows) == ["a", "b", "c"]


@given(st.integers(0, 200))
def test_law_a_file_cut_anywhere_keeps_its_whole_lines_and_goes_on(cut):
    with tempfile.TemporaryDirectory() as folder:
        with open_journal(folder, {}) as journal:
            journal.add([row("a"), row("b"), row("ü")])
        answers = Path(folder, ANSWERS)
        held = answers.read_bytes()
        kept = held[: max(0, len(held) - cut)]
        answers.write_bytes(kept)
        with open_journal(folder, {}) as journal:
            assert list(journal.rows) == ["a", "b", "ü"][: kept.count(b"\n")]
            journal.add([row(key) for key in ("a", "b", "ü") if key not in journal.rows])
        assert answers.read_bytes() == held


def test_another_run_in_the_folder_is_refused(tmp_path):
    with open_journal(str(tmp_path), {"model": "tiny", "frames": 34}):
        pass
    with (
        pytest.raises(OtherRun, match="its frames is 34, not 8"),
        open_journal(str(tmp_path), {"model": "tiny", "frames": 8}),
    ):
        pass
    with pytest.raises(OtherRun, match="its method is None, not 'stride'"):  # noqa: SIM117
        with open_journal(str(tmp_path), {"model": "tiny", "frames": 34, "method": "stride"}):
            pass


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(OtherRun, match=r"holds no run, but 'thesis.tex'"), open_journal(str(tmp_path), {}):
        pass
    with pytest.raises(WriteError, match="cannot be made a folder"), open_journal(str(tmp_path / "thesis.tex"), {}):
        pass
    (tmp_path / RUN).write_text("{")
    with pytest.raises(OtherRun, match="describes no run"), open_journal(str(tmp_path), {}):
        pass


@pytest.mark.parametrize("line", ["nonsense", "[]", "{}", '{"id": "a"'])
def test_lines_that_are_no_answers_are_refused_by_number(tmp_path, line):
    with open_journal(str(tmp_path), {}) as journal:
        journal.add([row("a")])
    with (tmp_path / ANSWERS).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(BrokenJournal, match="line 2"), open_journal(str(tmp_path), {}):
        pass


def test_a_question_that_stands_twice_is_refused(tmp_path):
    with open_journal(str(tmp_path), {}) as journal:
        journal.add([row("a")])
        with pytest.raises(ValueError, match="written twice"):
            journal.add([row("a")])
        with pytest.raises(ValueError, match="written twice"):
            journal.add([row("b"), row("b")])
    with (tmp_path / ANSWERS).open("a") as file:
        file.write(json.dumps(row("a")) + "\n")
    with pytest.raises(BrokenJournal, match="'a' stands there twice"), open_journal(str(tmp_path), {}):
        pass


def test_a_second_process_is_kept_out(tmp_path):
    with open_journal(str(tmp_path), {}):
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_open, args=(str(tmp_path), theirs))
        process.start()
        assert ours.recv() == "WriteError"
        process.join()


def _open(folder, line):
    try:
        with open_journal(folder, {}):
            line.send("opened")
    except WriteError as error:
        line.send(type(error).__name__)


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    with open_journal(str(tmp_path), {}) as journal:
        journal.add([row("a")])
        before = (tmp_path / ANSWERS).read_bytes()
        real = os.write

        def full(handle, text):
            if len(text) > 5:
                return real(handle, bytes(text[:5]))
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(DiskFull, match="the same command goes on"):
            journal.add([row("b", prediction="x" * 7)])
        monkeypatch.undo()
        assert (tmp_path / ANSWERS).read_bytes() == before
        journal.add([row("b")])
        assert list(journal.rows) == ["a", "b"]

from __future__ import annotations

import multiprocessing

import pytest
from loading import load_small
from questions import write_set

from eval.datasets import list_videos, load
from pipelines.evaluation.answering import Answerer
from pipelines.evaluation.devices import DeviceLost, Loading, run_on
from pipelines.evaluation.journal import open_journal
from pipelines.evaluation.running import Look, Work, run
from vidzip import Budget, Decoding, VidzipError

LOADING = Loading(load=load_small, options={}, max_new_tokens=4, batch_questions=3)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = write_set(tmp_path_factory.mktemp("set") / "set", videos=5)
    return Work(
        samples=load(folder),
        videos=list_videos(folder / "videos"),
        look=Look(budget=Budget(num_frames=6)),
        decoding=Decoding(workers=1),
    )


def predictions(rows):
    return {key: row["prediction"] for key, row in rows.items()}


def test_two_devices_answer_as_one_does_and_each_question_once(work, small, tmp_path):
    with open_journal(str(tmp_path / "one"), {}) as journal:
        run(work, Answerer(model=small, max_new_tokens=4, batch_questions=3), journal, lambda *_: None)
        expected = predictions(journal.rows)
    told = []
    with open_journal(str(tmp_path / "two"), {}) as journal:
        run_on(["cpu", "cpu"], work, LOADING, journal, lambda *one: told.append(one))
    with open_journal(str(tmp_path / "two"), {}) as journal:
        assert predictions(journal.rows) == expected
        run_on(["cpu", "cpu"], work, LOADING, journal, lambda *_: None)  # nothing is left to do
    assert told[0] == ("answer", 0, 25)
    assert told[-1][1:] == (25, 25)
    assert told[-1][0].startswith("answer, ")  # how fast, and how long still
    assert not multiprocessing.active_children()


def test_a_device_that_is_lost_or_refuses_ends_the_run_and_keeps_its_lines(work, tmp_path):
    with open_journal(str(tmp_path), {}) as journal:
        with pytest.raises(DeviceLost, match=r"the process of lost ended \(9\)"):
            run_on(["lost"], work, LOADING, journal, lambda *_: None)
        with pytest.raises(VidzipError, match="no such luck"):
            run_on(["refused", "cpu"], work, LOADING, journal, lambda *_: None)
    assert not multiprocessing.active_children()

from __future__ import annotations

import os
import time

import pytest
from work import die, fail_or_wait, note

import pipelines.workers
from pipelines.workers import WorkerLost, for_each
from vidzip.cpus import available_cpus


def test_one_worker_is_this_process_and_keeps_the_order(tmp_path):
    paths = [tmp_path / name for name in "cab"]
    seen = []
    for_each(note, paths, 1, lambda done: seen.append((done, sorted(path.name for path in tmp_path.iterdir()))))
    assert seen == [(1, ["c"]), (2, ["a", "c"]), (3, ["a", "b", "c"])]
    assert {path.read_text() for path in paths} == {str(os.getpid())}


def test_more_workers_are_other_processes(tmp_path):
    paths = [tmp_path / str(number) for number in range(4)]
    seen = []
    for_each(note, paths, 2, seen.append)
    assert seen == [1, 2, 3, 4]
    assert str(os.getpid()) not in {path.read_text() for path in paths}


def test_small_work_stays_in_this_process(tmp_path, monkeypatch):
    for_each(note, [tmp_path / "only"], 64, lambda _: None)
    assert (tmp_path / "only").read_text() == str(os.getpid())
    for_each(note, [], 8, lambda _: pytest.fail("no item"))
    monkeypatch.setattr(pipelines.workers, "MAX_WORKERS_PER_CPU", 1)
    monkeypatch.setattr(pipelines.workers, "available_cpus", lambda: 1)
    for_each(note, [tmp_path / "a", tmp_path / "b"], 10_000, lambda _: None)
    assert (tmp_path / "b").read_text() == str(os.getpid())


def test_when_one_fails_the_others_stop(tmp_path):
    started = time.monotonic()
    with pytest.raises(LookupError, match="fail"):
        for_each(fail_or_wait, [tmp_path / name for name in ("wait", "fail", "wait too")], 2, lambda _: None)
    assert time.monotonic() - started < 50  # they would wait for a minute


def test_a_process_ended_from_outside_is_reported(tmp_path):
    with pytest.raises(WorkerLost):
        for_each(die, [tmp_path / "a", tmp_path / "b"], 2, lambda _: None)


def test_there_is_a_cpu():
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)

from __future__ import annotations

import os

import pytest
import torch

from pipelines.bench.memory import available_bytes, check_room, peak_bytes
from vidzip.errors import OutOfMemory

CPU = torch.device("cpu")


def test_what_is_held_at_once_is_counted_and_what_was_there_is_not():
    there = torch.zeros(1_000_000)

    def work():
        first = torch.zeros(250_000)
        second = torch.zeros(500_000)
        del first
        third = torch.zeros(100_000)
        return second, third, there.sum()

    done, held = peak_bytes(work, CPU)
    assert len(done[0]) == 500_000
    assert 3_000_000 <= held < 3_001_000


def test_memory_that_is_given_back_is_taken_again():
    def work():
        for _ in range(5):
            torch.zeros(250_000)

    assert 1_000_000 <= peak_bytes(work, CPU)[1] < 1_001_000


@pytest.mark.parametrize("before", [None, "1"])
def test_the_profiler_says_nothing_and_its_variable_is_left(before, monkeypatch, capfd):
    monkeypatch.delenv("KINETO_LOG_LEVEL", raising=False)
    if before is not None:
        monkeypatch.setenv("KINETO_LOG_LEVEL", before)
    peak_bytes(lambda: torch.zeros(3), CPU)
    assert capfd.readouterr().err == ""
    assert os.environ.get("KINETO_LOG_LEVEL") == before


def test_devices_whose_memory_is_not_counted_say_so():
    assert peak_bytes(lambda: 5, torch.device("mps")) == (5, None)


def test_what_the_host_has_no_room_for_is_refused():
    check_room(1000, CPU, "it")
    check_room(2**60, torch.device("cuda"), "it")
    with pytest.raises(OutOfMemory, match=r"it needs 1,?152921504.6 GB"):
        check_room(2**60, CPU, "it")


def test_the_host_tells_what_is_free():
    assert 1e8 < available_bytes() < 1e13

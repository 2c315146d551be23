from __future__ import annotations

import os

import pytest
import torch

from pipelines.bench.memory import available_bytes, check_host_memory, peak_bytes
from vidzip.errors import OutOfMemory

CPU = torch.device("cpu")


def test_the_peak_is_counted_without_earlier_allocations():
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


def test_freed_memory_is_not_counted_twice():
    def work():
        for _ in range(5):
            torch.zeros(250_000)

    assert 1_000_000 <= peak_bytes(work, CPU)[1] < 1_001_000


@pytest.mark.parametrize("before", [None, "1"])
def test_the_profiler_prints_nothing_and_its_variable_is_restored(before, monkeypatch, capfd):
    monkeypatch.delenv("KINETO_LOG_LEVEL", raising=False)
    if before is not None:
        monkeypatch.setenv("KINETO_LOG_LEVEL", before)
    peak_bytes(lambda: torch.zeros(3), CPU)
    assert capfd.readouterr().err == ""
    assert os.environ.get("KINETO_LOG_LEVEL") == before


def test_other_devices_are_not_counted():
    assert peak_bytes(lambda: 5, torch.device("mps")) == (5, None)


def test_work_that_exceeds_the_host_memory_is_refused():
    check_host_memory(1000, CPU, "it")
    check_host_memory(2**60, torch.device("cuda"), "it")
    with pytest.raises(OutOfMemory, match=r"it needs 1,?152921504.6 GB"):
        check_host_memory(2**60, CPU, "it")


def test_available_memory_is_read():
    assert 1e8 < available_bytes() < 1e13

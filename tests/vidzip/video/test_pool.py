from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from threads import decoding_threads, settled, wait_until

from vidzip.video.pool import OrderedPool


@dataclass
class Recorder:
    """Makes workers, and records what they do."""

    each: Callable[[int], Iterator[float]]
    workers: int = 0
    closed: int = 0
    started: list[int] = field(default_factory=list)
    made: list[float] = field(default_factory=list)

    def make_worker(self, check: Callable[[], None]) -> Recorder:
        self.workers += 1
        self.check = check
        return self

    def work(self, task: int) -> Iterator[float]:
        self.started.append(task)
        for item in self.each(task):
            self.check()
            self.made.append(item)
            yield item

    def close(self) -> None:
        self.closed += 1


def pool_of(recorder: Recorder, tasks, *, threads=3, max_queued=1e9, size_of=lambda item: 1) -> OrderedPool[int, float]:
    return OrderedPool(tasks, recorder.make_worker, threads=threads, size_of=size_of, max_queued=max_queued)


@given(
    counts=st.lists(st.integers(0, 4), max_size=12),
    threads=st.integers(1, 5),
    max_queued=st.sampled_from([0.0, 0.5, 1.0, 3.0, 1e9]),
)
def test_law_results_are_in_order(counts, threads, max_queued):
    recorder = Recorder(lambda task: ((task, i) for i in range(counts[task])))
    with pool_of(recorder, range(len(counts)), threads=threads, max_queued=max_queued) as pool:
        assert list(pool) == [(task, i) for task, count in enumerate(counts) for i in range(count)]
    assert recorder.started == list(range(len(counts))) or threads > 1
    assert recorder.workers == recorder.closed <= threads


def test_later_tasks_run_while_an_earlier_one_takes_long():
    late = threading.Event()

    def each(task):
        if task == 0:
            assert late.wait(10)  # another thread gets to task 2 meanwhile
        if task == 2:
            late.set()
        yield task

    with pool_of(Recorder(each), range(3), threads=2) as pool:
        assert list(pool) == [0, 1, 2]


@pytest.mark.parametrize("max_queued", [0.0, 1e-9, 5.0])
def test_the_next_result_never_waits_for_later_ones(max_queued):
    others = threading.Semaphore(0)

    def each(task):
        if task == 0:
            assert all(others.acquire(timeout=10) for _ in range(2))  # both others have made something
        for i in range(10):
            if task:
                others.release()
            yield 10 * task + i

    with pool_of(Recorder(each), range(3), max_queued=max_queued) as pool:
        assert list(pool) == list(range(30))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("max_queued", [0, 1, 20])
def test_queued_results_are_limited(threads, max_queued):
    recorder = Recorder(lambda task: (30 * task + i for i in range(30)))
    received = 0
    with pool_of(recorder, range(6), threads=threads, max_queued=max_queued) as pool:
        for item in pool:
            assert item == received
            received += 1
            if received in {1, 30, 75, 180}:
                # Beside the queued ones and the next one, each thread holds one result.
                least = min(180, received + max_queued)
                wait_until(lambda least=least: len(recorder.made) >= least)
                assert settled(lambda: len(recorder.made)) - received <= max_queued + 1 + threads
    assert received == 180


def test_the_limit_is_on_sizes():
    recorder = Recorder(lambda task: iter([10.0] * 20))
    with pool_of(recorder, range(2), threads=1, max_queued=45, size_of=lambda item: item) as pool:
        next(iter(pool))
        # One is received. Four queued ones are below 45, so a fifth is added; the thread holds a sixth.
        wait_until(lambda: len(recorder.made) >= 1 + 5 + 1)
        assert settled(lambda: len(recorder.made)) == 1 + 5 + 1


def test_results_are_made_ahead():
    recorder = Recorder(lambda task: iter([task] * 5))
    with pool_of(recorder, range(8)) as pool:
        assert next(iter(pool)) == 0
        wait_until(lambda: len(recorder.made) == 40)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_is_raised_after_earlier_results(threads):
    def each(task):
        yield task
        if task == 2:
            raise LookupError("task 2")

    recorder = Recorder(each)
    received = []
    with pytest.raises(LookupError, match="task 2"), pool_of(recorder, range(50), threads=threads) as pool:
        received.extend(pool)
    assert received == [0, 1, 2]
    assert recorder.closed == recorder.workers
    assert decoding_threads() == []


def test_an_error_while_making_a_worker_is_raised():
    def refuse(check):
        raise LookupError("no such worker")

    with (
        pytest.raises(LookupError, match="no such worker"),
        OrderedPool([1, 2], refuse, threads=2, size_of=lambda item: 1, max_queued=1) as pool,
    ):
        list(pool)
    assert decoding_threads() == []


@pytest.mark.parametrize("max_queued", [0.0, 5.0, 1e9])
def test_leaving_early_stops_the_threads(max_queued):
    def endless(task):
        while True:
            yield task

    recorder = Recorder(endless)
    with pool_of(recorder, range(9), max_queued=max_queued) as pool:
        items = iter(pool)
        assert [next(items) for _ in range(3)] == [0, 0, 0]
        assert len(decoding_threads()) == 3
    assert decoding_threads() == []
    assert recorder.closed == recorder.workers
    assert max(recorder.started) <= 2


def test_an_error_of_the_receiver_stops_the_threads():
    recorder = Recorder(lambda task: iter([task] * 1000))
    with pytest.raises(ZeroDivisionError), pool_of(recorder, range(9), max_queued=3) as pool:
        next(iter(pool)) / 0
    assert decoding_threads() == []


def test_workers_are_stopped_between_results():
    is_waiting, stopped = threading.Event(), []

    def each(task):
        yield task
        is_waiting.set()
        try:
            while True:
                recorder.check()
                time.sleep(0.001)
        except BaseException as error:
            stopped.append(type(error).__name__)
            raise

    recorder = Recorder(each)
    with pool_of(recorder, range(1), threads=1) as pool:
        assert next(iter(pool)) == 0
        assert is_waiting.wait(10)
    assert stopped == ["PoolStopped"]


def test_no_tasks():
    recorder = Recorder(iter)
    with pool_of(recorder, []) as pool:
        assert list(pool) == []
    assert decoding_threads() == []

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from threads import decoding_threads, settled, wait_until

from vidzip.video.crew import Crew


@dataclass
class Shop:
    """Hires workers that make the items of each task, and keeps the books."""

    each: Callable[[int], Iterator[float]]
    hired: int = 0
    closed: int = 0
    begun: list[int] = field(default_factory=list)
    made: list[float] = field(default_factory=list)

    def hire(self, check: Callable[[], None]) -> Shop:
        self.hired += 1
        self.check = check
        return self

    def work(self, task: int) -> Iterator[float]:
        self.begun.append(task)
        for item in self.each(task):
            self.check()
            self.made.append(item)
            yield item

    def close(self) -> None:
        self.closed += 1


def crew_of(shop: Shop, tasks, *, threads=3, max_waiting=1e9, size_of=lambda item: 1) -> Crew[int, float]:
    return Crew(tasks, shop.hire, threads=threads, size_of=size_of, max_waiting=max_waiting)


@given(
    counts=st.lists(st.integers(0, 4), max_size=12),
    threads=st.integers(1, 5),
    max_waiting=st.sampled_from([0.0, 0.5, 1.0, 3.0, 1e9]),
)
def test_law_items_come_in_order_whatever_waits(counts, threads, max_waiting):
    shop = Shop(lambda task: ((task, i) for i in range(counts[task])))
    with crew_of(shop, range(len(counts)), threads=threads, max_waiting=max_waiting) as crew:
        assert list(crew) == [(task, i) for task, count in enumerate(counts) for i in range(count)]
    assert shop.begun == list(range(len(counts))) or threads > 1
    assert shop.hired == shop.closed <= threads


def test_a_later_task_is_done_while_an_earlier_one_takes_its_time():
    late = threading.Event()

    def each(task):
        if task == 0:
            assert late.wait(10)  # another thread gets to task 2 meanwhile
        if task == 2:
            late.set()
        yield task

    with crew_of(Shop(each), range(3), threads=2) as crew:
        assert list(crew) == [0, 1, 2]


@pytest.mark.parametrize("max_waiting", [0.0, 1e-9, 5.0])
def test_the_item_that_is_next_never_waits_for_later_ones(max_waiting):
    others = threading.Semaphore(0)

    def each(task):
        if task == 0:
            assert all(others.acquire(timeout=10) for _ in range(2))  # both others have made something
        for i in range(10):
            if task:
                others.release()
            yield 10 * task + i

    with crew_of(Shop(each), range(3), max_waiting=max_waiting) as crew:
        assert list(crew) == list(range(30))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("max_waiting", [0, 1, 20])
def test_no_more_waits_than_was_allowed_and_an_item_a_thread(threads, max_waiting):
    shop = Shop(lambda task: (30 * task + i for i in range(30)))
    taken = 0
    with crew_of(shop, range(6), threads=threads, max_waiting=max_waiting) as crew:
        for item in crew:
            assert item == taken
            taken += 1
            if taken in {1, 30, 75, 180}:
                # Beside what waits, and the item that is next, each thread holds the one that it made last.
                least = min(180, taken + max_waiting)
                wait_until(lambda least=least: len(shop.made) >= least)
                assert settled(lambda: len(shop.made)) - taken <= max_waiting + 1 + threads
    assert taken == 180


def test_sizes_count_not_numbers():
    shop = Shop(lambda task: iter([10.0] * 20))
    with crew_of(shop, range(2), threads=1, max_waiting=45, size_of=lambda item: item) as crew:
        next(iter(crew))
        # One is taken. Four that wait are less than 45, so a fifth joins them; the thread holds a sixth.
        wait_until(lambda: len(shop.made) >= 1 + 5 + 1)
        assert settled(lambda: len(shop.made)) == 1 + 5 + 1


def test_what_is_allowed_to_wait_is_made_without_being_asked_for():
    shop = Shop(lambda task: iter([task] * 5))
    with crew_of(shop, range(8)) as crew:
        assert next(iter(crew)) == 0
        wait_until(lambda: len(shop.made) == 40)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_reaches_whoever_takes(threads):
    def each(task):
        yield task
        if task == 2:
            raise LookupError("task 2")

    shop = Shop(each)
    taken = []
    with pytest.raises(LookupError, match="task 2"), crew_of(shop, range(50), threads=threads) as crew:
        taken.extend(crew)
    assert taken == [0, 1, 2]
    assert shop.closed == shop.hired
    assert decoding_threads() == []


def test_an_error_while_hiring_reaches_whoever_takes():
    def refuse(check):
        raise LookupError("no such worker")

    with (
        pytest.raises(LookupError, match="no such worker"),
        Crew([1, 2], refuse, threads=2, size_of=lambda item: 1, max_waiting=1) as crew,
    ):
        list(crew)
    assert decoding_threads() == []


@pytest.mark.parametrize("max_waiting", [0.0, 5.0, 1e9])
def test_leaving_early_stops_the_threads(max_waiting):
    def endless(task):
        while True:
            yield task

    shop = Shop(endless)
    with crew_of(shop, range(9), max_waiting=max_waiting) as crew:
        items = iter(crew)
        assert [next(items) for _ in range(3)] == [0, 0, 0]
        assert len(decoding_threads()) == 3
    assert decoding_threads() == []
    assert shop.closed == 3
    assert max(shop.begun) <= 2


def test_an_error_of_the_taker_stops_the_threads():
    shop = Shop(lambda task: iter([task] * 1000))
    with pytest.raises(ZeroDivisionError), crew_of(shop, range(9), max_waiting=3) as crew:
        next(iter(crew)) / 0
    assert decoding_threads() == []


def test_workers_are_told_to_stop_between_items():
    is_waiting, stopped = threading.Event(), []

    def each(task):
        yield task
        is_waiting.set()
        try:
            while True:
                shop.check()
                time.sleep(0.001)
        except BaseException as error:
            stopped.append(type(error).__name__)
            raise

    shop = Shop(each)
    with crew_of(shop, range(1), threads=1) as crew:
        assert next(iter(crew)) == 0
        assert is_waiting.wait(10)
    assert stopped == ["StoppedError"]


def test_no_tasks_make_nothing():
    shop = Shop(iter)
    with crew_of(shop, []) as crew:
        assert list(crew) == []
    assert decoding_threads() == []

"""The same work on many items, in processes of its own: all of them stop where one fails, or at an interruption."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from typing import TypeVar

from vidzip.errors import BadArgument, SystemFault

Item = TypeVar("Item")

MOST_PER_CPU = 4
"""Processes beyond so many a CPU only cost memory: they are not started."""


class WorkerLost(SystemFault):
    """A worker process ended without a word: something outside of it ended it."""


class Stopped(Exception):
    """The work on an item was given up, because other work failed or was interrupted."""


def usable_cpus() -> int:
    """Count the CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_workers(workers: int | None) -> None:
    """Check a number of workers; None stands for as many as there are CPUs.

    Raises:
        BadArgument: it is below 1.
    """
    if workers is not None and workers < 1:
        raise BadArgument(f"the number of workers is {workers}", hint="give 1 or more")


def for_each(
    work: Callable[[Item], object], items: Sequence[Item], workers: int | None, on_done: Callable[[int], None]
) -> None:
    """Do the work on every item.

    One worker is this process. More are processes of their own, at most one an item, which no interruption leaves
    behind.

    Args:
        work: a function that a new process can import; it calls :func:`stop_if_told` often.
        items: what it is done on, one by one.
        workers: how many items are worked on at a time; as many as there are CPUs when None.
        on_done: called here with the number of items done, after each.

    Raises:
        WorkerLost: a process was ended from outside.
        Exception: the first that the work raised; the other workers are told to stop then.
    """
    cpus = usable_cpus()
    workers = min(cpus if workers is None else workers, MOST_PER_CPU * cpus, len(items))
    if workers <= 1:
        for done, item in enumerate(items, start=1):
            work(item)
            on_done(done)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks as they happen to be
    told = context.Event()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(told,))
    try:
        with interruptions_held():  # processes that start here never see one: this process tells them
            futures = [pool.submit(work, item) for item in items]
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            on_done(done)
    except BrokenProcessPool as error:
        raise WorkerLost(
            "a worker process was ended from outside",
            hint="the memory may have run out: run it again with fewer --workers; what is finished stays",
        ) from error
    finally:
        told.set()
        pool.shutdown(cancel_futures=True)


def stop_if_told() -> None:
    """Give up the work on this item if the process that asked for it no longer wants it.

    Raises:
        Stopped: it does not.
    """
    if _told and _told[0].is_set():
        raise Stopped


def until_told(items: Iterable[Item]) -> Iterator[Item]:
    """Pass items on, one by one, as long as the process that asked for the work wants it.

    Raises:
        Stopped: it no longer does.
    """
    for item in items:
        stop_if_told()
        yield item


_told: list[Event] = []
"""In a worker process, the event that stops it; empty elsewhere."""


def _begin(told: Event) -> None:
    """Prepare a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _told.append(told)
    threading.Thread(target=leave_with_the_parent, daemon=True).start()


def leave_with_the_parent() -> None:
    """End this process when the one that started it has ended, however it did."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def interruptions_held() -> Iterator[None]:
    """Hold interruptions back until the block ends; processes that start within it inherit that for good."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

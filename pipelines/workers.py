"""Worker processes: they never see an interruption, and end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from typing import Any, TypeVar

from vidzip.cpus import available_cpus
from vidzip.errors import BadArgument, SystemFault

Item = TypeVar("Item")

MAX_WORKERS_PER_CPU = 4
"""Limit on processes for each CPU: more would only cost memory."""


class WorkerLost(SystemFault):
    """A worker process was ended from outside."""


class Stopped(Exception):
    """The work on an item was stopped, because other work failed or was interrupted."""


def check_workers(workers: int | None) -> None:
    """Check a number of workers; None stands for one for each CPU.

    Raises:
        BadArgument: it is below 1.
    """
    if workers is not None and workers < 1:
        raise BadArgument(f"the number of workers is {workers}", hint="give 1 or more")


def for_each(
    work: Callable[[Item], object], items: Sequence[Item], workers: int | None, on_done: Callable[[int], None]
) -> None:
    """Do the work on every item: in this process with one worker, in worker processes with more.

    Args:
        work: a function that a new process can import, and that calls :func:`check_stopped` often.
        items: arguments of the work, one for each call.
        workers: limit on the number of items in work at a time; the number of CPUs when None.
        on_done: called in this process with the number of items done, after each.

    Raises:
        WorkerLost: a worker process was ended from outside.
        Exception: the first that the work raised; the other workers stop.
    """
    cpus = available_cpus()
    workers = min(cpus if workers is None else workers, MAX_WORKERS_PER_CPU * cpus, len(items))
    if workers <= 1:
        for done, item in enumerate(items, start=1):
            work(item)
            on_done(done)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
    stop = context.Event()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker, initargs=(stop,))
    try:
        with _interruptions_blocked():
            futures = [pool.submit(work, item) for item in items]
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            on_done(done)
    except BrokenProcessPool as error:
        raise WorkerLost(
            "a worker process was ended from outside",
            hint="the memory may be exhausted: run the command again with fewer --workers; finished items are kept",
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def check_stopped() -> None:
    """Stop the work on this item if the process that started this one has no more use for it.

    Raises:
        Stopped: it has none.
    """
    if _stop and _stop[0].is_set():
        raise Stopped


def until_stopped(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items as long as the process that started this one needs them.

    Raises:
        Stopped: it needs no more.
    """
    for item in items:
        check_stopped()
        yield item


def start_worker(target: Callable[..., object], *args: Any, daemon: bool) -> tuple[BaseProcess, Connection]:
    """Start a process that calls ``target(connection, *args)``.

    Args:
        target: a function that a new process can import.
        args: its other arguments, pickled.
        daemon: whether the process may start no processes itself.

    Returns:
        The process, and the other end of its connection.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run_worker, args=(target, theirs, *args), daemon=daemon)
    with _interruptions_blocked():
        process.start()
    theirs.close()
    return process, ours


def _run_worker(target: Callable[..., object], *args: Any) -> None:
    _prepare_worker()
    target(*args)


_stop: list[Event] = []
"""In a worker process, the event that stops it; empty elsewhere."""


def _prepare_worker(*stop: Event) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _stop.extend(stop)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """End this process when its parent has ended for any reason."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _interruptions_blocked() -> Iterator[None]:
    """Block interruptions during the block; processes that start in it block them for good."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

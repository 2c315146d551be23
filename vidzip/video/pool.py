"""A pool of threads that returns results in the order of the tasks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Generic, Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class PoolStopped(Exception):
    """The results are no longer wanted."""


class Worker(Protocol[Task, Result]):  # type: ignore[misc] # its type parameters are those of the pool
    """The worker of one thread."""

    def work(self, task: Task) -> Iterator[Result]:
        """Yield the results of a task."""

    def close(self) -> None:
        """Release resources."""


class OrderedPool(Generic[Task, Result]):
    """Works on tasks in several threads; iterating yields their results in the order of the tasks.

    Tasks start in order. A thread waits while the queued results exceed the limit, unless its result is the next one to
    be received; so memory is bounded, and threads never wait for each other. An error of a task is raised after the
    results before it.

    Args:
        tasks: the tasks.
        make_worker: makes a worker, in its thread. Its argument is a function to call often, which raises
            :class:`PoolStopped` once the results are no longer wanted.
        threads: number of threads.
        size_of: size of a result.
        max_queued: limit on the sizes of queued results.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        make_worker: Callable[[Callable[[], None]], Worker[Task, Result]],
        *,
        threads: int,
        size_of: Callable[[Result], float],
        max_queued: float,
    ) -> None:
        self._tasks, self._make_worker, self._size_of, self._max_queued = tasks, make_worker, size_of, max_queued
        self._changed = threading.Condition()
        self._queues: list[deque[Result]] = [deque() for _ in tasks]
        self._is_done = [False] * len(tasks)
        self._next_task = self._received_task = 0
        self._queued = 0.0
        self._errors: dict[int, BaseException] = {}
        self._is_stopped = False
        self._threads = [threading.Thread(target=self._run, name=f"vidzip-{i}", daemon=True) for i in range(threads)]

    def __enter__(self) -> OrderedPool[Task, Result]:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def __iter__(self) -> Iterator[Result]:
        for number in range(len(self._tasks)):
            with self._changed:
                self._received_task = number
                self._changed.notify_all()
            while received := self._receive(number):
                yield received[0]

    def _receive(self, number: int) -> tuple[Result] | None:
        """Wait for the next result of a task; None after the last one."""
        queue = self._queues[number]
        with self._changed:
            self._changed.wait_for(lambda: queue or self._is_done[number])
            if queue:
                result = queue.popleft()
                self._queued -= self._size_of(result)
                self._changed.notify_all()
                return (result,)
            if number in self._errors:
                raise self._errors[number]
            return None

    def _run(self) -> None:
        worker: Worker[Task, Result] | None = None
        number: int | None = None
        try:
            while (number := self._start_task()) is not None:
                worker = worker or self._make_worker(self._check_stopped)
                for result in worker.work(self._tasks[number]):
                    self._put(number, result)
                self._finish_task(number)
        except PoolStopped:
            pass
        except BaseException as error:
            if number is not None:
                self._finish_task(number, error)
        finally:
            if worker:
                worker.close()

    def _start_task(self) -> int | None:
        with self._changed:
            if self._is_stopped or self._errors or self._next_task == len(self._tasks):
                return None
            self._next_task += 1
            return self._next_task - 1

    def _finish_task(self, number: int, error: BaseException | None = None) -> None:
        with self._changed:
            self._is_done[number] = True
            if error is not None:
                self._errors[number] = error
            self._changed.notify_all()

    def _put(self, number: int, result: Result) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopped or self._is_next(number) or self._queued < self._max_queued)
            self._check_stopped()
            self._queues[number].append(result)
            self._queued += self._size_of(result)
            self._changed.notify_all()

    def _is_next(self, number: int) -> bool:
        return number == self._received_task and not self._queues[number]

    def _check_stopped(self) -> None:
        if self._is_stopped:
            raise PoolStopped

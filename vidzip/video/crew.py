"""Threads that work on a list of tasks in order, and what they make, in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Generic, Protocol, TypeVar

Task = TypeVar("Task")
Item = TypeVar("Item")


class StoppedError(Exception):
    """The work is no longer wanted."""


class Worker(Protocol[Task, Item]):  # type: ignore[misc] # its type parameters are given by the crew
    """What one thread uses."""

    def work(self, task: Task) -> Iterator[Item]:
        """Do one task; yield what it makes."""

    def close(self) -> None:
        """Be done."""


class Crew(Generic[Task, Item]):
    """Does tasks in several threads; iterating yields what they make, in the tasks' order, while later ones are done.

    Tasks are begun in order. Whoever makes something waits while too much is waiting already, unless it is the very
    item that is to be taken next; so nobody waits for each other, and memory stays bounded. A task's error is raised
    after all that was made before it, in the tasks' order.

    Args:
        tasks: what to do.
        hire: makes a thread's worker, in that thread. It is given a function to be called often, which raises
            :class:`StoppedError` once the work is no longer wanted.
        threads: how many.
        size_of: how much of ``max_waiting`` an item takes.
        max_waiting: of what waits to be taken.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        hire: Callable[[Callable[[], None]], Worker[Task, Item]],
        *,
        threads: int,
        size_of: Callable[[Item], float],
        max_waiting: float,
    ) -> None:
        self._tasks, self._hire, self._size_of, self._max_waiting = tasks, hire, size_of, max_waiting
        self._changed = threading.Condition()
        self._made: list[deque[Item]] = [deque() for _ in tasks]
        self._is_done = [False] * len(tasks)
        self._next = self._front = 0
        self._waiting = 0.0
        self._errors: dict[int, BaseException] = {}
        self._is_stopped = False
        self._threads = [threading.Thread(target=self._run, name=f"vidzip-{i}", daemon=True) for i in range(threads)]

    def __enter__(self) -> Crew[Task, Item]:
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

    def __iter__(self) -> Iterator[Item]:
        for number in range(len(self._tasks)):
            with self._changed:
                self._front = number
                self._changed.notify_all()
            while made := self._await(number):
                yield made[0]

    def _await(self, number: int) -> tuple[Item] | None:
        """Wait for the next item of a task; None once it is done."""
        made = self._made[number]
        with self._changed:
            self._changed.wait_for(lambda: made or self._is_done[number])
            if made:
                item = made.popleft()
                self._waiting -= self._size_of(item)
                self._changed.notify_all()
                return (item,)
            if number in self._errors:
                raise self._errors[number]
            return None

    def _run(self) -> None:
        worker: Worker[Task, Item] | None = None
        number: int | None = None
        try:
            while (number := self._take()) is not None:
                worker = worker or self._hire(self._check)
                for item in worker.work(self._tasks[number]):
                    self._put(number, item)
                self._finish(number)
        except StoppedError:
            pass
        except BaseException as error:
            if number is not None:
                self._finish(number, error)
        finally:
            if worker:
                worker.close()

    def _take(self) -> int | None:
        with self._changed:
            if self._is_stopped or self._errors or self._next == len(self._tasks):
                return None
            self._next += 1
            return self._next - 1

    def _finish(self, number: int, error: BaseException | None = None) -> None:
        with self._changed:
            self._is_done[number] = True
            if error is not None:
                self._errors[number] = error
            self._changed.notify_all()

    def _put(self, number: int, item: Item) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_stopped or self._is_next(number) or self._waiting < self._max_waiting
            )
            self._check()
            self._made[number].append(item)
            self._waiting += self._size_of(item)
            self._changed.notify_all()

    def _is_next(self, number: int) -> bool:
        return number == self._front and not self._made[number]

    def _check(self) -> None:
        if self._is_stopped:
            raise StoppedError

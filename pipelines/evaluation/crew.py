"""Videos decoded ahead in processes of their own: one that crashes or hangs its process costs itself alone."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import vidzip
from pipelines.workers import interruptions_held, leave_with_the_parent
from vidzip import Budget, Decoding, Plan, VidzipError
from vidzip.footage import Footage, shoot
from vidzip.video.resizing import Shape
from vidzip.video.sampling import Policy

GRACE_SECONDS = 15.0
"""How long a process may go on after its video's time is up: it then hangs inside one call, and is ended."""


START_SECONDS = 120.0
"""How long a process may take to start."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One video to be decoded.

    Attributes:
        key: what it is called in the run.
        path: the file.
        budget: what may be spent on it.
        shape: what pictures are brought to.
        max_tokens_per_frame, frames_per_clip, policy, method: as :func:`vidzip.plan` takes them.
        decoding: how it is decoded.
    """

    key: str
    path: str
    budget: Budget
    shape: Shape
    max_tokens_per_frame: int
    frames_per_clip: int
    policy: Policy = "middle"
    method: str = "visionzip"
    decoding: Decoding = field(default_factory=Decoding)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why there is nothing to be asked about a video.

    Attributes:
        kind: the error's name, or ``"Crashed"`` or ``"TimedOut"``.
        reason: what happened, in words.
    """

    kind: str
    reason: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """What became of a job.

    Attributes:
        job: it.
        outcome: the frames, or why there are none.
        seconds: how long it took.
    """

    job: Job
    outcome: Footage | Failure
    seconds: float


T = TypeVar("T")
Ready = TypeVar("Ready")


def decode_job(job: Job) -> tuple[Any, ...]:
    """Decode one video, and pack what came of it for its way through a pipe."""
    try:
        info = vidzip.probe(job.path)
        plan = vidzip.plan(
            info,
            job.budget,
            job.max_tokens_per_frame,
            policy=job.policy,
            frames_per_clip=job.frames_per_clip,
            method=job.method,
        )
        footage = shoot(info, plan, job.shape, job.decoding, max_tokens_per_frame=job.max_tokens_per_frame)
    except VidzipError as error:
        return "failed", type(error).__name__, str(error)
    except MemoryError:
        return "failed", "MemoryError", "the process that decoded it ran out of memory"
    except Exception as error:  # it must not cost the other videos; it is named, and every question of it is counted
        return "failed", type(error).__name__, f"{type(error).__name__}: {error}"
    return "done", footage.plan, footage.pixels.numpy(), footage.timestamps_seconds


def _unpacked(answer: tuple[Any, ...]) -> Footage | Failure:
    if answer[0] == "failed":
        return Failure(kind=answer[1], reason=answer[2])
    import torch

    plan: Plan = answer[1]
    return Footage(plan=plan, pixels=torch.from_numpy(answer[2]), timestamps_seconds=answer[3])


def decode_ahead(
    jobs: Iterable[Job | Ready],
    processes: int,
    decode: Callable[[Job], tuple[Any, ...]] = decode_job,
    grace_seconds: float = GRACE_SECONDS,
) -> Iterator[Decoded | Ready]:
    """Decode videos in so many processes, and pass on what became of each, in the order in which they are done.

    One more video a process is begun while the last one is looked at; no more, so that memory stays bounded. Closing
    the iterator ends the processes.

    Args:
        jobs: taken one by one, as processes become free. What is no job needs no decoding, and is passed on at once.
        processes: how many, 1 or more.
        decode: what each of them does; a new process can import it.
        grace_seconds: how long a process may go on after its video's time is up.
    """
    todo = iter(jobs)
    hands = [_Hand(decode, grace_seconds) for _ in range(processes)]
    idle = list(hands)
    try:
        while True:
            while idle and (one := next(todo, None)) is not None:
                if isinstance(one, Job):
                    idle.pop().give(one)
                else:
                    yield one
            if len(idle) == len(hands):
                return
            hand, decoded = _first_done(hands)
            following = next(todo, None)
            if isinstance(following, Job):
                hand.give(following)
                yield decoded
            else:
                idle.append(hand)
                yield decoded
                if following is not None:
                    yield following
    finally:
        for hand in hands:
            hand.end()


def _first_done(hands: list[_Hand]) -> tuple[_Hand, Decoded]:
    """Wait for a process to be done with its video, to be lost, or to run out of time."""
    while True:
        busy = [hand for hand in hands if hand.job]
        patience = min(hand.ends for hand in busy) - time.monotonic()
        ready = wait([thing for hand in busy for thing in hand.waits_for], timeout=max(0.0, patience))
        for hand in busy:
            if hand.waits_for[0] in ready or hand.waits_for[1] in ready:
                decoded = hand.take()
                if decoded is not None:
                    return hand, decoded
                continue
            if time.monotonic() >= hand.ends:
                return hand, hand.give_up()


class _Hand:
    """A process that decodes, one video at a time, and is started anew where it was lost."""

    def __init__(self, decode: Callable[[Job], tuple[Any, ...]], grace_seconds: float) -> None:
        self._decode, self._grace = decode, grace_seconds
        self.job: Job | None = None
        self.ends = 0.0
        self._began = 0.0
        self._process: BaseProcess | None = None
        self._line: Connection | None = None

    @property
    def waits_for(self) -> tuple[Any, int]:
        """What becomes ready when the process has an answer, and when it has ended."""
        if self._line is None or self._process is None:
            raise RuntimeError("the process is not there")
        return self._line, self._process.sentinel

    def give(self, job: Job) -> None:
        """Give it a video."""
        if self._process is None or not self._process.is_alive():
            self._start()
        self.job = job
        self._began = time.monotonic()
        self.ends = self._began + START_SECONDS
        if self._line is None:
            raise RuntimeError("the process is not there")
        with suppress(BrokenPipeError):  # it has just ended: waiting for it says so
            self._line.send(job)

    def take(self) -> Decoded | None:
        """Take what it made of its video, or say that it ended; nothing where it has only begun."""
        line, process = self._line, self._process
        if line is None or process is None:
            raise RuntimeError("the process is not there")
        try:
            said = line.recv() if line.poll() else ()
        except (EOFError, OSError):
            said = ()
        if said is None:
            limit = self.job.decoding.time_limit_seconds if self.job else 0.0
            self._began = time.monotonic()
            self.ends = self._began + limit + self._grace
            return None
        if said:
            answer, seconds = said
            return self._done(_unpacked(answer), seconds)
        process.join(self._grace)
        reason = f"the process that decoded it ended ({_exit_in_words(process.exitcode)})"
        self.end()
        return self._done(Failure(kind="Crashed", reason=reason))

    def give_up(self) -> Decoded:
        """End a process that does not come back from its video."""
        job = self.job
        limit = job.decoding.time_limit_seconds if job else 0.0
        self.end()
        reason = f"the process that decoded it did not come back within {limit + self._grace:g} s and was ended"
        return self._done(Failure(kind="TimedOut", reason=reason))

    def end(self) -> None:
        """End the process at once; it holds nothing that would be missed."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
        if self._line is not None:
            self._line.close()
        self._process = self._line = None

    def _done(self, outcome: Footage | Failure, seconds: float | None = None) -> Decoded:
        """Be done with a video: by the process's own clock, or by ours where it has none any more."""
        job, self.job = self.job, None
        if job is None:
            raise RuntimeError("there is no job")
        return Decoded(job=job, outcome=outcome, seconds=time.monotonic() - self._began if seconds is None else seconds)

    def _start(self) -> None:
        self.end()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_decode_jobs, args=(theirs, self._decode), daemon=True)
        with interruptions_held():
            process.start()
        theirs.close()
        self._process, self._line = process, ours


def _exit_in_words(code: int | None) -> str:
    if code is None:
        return "it hangs"
    if code < 0:
        return f"signal {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"signal {-code}"
    return f"exit code {code}"


def _decode_jobs(line: Connection, decode: Callable[[Job], tuple[Any, ...]]) -> None:
    """What a process does: decode what it is given, until nobody gives it more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=leave_with_the_parent, daemon=True).start()
    while True:
        try:
            job: Job = line.recv()
        except EOFError:
            return
        line.send(None)  # its time runs from here on
        began = time.perf_counter()
        answer = decode(job)
        line.send((answer, time.perf_counter() - began))


@contextmanager
def processes_ended(decoded: Iterator[T]) -> Iterator[Iterator[T]]:
    """End the processes with the block, however it ends."""
    try:
        yield decoded
    finally:
        close = getattr(decoded, "close", None)
        if close is not None:
            close()


def usual_processes() -> int:
    """Processes that decode where no number is asked for: half of the CPUs, since each decodes with two threads."""
    from pipelines.workers import usable_cpus

    return max(1, min(8, usable_cpus() // 2))

"""A pool of processes that decode videos ahead; a video that crashes or hangs its process affects no other video."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

import vidzip
from pipelines.runs.run_log import Failure
from pipelines.workers import start_worker
from vidzip import Budget, DecodeOptions, Frames, Plan, VidzipError
from vidzip.cpus import available_cpus
from vidzip.decoding import decode_plan
from vidzip.video.resizing import Shape
from vidzip.video.sampling import Policy

GRACE_SECONDS = 15.0
"""Time that a process has after its video's time limit, before it is killed."""

START_SECONDS = 120.0
"""Time that a process has to start."""


@dataclass(frozen=True, kw_only=True)
class DecodeJob:
    """One video to plan and decode.

    Attributes:
        key: identifies the job for the caller, and is not used here.
        path: the file.
        shape: shape of the decoded frames.
        budget, max_tokens_per_frame, frames_per_clip, policy, method: as :func:`vidzip.plan` takes them.
        decoding: how the file is decoded.
    """

    key: Any
    path: str
    budget: Budget
    shape: Shape
    max_tokens_per_frame: int
    frames_per_clip: int
    policy: Policy = "middle"
    method: str = "visionzip"
    decoding: DecodeOptions = field(default_factory=DecodeOptions)


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """The result of a job.

    Attributes:
        outcome: the frames, or why there are none.
        seconds: time that decoding took.
    """

    job: DecodeJob
    outcome: tuple[Plan, Frames] | Failure
    seconds: float


Message = tuple[Plan, npt.NDArray[np.uint8], tuple[float, ...], Shape] | Failure
"""What a worker sends: a tensor would travel through shared memory, which a crash may leave behind."""
Decode = Callable[[DecodeJob], Message]
Ready = TypeVar("Ready")


def default_processes() -> int:
    """Return the default number of processes: half of the CPUs, since each decodes with two threads, and at most 8."""
    return max(1, min(8, available_cpus() // 2))


def decode_job(job: DecodeJob) -> Message:
    """Plan and decode one video, in a worker process."""
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
        plan, frames = decode_plan(info, plan, job.shape, job.decoding, max_tokens_per_frame=job.max_tokens_per_frame)
    except VidzipError as error:
        return Failure.of(error)
    except MemoryError:
        return Failure(kind="MemoryError", reason="the process that decoded the video ran out of memory")
    except Exception as error:  # it must not affect the other videos
        return Failure(kind=type(error).__name__, reason=f"{type(error).__name__}: {error}")
    return plan, frames.pixels.numpy(), frames.timestamps_seconds, frames.shape


def _unpack(message: Message) -> tuple[Plan, Frames] | Failure:
    if isinstance(message, Failure):
        return message
    plan, pixels, timestamps_seconds, shape = message
    return plan, Frames(pixels=torch.from_numpy(pixels), timestamps_seconds=timestamps_seconds, shape=shape)


def decode_ahead(
    jobs: Iterable[DecodeJob | Ready],
    processes: int,
    decode: Decode = decode_job,
    grace_seconds: float = GRACE_SECONDS,
) -> Generator[Decoded | Ready]:
    """Decode videos in processes, and yield the results in the order in which they are done.

    Every process decodes one video ahead, and no more, so that memory stays bounded. Closing the generator kills the
    processes.

    Args:
        jobs: taken one by one, as processes become free. Anything else than a job is yielded as it is.
        processes: limit on the number of processes, 1 or more.
        decode: the work of a process, a function that it can import.
        grace_seconds: time that a process has after its video's time limit, before it is killed.
    """
    pending = iter(jobs)
    busy: list[_Worker] = []
    idle: list[_Worker] = []
    finished: Decoded | None = None
    try:
        while True:
            while len(busy) < processes and (item := next(pending, None)) is not None:
                if isinstance(item, DecodeJob):
                    busy.append(_take_worker(idle) or _Worker(decode, grace_seconds))
                    busy[-1].submit(item)
                else:
                    yield item
            if finished is not None:
                yield finished
            if not busy:
                return
            worker, finished = _wait_for_any(busy)
            busy.remove(worker)
            idle.append(worker)
    finally:
        for worker in (*busy, *idle):
            worker.kill()


def _take_worker(idle: list[_Worker]) -> _Worker | None:
    """Take a worker whose process is alive; drop those that are not."""
    while idle:
        worker = idle.pop()
        if worker.process.is_alive():
            return worker
        worker.kill()
    return None


def _wait_for_any(busy: list[_Worker]) -> tuple[_Worker, Decoded]:
    """Wait until a worker is done, is lost or exceeds its time limit."""
    while True:
        timeout = min(worker.deadline for worker in busy) - time.monotonic()
        handles = [handle for worker in busy for handle in (worker.connection, worker.process.sentinel)]
        ready = wait(handles, timeout=max(0.0, timeout))
        for worker in busy:
            decoded = None
            if worker.connection in ready or worker.process.sentinel in ready:
                decoded = worker.receive()
            elif time.monotonic() >= worker.deadline:
                decoded = worker.time_out()
            if decoded is not None:
                return worker, decoded


class _Worker:
    """A process that decodes one video at a time."""

    def __init__(self, decode: Decode, grace_seconds: float) -> None:
        self._grace = grace_seconds
        self.process, self.connection = start_worker(_decode_jobs, decode, daemon=True)

    def submit(self, job: DecodeJob) -> None:
        self._job = job
        self._restart_clock(START_SECONDS)
        with suppress(BrokenPipeError):  # the process has just ended: waiting for it reports that
            self.connection.send(job)

    def receive(self) -> Decoded | None:
        """Receive a result, or report that the process ended; None if the process has only started on its video."""
        try:
            message = self.connection.recv() if self.connection.poll() else ()
        except (EOFError, OSError):
            message = ()
        if message is None:
            self._restart_clock(self._job.decoding.time_limit_seconds + self._grace)
            return None
        if message:
            outcome, seconds = message
            return Decoded(job=self._job, outcome=_unpack(outcome), seconds=seconds)
        self.process.join(self._grace)
        return self._fail("Crashed", f"the process that decoded the video ended ({_exit_text(self.process.exitcode)})")

    def time_out(self) -> Decoded:
        """Kill the process, and report that it exceeded its time limit."""
        limit = self._job.decoding.time_limit_seconds + self._grace
        return self._fail("TimedOut", f"the process that decoded the video took more than {limit:g} s and was killed")

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.process.close()
        self.connection.close()

    def _restart_clock(self, seconds: float) -> None:
        self._start = time.monotonic()
        self.deadline = self._start + seconds

    def _fail(self, kind: str, reason: str) -> Decoded:
        self.process.kill()
        self.process.join()
        outcome = Failure(kind=kind, reason=reason)
        return Decoded(job=self._job, outcome=outcome, seconds=time.monotonic() - self._start)


def _exit_text(code: int | None) -> str:
    if code is None:
        return "it hangs"
    if code < 0:
        return f"signal {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"signal {-code}"
    return f"exit code {code}"


def _decode_jobs(connection: Connection, decode: Decode) -> None:
    """Decode jobs until the connection closes."""
    while True:
        try:
            job: DecodeJob = connection.recv()
        except EOFError:
            return
        connection.send(None)  # the time limit of the video starts here
        start = time.perf_counter()
        outcome = decode(job)
        connection.send((outcome, time.perf_counter() - start))

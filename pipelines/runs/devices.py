"""Runs on several devices: one process each, which take videos one by one, while this process writes the logs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from pipelines.runs.answering import Answerer
from pipelines.runs.questions import by_video
from pipelines.runs.run_log import Row, RunLog
from pipelines.runs.running import ProgressReporter, RunWorkload, run
from pipelines.terminal import Progress
from pipelines.workers import start_worker
from vidzip.errors import SystemFault


class DeviceLost(SystemFault):
    """The process of a device ended before its work was done."""


def run_on_devices(
    devices: Sequence[str],
    workload: RunWorkload,
    load: Callable[[str], Answerer],
    logs: Mapping[str, RunLog],
    progress: Progress,
) -> None:
    """Do what :func:`pipelines.runs.running.run` does, on several devices.

    Args:
        devices: such as ``["cuda:0", "cuda:1"]``. The first one also asks what needs no video.
        workload: questions and frame settings.
        load: loads the model onto a device, in the device's process.
        logs: the log of each run, written by this process.
        progress: called after each batch of answers.

    Raises:
        DeviceLost: a process ended; the same runs can resume.
        Exception: what a process raised.
    """
    of_videos = {name: frames for name, frames in workload.frames.items() if frames is not None}
    videos = iter(
        [
            video
            for video, samples in by_video(workload.samples).items()
            if any(sample.id not in logs[name].rows for name in of_videos for sample in samples)
        ]
    )
    workers: dict[Connection, tuple[str, BaseProcess]] = {}
    reporter = ProgressReporter(progress, logs.values(), len(workload.samples) * len(logs))
    try:
        for number, device in enumerate(devices):
            work = workload if number == 0 else replace(workload, frames=of_videos)
            done = {name: frozenset(logs[name].rows) for name in work.frames}
            process, connection = start_worker(_work_on, device, work, load, done, daemon=False)
            workers[connection] = device, process
        reporter.report()
        while workers:
            ready = wait(list(workers))
            for connection, (device, process) in list(workers.items()):
                if connection not in ready:
                    continue
                try:
                    kind, content = connection.recv()
                except (EOFError, OSError) as error:
                    process.join()
                    raise DeviceLost(
                        f"the process of {device} ended ({process.exitcode})",
                        hint="the memory may be exhausted; the same command resumes",
                    ) from error
                if kind == "next":
                    connection.send(next(videos, None))
                elif kind == "rows":
                    name, rows = content
                    logs[name].add(rows)
                    connection.send(None)
                    reporter.report()
                elif kind == "failed":
                    raise content
                else:
                    process.join()
                    connection.close()
                    del workers[connection]
    finally:
        for connection, (_, process) in workers.items():
            process.kill()
            process.join()
            connection.close()


def _work_on(
    connection: Connection,
    device: str,
    workload: RunWorkload,
    load: Callable[[str], Answerer],
    done: Mapping[str, frozenset[str]],
) -> None:
    """Take and answer videos until there are no more."""

    def videos() -> Iterator[str]:
        while True:
            connection.send(("next", None))
            video = connection.recv()
            if video is None:
                return
            yield video

    def open_log(name: str, ids: Iterable[str]) -> RunLog:
        """Open a log that sends its rows, and waits until they are written."""

        def send(rows: Sequence[Row]) -> None:
            connection.send(("rows", (name, rows)))
            connection.recv()

        return RunLog({key: {} for key in ids}, send)

    try:
        logs = {name: open_log(name, ids) for name, ids in done.items()}
        run(workload, load(device), logs, lambda *_: None, videos())
    except Exception as error:
        connection.send(("failed", error))
        return
    connection.send(("done", None))

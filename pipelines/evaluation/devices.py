"""One run on several devices: a process each, videos handed out one by one, lines written by one of them alone."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from pipelines.evaluation.answering import Answerer
from pipelines.evaluation.journal import Journal
from pipelines.evaluation.running import Teller, Work, by_video, run
from pipelines.terminal import Progress
from pipelines.workers import interruptions_held, leave_with_the_parent
from vidzip import VideoLlava
from vidzip.errors import SystemFault


class DeviceLost(SystemFault):
    """The process of a device ended before its work was done."""


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How each process gets its model; a new process can import it.

    Attributes:
        load: takes ``device`` and the options.
        options: what else it takes.
        max_new_tokens, batch_questions: as :class:`Answerer` has them.
    """

    load: Callable[..., VideoLlava]
    options: Mapping[str, Any]
    max_new_tokens: int = 64
    batch_questions: int = 16

    def answerer(self, device: str) -> Answerer:
        """Load the model onto a device."""
        return Answerer(
            model=self.load(device=device, **self.options),
            max_new_tokens=self.max_new_tokens,
            batch_questions=self.batch_questions,
        )


def run_on(devices: Sequence[str], work: Work, loading: Loading, journal: Journal, show: Progress) -> None:
    """Do a run's work on several devices.

    Args:
        devices: one process each, such as ``["cuda:0", "cuda:1"]``.
        work: what is to be done.
        loading: how each gets its model.
        journal: kept by this process.
        show: told how far it is.

    Raises:
        DeviceLost: a process ended; the same run goes on from there.
        Exception: what a process raised.
    """
    context = multiprocessing.get_context("spawn")
    videos = iter(
        [
            video
            for video, samples in by_video(work.samples).items()
            if any(sample.id not in journal.rows for sample in samples)
        ]
    )
    done = frozenset(journal.rows)
    lines: dict[Connection, tuple[str, Any]] = {}
    try:
        for device in devices:
            ours, theirs = context.Pipe()
            process = context.Process(target=_work_on, args=(device, work, loading, done, theirs), daemon=False)
            with interruptions_held():
                process.start()
            theirs.close()
            lines[ours] = device, process
        teller = Teller(show, journal, len(work.samples))
        teller.tell()
        while lines:
            for line in wait(list(lines)):
                if not isinstance(line, Connection):
                    continue
                device, process = lines[line]
                try:
                    said, what = line.recv()
                except (EOFError, OSError) as error:
                    process.join()
                    raise DeviceLost(
                        f"the process of {device} ended ({process.exitcode})",
                        hint="the memory may have run out; the same command goes on",
                    ) from error
                if said == "next":
                    line.send(next(videos, None))
                elif said == "rows":
                    journal.add(what)
                    line.send(None)
                    teller.tell()
                elif said == "failed":
                    raise what
                else:
                    process.join()
                    line.close()
                    del lines[line]
    finally:
        for line, (_, process) in lines.items():
            process.kill()
            process.join()
            line.close()


class _FarJournal(Journal):
    """A journal that another process keeps."""

    def __init__(self, line: Connection, done: frozenset[str]) -> None:
        super().__init__("", {}, {key: {} for key in done})
        self._line = line

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Have lines written, and wait until they are."""
        if rows:
            self._line.send(("rows", [dict(row) for row in rows]))
            self._line.recv()
            self.rows.update((str(row["id"]), {}) for row in rows)


def _work_on(device: str, work: Work, loading: Loading, done: frozenset[str], line: Connection) -> None:
    """What a device's process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=leave_with_the_parent, daemon=True).start()

    def handed_out() -> Iterator[str]:
        while True:
            line.send(("next", None))
            video = line.recv()
            if video is None:
                return
            yield video

    try:
        run(work, loading.answerer(device), _FarJournal(line, done), lambda *_: None, handed_out())
    except Exception as error:
        line.send(("failed", error))
        return
    line.send(("done", None))

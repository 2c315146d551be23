"""Work that other processes can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from pipelines.workers import check_stopped


def note(path: Path) -> None:
    """Write this process's number into a file."""
    path.write_text(str(os.getpid()))


def fail_or_wait(path: Path) -> None:
    """Fail if the file is named "fail"; otherwise wait until stopped, for a minute at most."""
    if path.name == "fail":
        raise LookupError(path.name)
    for _ in range(6000):
        check_stopped()
        time.sleep(0.01)


def die(_path: Path) -> None:
    """Kill this process, as the system does when memory is exhausted."""
    os.kill(os.getpid(), signal.SIGKILL)

"""Work for other processes: functions that they can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from pipelines.workers import stop_if_told


def note(path: Path) -> None:
    """Write this process's number into a file."""
    path.write_text(str(os.getpid()))


def fail_or_wait(path: Path) -> None:
    """Fail if the file is called so; otherwise wait to be told to stop, for a minute."""
    if path.name == "fail":
        raise LookupError(path.name)
    for _ in range(6000):
        stop_if_told()
        time.sleep(0.01)


def die(_path: Path) -> None:
    """End this process as the system does where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)

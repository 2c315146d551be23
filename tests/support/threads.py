"""Waiting for other threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def wait_until(is_true: Callable[[], bool]) -> None:
    """Wait until a condition is true, for at most ten seconds."""
    ends = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < ends, "the condition is still false"
        time.sleep(0.001)


def settled(count: Callable[[], int]) -> int:
    """Return a count once it has not changed for a while."""
    seen, since = count(), time.monotonic()
    while time.monotonic() < since + 0.2:
        time.sleep(0.005)
        if count() != seen:
            seen, since = count(), time.monotonic()
    return seen


def decoding_threads() -> list[threading.Thread]:
    """Return the threads of pools that are alive."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("vidzip-")]

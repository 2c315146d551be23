"""Waiting for what other threads do, and finding them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def wait_until(is_true: Callable[[], bool]) -> None:
    """Wait for what other threads do; ten seconds are far more than they need."""
    ends = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.001)


def settled(count: Callable[[], int]) -> int:
    """Return a count once it has stood still for a while."""
    seen, since = count(), time.monotonic()
    while time.monotonic() < since + 0.2:
        time.sleep(0.005)
        if count() != seen:
            seen, since = count(), time.monotonic()
    return seen


def decoding_threads() -> list[threading.Thread]:
    """Threads of crews that are alive."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("vidzip-")]

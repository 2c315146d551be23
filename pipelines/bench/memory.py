"""The most memory that work takes at once, beyond what is held already: on a GPU as on a CPU, by PyTorch's own count."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch.profiler import ProfilerActivity, profile

from pipelines.terminal import format_bytes
from vidzip.errors import OutOfMemory

T = TypeVar("T")


def peak_bytes(work: Callable[[], T], device: torch.device) -> tuple[T, int | None]:
    """Do some work, and tell how many bytes it held on the device at once, at most, beyond those held before it.

    On CUDA, PyTorch's allocator keeps count. On a CPU, the profiler notes all that PyTorch allocates and frees; that
    takes time, so that none should be measured beside it. What other libraries allocate is not in it.

    Returns:
        What the work gave, and the bytes; None on devices whose memory is not counted.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        done = work()
        torch.cuda.synchronize(device)
        return done, torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu":
        return work(), None
    with _quiet(), profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as seen:
        done = work()
    profiler: Any = seen.profiler
    events = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda one: one.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return done, most


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the profiler from printing when it starts and stops: an environment variable alone tells it to."""
    before = os.environ.get("KINETO_LOG_LEVEL")
    os.environ["KINETO_LOG_LEVEL"] = "99"
    try:
        yield
    finally:
        if before is None:
            del os.environ["KINETO_LOG_LEVEL"]
        else:
            os.environ["KINETO_LOG_LEVEL"] = before


def check_room(needed: int, device: torch.device, what: str) -> None:
    """Make sure that the host has room; a GPU says by itself what does not fit, a host ends the process.

    Args:
        needed: bytes.
        device: where they are needed.
        what: that needs them.

    Raises:
        OutOfMemory: the host has less.
    """
    free = available_bytes()
    if device.type == "cpu" and free is not None and needed > free:
        raise OutOfMemory(
            f"{what} needs {format_bytes(needed)}, and {format_bytes(free)} of memory are free",
            hint="take fewer --frames, or leave the way out with --ways",
        )


def available_bytes() -> int | None:
    """What the host can still give out without swapping; None where the system does not say (other than Linux)."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
    except OSError:
        return None
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None

"""Peak memory of work in PyTorch, on CUDA and on a CPU."""

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
    """Measure the peak memory of work above what was allocated before it.

    On CUDA, PyTorch's allocator counts. On a CPU, the profiler records PyTorch's allocations, which slows work down: do not
    measure time as well. Allocations by other libraries are not counted.

    Returns:
        The result of the work, and the bytes; None on other devices.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = work()
        torch.cuda.synchronize(device)
        return result, torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu":
        return work(), None
    with (
        _quiet_profiler(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as recorded,
    ):
        result = work()
    profiler: Any = recorded.profiler
    events = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    allocated = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        allocated += event.nbytes()
        peak = max(peak, allocated)
    return result, peak


@contextmanager
def _quiet_profiler() -> Iterator[None]:
    """Keep the profiler from printing; only an environment variable controls this."""
    before = os.environ.get("KINETO_LOG_LEVEL")
    os.environ["KINETO_LOG_LEVEL"] = "99"
    try:
        yield
    finally:
        if before is None:
            del os.environ["KINETO_LOG_LEVEL"]
        else:
            os.environ["KINETO_LOG_LEVEL"] = before


def check_host_memory(needed: int, device: torch.device, work: str) -> None:
    """Check that the host has enough memory for work on a CPU, since the system would kill the process.

    Args:
        needed: bytes.
        device: where they are needed.
        work: description of the work for the message.

    Raises:
        OutOfMemory: the host has less.
    """
    free = available_bytes()
    if device.type == "cpu" and free is not None and needed > free:
        raise OutOfMemory(
            f"{work} needs {format_bytes(needed)}, but {format_bytes(free)} of memory are free",
            hint="lower --frames, or leave the variant out with --variants",
        )


def available_bytes() -> int | None:
    """Return the host memory available without swapping; None on systems other than Linux."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
    except OSError:
        return None
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None

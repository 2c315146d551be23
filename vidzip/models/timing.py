"""How long each stage takes, on the device as on the host."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up seconds a stage; waits for the device at both ends of one, so that its work is counted where it is."""

    def __init__(self, device: torch.device, so_far: Mapping[str, float] | None = None) -> None:
        self._device = device
        self.seconds: dict[str, float] = dict(so_far or {})

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the block's time towards a stage."""
        began = self.now()
        try:
            yield
        finally:
            self.add(name, self.now() - began)

    def add(self, name: str, seconds: float) -> None:
        """Count seconds towards a stage."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def now(self) -> float:
        """Seconds on a steady clock, once the device has done all it was given."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

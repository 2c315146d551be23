"""Seconds spent in each stage, on the device and the host."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")


class Stopwatch:
    """Adds up seconds per stage; synchronises the device at both ends of a stage."""

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

    def timed(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """Pass items on, and count the time spent waiting for each towards a stage."""
        iterator = iter(items)
        while True:
            with self.stage(name):
                item = next(iterator, None)
            if item is None:
                return
            yield item

    def add(self, name: str, seconds: float) -> None:
        """Count seconds towards a stage."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def now(self) -> float:
        """Synchronise the device and read a steady clock, in seconds."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

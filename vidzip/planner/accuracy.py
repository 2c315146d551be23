"""Measured accuracy by frames and tokens. Standard library only."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("accuracy.json")
"""Measured accuracy and its origin, written by ``benchmarks/accuracy.py``."""

SCHEMA = "vidzip/accuracy/1"

FALLBACK_METHOD = "visionzip"
"""The method whose accuracy is used for methods that were not measured."""


@dataclass(frozen=True, kw_only=True)
class AccuracyTable:
    """One method's accuracy by frames and tokens, interpolated linearly in the logarithms of both.

    Outside of the measured range the nearest measured count is used. Accuracy never decreases with more tokens for the
    same frames: measurements that do are averaged (pool adjacent violators).

    Attributes:
        method: the method's name with its options.
        frames: measured frame counts, ascending, (n,).
        tokens: measured token totals, ascending, (m,).
        values: share of correct answers, (m, n).
    """

    method: str
    frames: tuple[int, ...]
    tokens: tuple[int, ...]
    values: tuple[tuple[float, ...], ...]

    @staticmethod
    def from_cells(method: str, cells: Iterable[Mapping[str, Any]]) -> AccuracyTable:
        """Build a table from measured cells with ``frames``, ``tokens`` and ``accuracy``, in any order.

        A total may lack some frame counts: small totals cannot hold many frames. A missing cell is interpolated between
        the measured counts of its total, at least as high as for fewer tokens, and at most as high as for more.
        """
        columns: dict[int, dict[int, float]] = {}
        for cell in cells:
            columns.setdefault(cell["frames"], {})[cell["tokens"]] = cell["accuracy"]
        for column in columns.values():
            totals = sorted(column)
            column.update(zip(totals, _pool_violators([column[total] for total in totals]), strict=True))
        counts, totals = sorted(columns), sorted({total for column in columns.values() for total in column})
        rows: list[tuple[float, ...]] = []
        for total in reversed(totals):
            known = {count: columns[count][total] for count in counts if total in columns[count]}
            row = []
            for i, count in enumerate(counts):
                value = _interpolate_row(known, count)
                if count not in known:
                    value = max([value, *(one for fewer, one in columns[count].items() if fewer < total)])
                    value = min(value, rows[-1][i]) if rows else value
                row.append(value)
            rows.append(tuple(row))
        return AccuracyTable(method=method, frames=tuple(counts), tokens=tuple(totals), values=tuple(reversed(rows)))

    def at(self, num_frames: int, total_tokens: int) -> float:
        """Return the share of correct answers at a number of frames and of tokens in all."""
        return self.at_frames(total_tokens, (num_frames,))[0]

    def at_frames(self, total_tokens: int, counts: Sequence[int]) -> list[float]:
        """Return the shares of correct answers at a number of tokens in all, for several frame counts."""
        row, up = _locate(self._log_tokens, total_tokens)
        values = self.values[row]
        if up:
            values = tuple([low + up * (high - low) for low, high in zip(values, self.values[row + 1], strict=True)])
        return [_interpolate(values, *_locate(self._log_frames, count)) for count in counts]

    def frames_outside(self, num_frames: int) -> int:
        """Return by how many frames a count is outside of the measured range; 0 if it is inside."""
        return max(0, self.frames[0] - num_frames, num_frames - self.frames[-1])

    def covers(self, num_frames: int, total_tokens: int) -> bool:
        """Whether both counts are inside the measured range."""
        return not self.frames_outside(num_frames) and self.tokens[0] <= total_tokens <= self.tokens[-1]

    def breakpoints(self, fewest: int, most: int) -> list[int]:
        """Frame counts that include the best one of a range, for any tokens: accuracy is linear between them."""
        return [fewest, *(count for count in self.frames if fewest < count < most), most]

    @cached_property
    def _log_frames(self) -> tuple[float, ...]:
        return tuple(map(math.log, self.frames))

    @cached_property
    def _log_tokens(self) -> tuple[float, ...]:
        return tuple(map(math.log, self.tokens))


@dataclass(frozen=True, kw_only=True)
class MeasuredAccuracy:
    """The content of :data:`FILE`.

    Attributes:
        origin: the questions, the model and the commands that were run, by name.
        tables: by method.
    """

    origin: Mapping[str, Any]
    tables: Mapping[str, AccuracyTable]

    def table(self, method: str) -> AccuracyTable:
        """Return a method's table: with its options, else without them, else that of :data:`FALLBACK_METHOD`."""
        name = method.partition("(")[0]
        return self.tables.get(method) or self.tables.get(name) or self.tables[FALLBACK_METHOD]


@cache
def measured_accuracy() -> MeasuredAccuracy:
    """Read :data:`FILE`, once."""
    content = json.loads(FILE.read_text(encoding="utf-8"))
    return MeasuredAccuracy(
        origin=content["origin"],
        tables={method: AccuracyTable.from_cells(method, cells) for method, cells in content["methods"].items()},
    )


def _locate(knots: Sequence[float], value: int) -> tuple[int, float]:
    """Find a value between two logarithmic knots: the left knot's index, and the position in [0, 1) to the right one."""
    position = math.log(value)
    if position <= knots[0]:
        return 0, 0.0
    if position >= knots[-1]:
        return len(knots) - 1, 0.0
    left = bisect_right(knots, position) - 1
    return left, (position - knots[left]) / (knots[left + 1] - knots[left])


def _interpolate(values: Sequence[float], left: int, position: float) -> float:
    return values[left] if position == 0 else values[left] + position * (values[left + 1] - values[left])


def _interpolate_row(row: Mapping[int, float], num_frames: int) -> float:
    """Interpolate a total's accuracy at a frame count."""
    counts = sorted(row)
    left, position = _locate([math.log(count) for count in counts], num_frames)
    return _interpolate([row[count] for count in counts], left, position)


def _pool_violators(values: Sequence[float]) -> list[float]:
    """Return the nearest non-decreasing values by least squares (pool adjacent violators)."""
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, count = value, 1
        while pools and pools[-1][0] > mean:
            before, many = pools.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        pools.append((mean, count))
    return [mean for mean, count in pools for _ in range(count)]

"""How accurate answers are at so many frames and tokens, as ``vidzip grid`` measured it. Standard library only."""

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
"""What ships: measured accuracies and where they come from; ``benchmarks/accuracy.py`` writes it."""

SCHEMA = "vidzip/accuracy/1"

FALLBACK = "visionzip"
"""The method whose accuracies stand in for those of a method that was not measured."""


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """One method's accuracy over frames and tokens, interpolated in the logarithm of both.

    Outside of what was measured it is that of the nearest count that was. More tokens for the same frames never count
    as worse: where they measured so, the two are averaged, by pooling adjacent violators.

    Attributes:
        method: the method's name, its options with it.
        frames: counts that were measured, ascending, (n,).
        tokens: totals that were measured, ascending, (m,).
        shares: of answers that were right at each total and count, (m, n).
    """

    method: str
    frames: tuple[int, ...]
    tokens: tuple[int, ...]
    shares: tuple[tuple[float, ...], ...]

    @staticmethod
    def of(method: str, cells: Iterable[Mapping[str, Any]]) -> Accuracy:
        """Make it of measured cells, each with ``frames``, ``tokens`` and ``accuracy``, in any order.

        Totals need not be measured at the same counts: small ones cannot hold many frames. What was not measured of a
        total is that of its nearest counts that were, and no better than more tokens for the same frames.
        """
        columns: dict[int, dict[int, float]] = {}
        for cell in cells:
            columns.setdefault(cell["frames"], {})[cell["tokens"]] = cell["accuracy"]
        for column in columns.values():
            totals = sorted(column)
            column.update(zip(totals, _ascending([column[total] for total in totals]), strict=True))
        counts, totals = sorted(columns), sorted({total for column in columns.values() for total in column})
        rows: list[tuple[float, ...]] = []
        for total in reversed(totals):
            known = {count: columns[count][total] for count in counts if total in columns[count]}
            row = []
            for i, count in enumerate(counts):
                value = _along(known, count)
                if count not in known:
                    value = max([value, *(one for fewer, one in columns[count].items() if fewer < total)])
                    value = min(value, rows[-1][i]) if rows else value
                row.append(value)
            rows.append(tuple(row))
        return Accuracy(method=method, frames=tuple(counts), tokens=tuple(totals), shares=tuple(reversed(rows)))

    def at(self, num_frames: int, total_tokens: int) -> float:
        """The share of right answers with so many frames and tokens in all."""
        return self.along(total_tokens, (num_frames,))[0]

    def along(self, total_tokens: int, counts: Sequence[int]) -> list[float]:
        """The shares of right answers with so many tokens in all, at some counts of frames."""
        row, up = _place(self._log_tokens, total_tokens)
        shares = self.shares[row]
        if up:
            shares = tuple([low + up * (high - low) for low, high in zip(shares, self.shares[row + 1], strict=True)])
        return [_between(shares, *_place(self._log_frames, count)) for count in counts]

    def outside(self, num_frames: int) -> int:
        """By how many frames a count lies outside of those that were measured; 0 within."""
        return max(0, self.frames[0] - num_frames, num_frames - self.frames[-1])

    def covers(self, num_frames: int, total_tokens: int) -> bool:
        """Whether what is asked for lies within what was measured."""
        return not self.outside(num_frames) and self.tokens[0] <= total_tokens <= self.tokens[-1]

    def turning_points(self, fewest: int, most: int) -> list[int]:
        """Counts among which, for the same tokens, the best one from ``fewest`` to ``most`` is: it is linear between."""
        return [fewest, *(count for count in self.frames if fewest < count < most), most]

    @cached_property
    def _log_frames(self) -> tuple[float, ...]:
        return tuple(map(math.log, self.frames))

    @cached_property
    def _log_tokens(self) -> tuple[float, ...]:
        return tuple(map(math.log, self.tokens))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What ships.

    Attributes:
        origin: what was asked, of which model, by which commands, in words, by their names.
        methods: by their names.
    """

    origin: Mapping[str, Any]
    methods: Mapping[str, Accuracy]

    def of(self, method: str) -> Accuracy:
        """A method's accuracy: with its options, else without them, else that of :data:`FALLBACK`."""
        name = method.partition("(")[0]
        return self.methods.get(method) or self.methods.get(name) or self.methods[FALLBACK]


@cache
def measured() -> Measured:
    """Read what ships, once."""
    content = json.loads(FILE.read_text(encoding="utf-8"))
    return Measured(
        origin=content["origin"],
        methods={method: Accuracy.of(method, cells) for method, cells in content["methods"].items()},
    )


def _place(knots: Sequence[float], value: int) -> tuple[int, float]:
    """Find a value between two knots of logarithms: the left one, and how far it is to the right one, in [0, 1)."""
    spot = math.log(value)
    if spot <= knots[0]:
        return 0, 0.0
    if spot >= knots[-1]:
        return len(knots) - 1, 0.0
    left = bisect_right(knots, spot) - 1
    return left, (spot - knots[left]) / (knots[left + 1] - knots[left])


def _between(values: Sequence[float], left: int, right: float) -> float:
    return values[left] if right == 0 else values[left] + right * (values[left + 1] - values[left])


def _along(row: Mapping[int, float], num_frames: int) -> float:
    """Read a total's accuracy at a count, which may not have been measured there."""
    counts = sorted(row)
    left, right = _place([math.log(count) for count in counts], num_frames)
    return _between([row[count] for count in counts], left, right)


def _ascending(values: Sequence[float]) -> list[float]:
    """Average neighbours until none is below the one before it: the nearest values, by squares, that never fall."""
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, count = value, 1
        while pools and pools[-1][0] > mean:
            before, many = pools.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        pools.append((mean, count))
    return [mean for mean, count in pools for _ in range(count)]

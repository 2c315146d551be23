"""Measure the time of planning, in microseconds, on video descriptions without files.

    OMP_NUM_THREADS=1 python -m benchmarks.planning --markdown

The last rows use synthetic accuracies of five budgets with latency limits, which leave the most plans to compare.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from pipelines.terminal import print_markdown_table, print_table
from vidzip import Budget, VideoInfo, plan
from vidzip.planner import VIDEO_LLAVA_7B, AccuracyTable, Planner, default_costs

COSTS = default_costs(VIDEO_LLAVA_7B, "cuda")

_INFO: dict[str, Any] = {
    "num_keyframes": 800,
    "num_bytes": 2 * 10**9,
    "width": 1920,
    "height": 1080,
    "codec": "h264",
}
VIDEOS = {
    "an hour": VideoInfo(path="hour.mp4", duration_seconds=3600.0, fps=25.0, num_frames=90_000, **_INFO),
    "an hour, listed": VideoInfo(
        path="listed.mkv",
        duration_seconds=3600.0,
        fps=25.0,
        num_frames=90_000,
        frame_times_seconds=tuple(number / 25 for number in range(90_000)),
        **_INFO,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A plan that is timed."""

    video: str
    budget: Budget
    has_costs: bool
    accuracy: AccuracyTable | None = None

    @property
    def row(self) -> tuple[str, ...]:
        """The first cells of its row."""
        seconds, memory = self.budget.max_latency_seconds, self.budget.max_memory_bytes
        limits = [f"{limit / unit:g} {name}" for limit, unit, name in ((seconds, 1, "s"), (memory, 1e9, "GB")) if limit]
        measured = "" if self.accuracy is None else ", five budgets"
        return self.video, self.budget.prefer + measured, str(self.budget.total_tokens), " and ".join(limits)


def cases() -> Iterator[Case]:
    """Yield the plans that are timed."""
    for video in VIDEOS:
        for prefer in ("balanced", "coverage", "detail"):
            yield Case(video=video, budget=Budget(prefer=prefer), has_costs=False)
            for seconds in (2.0, 8.0):
                budget = Budget(prefer=prefer, max_latency_seconds=seconds, max_memory_bytes=15e9)
                yield Case(video=video, budget=budget, has_costs=True)
    for seconds in (2.0, 4.0, 8.0, 16.0):
        budget = Budget(total_tokens=544, max_latency_seconds=seconds, max_memory_bytes=20e9)
        yield Case(video="an hour", budget=budget, has_costs=True, accuracy=five_budgets())


def five_budgets() -> AccuracyTable:
    """Return accuracies that grow with the budget and peak at four tokens per frame."""
    cells = [
        {
            "tokens": tokens,
            "frames": frames,
            "accuracy": 0.5 + 0.1 * math.log2(tokens / 34) - 0.05 * abs(math.log2(4 * frames / tokens)),
        }
        for tokens in (34, 68, 136, 272, 544)
        for frames in (8, 17, 34, 68, 136)
        if frames <= tokens
    ]
    return AccuracyTable.from_cells("synthetic", cells)


def microseconds(case: Case, rounds: int) -> float:
    """Return the median time of a case."""
    info, seconds = VIDEOS[case.video], []
    for _ in range(rounds):
        began = time.perf_counter()
        plan(info, case.budget, costs=COSTS if case.has_costs else None)
        seconds.append(time.perf_counter() - began)
    return 1e6 * statistics.median(seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args(arguments)
    rows = []
    for case in cases():
        if case.accuracy is None:
            spent = microseconds(case, options.rounds)
        else:
            with patch.object(Planner, "accuracy", case.accuracy):
                spent = microseconds(case, options.rounds)
        rows.append((*case.row, f"{spent:,.0f}"))
    show = print_markdown_table if options.markdown else print_table
    show(rows, header=("video", "prefers", "tokens", "limits", "microseconds"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

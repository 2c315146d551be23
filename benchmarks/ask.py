"""Where the time of ``vidzip ask`` goes: imports, loading, and each stage's share of what comes after.

    python -m benchmarks.ask VIDEO [--model tiny] [--frames 34] [--runs 7] [--markdown]

Every run is a process of its own, so that imports and loading are paid anew; the files are in the machine's cache by
then, as a first run, which is not counted, sees to. "the rest" is all that is no stage: checking the plan, hashing the
tower's weights, putting the prompt together. Shares are of the time after loading; medians of the runs, and ranges.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from pipelines.terminal import print_line, print_markdown_table, print_message, print_table

BEFORE = ("start and imports", "probe and plan", "load")
REST = "the rest"
NOT_COUNTED_AGAINST = {"decode", "encode", "prefill", "generate"}
"""Decoding, the tower and the language model: what all the others are held against."""

BOUND = 0.05
QUESTION = "Where is the star?"


def run_once(video: str, model: str, frames: int) -> dict[str, float]:
    """Ask once in this process; seconds of everything, in order."""
    began = time.perf_counter()
    import vidzip.models  # with torch and transformers
    from pipelines.ask import Request, ask
    from pipelines.settings import ModelSettings
    from pipelines.source import Source

    imported = time.perf_counter()
    reached: dict[str, float] = {}

    def note(stage: str, _done: int, _total: int) -> None:
        reached.setdefault(stage.split(maxsplit=1)[0], time.perf_counter())

    source = Source(path=video, budget=vidzip.Budget(num_frames=frames), model=ModelSettings(name=model))
    (answered,) = ask(Request(source=source, questions=(QUESTION,)), note)
    ended = time.perf_counter()
    stages = dict(answered.answer.stage_seconds)
    return {
        "start and imports": imported - began,
        "probe and plan": reached["load"] - imported,
        "load": reached["encode"] - reached["load"],
        **stages,
        REST: ended - reached["encode"] - sum(stages.values()),
    }


def run_apart(options: argparse.Namespace) -> dict[str, float]:
    """Ask once in a process of its own; its start counts as well."""
    command = [sys.executable, __file__, options.video, "--model", options.model, "--frames", str(options.frames)]
    began = time.perf_counter()
    done = subprocess.run([*command, "--once"], capture_output=True, text=True, check=False)  # noqa: S603 - ourselves
    took = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stderr.strip() or f"{command} ended with {done.returncode}")
    seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    seconds["start and imports"] += took - sum(seconds.values())
    return seconds


def rows(measured: Sequence[dict[str, float]]) -> list[tuple[str, str, str]]:
    """A line each: the time over all that comes after loading, and whether that is within the bound."""
    lines = []
    for name in measured[0]:
        shares = [one[name] / sum(spent for stage, spent in one.items() if stage not in BEFORE) for one in measured]
        median = statistics.median(shares)
        bound = ""
        if name not in BEFORE and name not in NOT_COUNTED_AGAINST:
            bound = "yes" if median <= BOUND else "no"
        lines.append((name, f"{median:.1%} ({min(shares):.1%} to {max(shares):.1%})", bound))
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--frames", type=int, default=34)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error("give 1 run or more")
    if options.once:
        from vidzip import VidzipError

        try:
            print_line(json.dumps(run_once(options.video, options.model, options.frames)))
        except VidzipError as error:
            print_message("error", str(error))
            return 2
        return 0
    run_apart(options)
    measured = [run_apart(options) for _ in range(options.runs)]
    draw = print_markdown_table if options.markdown else print_table
    draw(rows(measured), ("what", "share of the time after loading", f"within {BOUND:.0%}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

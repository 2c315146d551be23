"""Profile ``vidzip ask``: imports, loading, and each stage.

    python -m benchmarks.ask VIDEO [--model tiny] [--frames 34] [--runs 7] [--markdown]

Every run is a new process, so that imports and loading are included; a first run, which is not counted, fills the file
cache. "the rest" is everything outside the stages: checking the plan, hashing the tower's weights, building the prompt.
Values are shares of the time after loading: medians of the runs, and ranges.
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
UNLIMITED = {"decode", "encode", "prefill", "generate"}
"""Decoding, the tower and the language model, whose share has no limit."""

LIMIT = 0.05
QUESTION = "Where is the star?"


def run_once(video: str, model: str, frames: int) -> dict[str, float]:
    """Ask once in this process; return seconds by name, in order."""
    began = time.perf_counter()
    import vidzip.models  # with torch and transformers
    from pipelines.ask import AskRequest, ask
    from pipelines.settings import ModelSettings
    from pipelines.source import VideoSource

    imported = time.perf_counter()
    first_seen: dict[str, float] = {}

    def record(stage: str, _done: int, _total: int) -> None:
        first_seen.setdefault(stage.split(maxsplit=1)[0], time.perf_counter())

    source = VideoSource(path=video, budget=vidzip.Budget(num_frames=frames), model=ModelSettings(name=model))
    (answered,) = ask(AskRequest(source=source, questions=(QUESTION,)), record)
    ended = time.perf_counter()
    stages = dict(answered.answer.stage_seconds)
    return {
        "start and imports": imported - began,
        "probe and plan": first_seen["load"] - imported,
        "load": first_seen["encode"] - first_seen["load"],
        **stages,
        REST: ended - first_seen["encode"] - sum(stages.values()),
    }


def run_in_subprocess(options: argparse.Namespace) -> dict[str, float]:
    """Ask once in a new process; its start is included in "start and imports"."""
    command = [sys.executable, __file__, options.video, "--model", options.model, "--frames", str(options.frames)]
    began = time.perf_counter()
    done = subprocess.run([*command, "--once"], capture_output=True, text=True, check=False)  # noqa: S603 - this file
    took = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stderr.strip() or f"{command} ended with {done.returncode}")
    seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    seconds["start and imports"] += took - sum(seconds.values())
    return seconds


def rows(measured: Sequence[dict[str, float]]) -> list[tuple[str, str, str]]:
    """Return each row: the share of the time after loading, and whether it is within the limit."""
    lines = []
    for name in measured[0]:
        shares = [one[name] / sum(spent for stage, spent in one.items() if stage not in BEFORE) for one in measured]
        median = statistics.median(shares)
        within = ""
        if name not in BEFORE and name not in UNLIMITED:
            within = "yes" if median <= LIMIT else "no"
        lines.append((name, f"{median:.1%} ({min(shares):.1%} to {max(shares):.1%})", within))
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
        parser.error("--runs must be 1 or more")
    if options.once:
        from vidzip import VidzipError

        try:
            print_line(json.dumps(run_once(options.video, options.model, options.frames)))
        except VidzipError as error:
            print_message("error", str(error))
            return 2
        return 0
    run_in_subprocess(options)
    measured = [run_in_subprocess(options) for _ in range(options.runs)]
    draw = print_markdown_table if options.markdown else print_table
    draw(rows(measured), ("stage", "share of the time after loading", f"within {LIMIT:.0%}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

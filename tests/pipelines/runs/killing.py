"""The kill test: a run that is killed and resumed many times ends with the answers of an uninterrupted one.

    python tests/pipelines/runs/killing.py [--kills 50] [--inside 10] [--seed 0]

Kills come after a write between the first and the last answer of a start, and some in the middle of a line.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SUPPORT = Path(__file__).resolve().parents[2] / "support"
sys.path.insert(0, str(SUPPORT))

from questions import write_set  # noqa: E402 - found through the line above

from pipelines.cli import main as cli_main  # noqa: E402

ANSWERS = "answers.jsonl"


@dataclass(kw_only=True)
class Outcome:
    """Counts of a kill test."""

    kills: int = 0
    inside: int = 0
    starts_with_progress: int = 0
    starts: int = 0
    same: bool = False


def command(folder: Path, out: Path, cache: Path) -> list[str]:
    return [
        "eval", "shapes", "--data", str(folder), "--videos", str(folder / "videos"), "--out", str(out),
        "--model", "tiny-random", "--frames", "4", "--max-new-tokens", "4", "--batch", "2", "--processes", "1",
        "--pack-cache", str(cache), "--device", "cpu",
    ]  # fmt: skip


def answers(out: Path) -> dict[str, str]:
    """Read the answers of a run; check that every line is complete, and every question answered once."""
    lines = (out / ANSWERS).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    found = {row["id"]: row["prediction"] for row in rows}
    if len(found) != len(rows):
        raise AssertionError("a question has two answers")
    return found


def count_lines(out: Path) -> int:
    return (out / ANSWERS).read_bytes().count(b"\n") if (out / ANSWERS).exists() else 0


def run_until_killed(arguments: list[str]) -> int:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SUPPORT / "killed.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


def kill_test(folder: Path, kills: int, inside: int, seed: int, *, videos: int) -> Outcome:
    """Kill and resume a run, and compare its answers with those of an uninterrupted one."""
    data = write_set(folder / "set", videos=videos, questions=10)
    uninterrupted = folder / "uninterrupted"
    if cli_main(command(data, uninterrupted, folder / "packs")) != 0:
        raise AssertionError("the uninterrupted run failed")
    expected = answers(uninterrupted)
    chance = random.Random(seed)  # noqa: S311 - no secret
    outcome = Outcome()
    out, number = folder / "killed0", 0
    places = ["half"] * inside + ["after"] * (kills - inside)
    chance.shuffle(places)
    for place in places:
        left = len(expected) - count_lines(out)
        if left <= 4:  # nearly done: let it finish, compare, and start a new run
            _finish(data, out, folder, expected, outcome)
            number += 1
            out = folder / f"killed{number}"
        before = count_lines(out)
        writes = str(chance.randint(0, 1) + (1 if place == "after" else 0))
        code = run_until_killed([writes, place, *command(data, out, folder / "packs")])
        if code != -9:
            raise AssertionError(f"a start ended with {code}, not by its kill")
        outcome.kills += 1
        outcome.starts += 1
        outcome.inside += place == "half"
        outcome.starts_with_progress += count_lines(out) > before
    _finish(data, out, folder, expected, outcome)
    outcome.same = True
    return outcome


def _finish(data: Path, out: Path, folder: Path, expected: dict[str, str], outcome: Outcome) -> None:
    if cli_main(command(data, out, folder / "packs")) != 0:
        raise AssertionError("the last start failed")
    outcome.starts += 1
    if answers(out) != expected:
        raise AssertionError("the answers differ from those of an uninterrupted run")


def main() -> None:
    """Run the test and print its counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--inside", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--videos", type=int, default=6)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seen = kill_test(Path(folder), options.kills, options.inside, options.seed, videos=options.videos)
    print(  # noqa: T201 - a script
        f"{seen.kills} kills, {seen.inside} of them inside a line; {seen.starts_with_progress} of those starts made "
        f"progress; {seen.starts} starts in all; answers equal to an uninterrupted run's: {seen.same}"
    )


if __name__ == "__main__":
    main()

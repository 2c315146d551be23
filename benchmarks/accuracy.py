"""Write ``vidzip/planner/accuracy.json``, which balanced plans use, from grids.

    python -m benchmarks.accuracy GRID... --split test --seed 0 --commit HASH --date 2026-11-22 --out FILE
        --command "vidzip grid shapes --data SET ... --out GRID"      # on one line

GRID is a folder written by ``vidzip grid``. Several grids of other methods or budgets are merged if they asked one model the
same questions. Options give what a folder does not hold: the split, the seed of the model's training, the commit and the
date of the measurement, and its command, once per folder.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from pipelines.commands.grid import RESULT
from pipelines.runs.run_log import read_run
from pipelines.terminal import print_line, print_message
from vidzip.errors import BadArgument, VidzipError
from vidzip.files import write_text
from vidzip.planner.accuracy import FALLBACK_METHOD, SCHEMA, AccuracyTable

_GRID = "vidzip/grid/1"
_SAME = ("set", "questions", "subset", "limit", "model", "commit", "tower", "dtype", "max_new_tokens")
"""Settings that must be equal in all grids."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the grids and write the file; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grids", nargs="+", metavar="GRID")
    parser.add_argument("--command", action="append", required=True)
    parser.add_argument("--split", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--commit", required=True)
    parser.add_argument("--date", required=True)
    parser.add_argument("--out", required=True)
    options = parser.parse_args(arguments)
    try:
        content = collect(options.grids)
    except VidzipError as error:
        print_message("error", str(error))
        return 2
    content["origin"] |= {
        "split": options.split,
        "seed": options.seed,
        "commands": options.command,
        "commit": options.commit,
        "date": options.date,
    }
    write_text(options.out, json.dumps(content, indent=1) + "\n")
    for method, cells in content["methods"].items():
        table = AccuracyTable.from_cells(method, cells)
        print_line(f"{method}: {len(cells)} cells, {table.frames} frames, {table.tokens} tokens")
    return 0


def collect(grids: Sequence[str]) -> dict[str, Any]:
    """Merge grids.

    Raises:
        BadArgument: a folder holds no grid, two grids differ in model or questions, a cell is duplicated, or the fallback
            method is missing.
        VidzipError: a run cannot be read.
    """
    origins: dict[str, dict[str, Any]] = {}
    methods: dict[str, list[dict[str, Any]]] = {}
    for folder in grids:
        for cell in _cells(folder):
            described, _ = read_run(os.path.join(folder, cell["run"]))
            origins[folder] = {key: described[key] for key in _SAME}
            place = {"frames": cell["frames"], "tokens": cell["budget"]}
            cells = methods.setdefault(cell["method"], [])
            if any({key: one[key] for key in place} == place for one in cells):
                raise BadArgument(f"{folder!r} and an earlier grid both hold {cell['run']}", hint="give one of them")
            accuracy = cell["accuracy"]
            cells.append({**place, "accuracy": accuracy["value"], "low": accuracy["low"], "high": accuracy["high"]})
    first = origins[grids[0]]
    for folder, origin in origins.items():
        differing = [key for key in _SAME if origin[key] != first[key]]
        if differing:
            raise BadArgument(
                f"{folder!r} and {grids[0]!r} differ in {', '.join(differing)}",
                hint="give grids of the same model and question set",
            )
    if FALLBACK_METHOD not in methods:
        raise BadArgument(f"no grid holds the fallback method {FALLBACK_METHOD}", hint="measure it as well")
    origin = {"metric": "exact match, what failed counted as wrong", "run": first}
    return {"schema": SCHEMA, "origin": origin, "methods": methods}


def _cells(folder: str) -> list[dict[str, Any]]:
    """Read the cells of a grid that have a budget.

    Raises:
        BadArgument: the folder holds no grid, or the grid has no such cells.
    """
    path = os.path.join(folder, RESULT)
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError) as error:
        raise BadArgument(f"{path!r} cannot be read: {error}", hint="give the folder of a finished grid") from error
    if not isinstance(found, dict) or found.get("schema") != _GRID:
        raise BadArgument(f"{path!r} does not have the schema {_GRID}", hint="give the folder of a finished grid")
    cells = [cell for cell in found["settings"] if cell["budget"] is not None and cell["accuracy"]["value"] is not None]
    if not cells:
        raise BadArgument(f"{path!r} compares no methods", hint="give the folder of a finished grid")
    return cells


if __name__ == "__main__":
    sys.exit(main())

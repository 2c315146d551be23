"""From grids to the accuracies that a balanced plan follows: writes ``vidzip/planner/accuracy.json``.

    python -m benchmarks.accuracy GRID... --split test --seed 0 --commit HASH --date 2026-11-22 --out FILE
        --command "vidzip grid shapes --data SET ... --out GRID"      # on one line

GRID is a folder that ``vidzip grid`` wrote. Several of them, of other methods or budgets, are put together if they asked
one model the same questions. What a folder does not say is to be named: the split, the seed of the model's training, the
commit and the day of the measurement, and its command, once a folder.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from pipelines.evaluation.journal import read_run
from pipelines.files import write_text
from pipelines.grid.command import RESULT
from pipelines.terminal import print_line, print_message
from vidzip.errors import BadArgument, VidzipError
from vidzip.planner.accuracy import FALLBACK, SCHEMA, Accuracy

_GRID = "vidzip/grid/1"
_SAME = ("set", "questions", "subset", "limit", "model", "commit", "tower", "dtype", "max_new_tokens")
"""What the runs of all grids have to agree in."""


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
        table = Accuracy.of(method, cells)
        print_line(f"{method}: {len(cells)} cells, {table.frames} frames, {table.tokens} tokens")
    return 0


def collect(grids: Sequence[str]) -> dict[str, Any]:
    """Put grids together.

    Raises:
        BadArgument: a folder holds no grid, two disagree in what was asked of whom, a cell is there twice, or the method
            that stands in for others is not there.
        VidzipError: a run that cannot be read.
    """
    origins: dict[str, dict[str, Any]] = {}
    methods: dict[str, list[dict[str, Any]]] = {}
    for folder in grids:
        for cell in _cells(folder):
            described, _ = read_run(os.path.join(folder, cell["run"]))
            origins[folder] = {key: described[key] for key in _SAME}
            told = {"frames": cell["frames"], "tokens": cell["budget"]}
            ours = methods.setdefault(cell["method"], [])
            if any({key: one[key] for key in told} == told for one in ours):
                raise BadArgument(f"{folder!r} holds {cell['run']}, and so did a grid before", hint="name one of them")
            of_all = cell["accuracy"]
            ours.append({**told, "accuracy": of_all["value"], "low": of_all["low"], "high": of_all["high"]})
    first = origins[grids[0]]
    for folder, origin in origins.items():
        differs = [key for key in _SAME if origin[key] != first[key]]
        if differs:
            raise BadArgument(
                f"{folder!r} and {grids[0]!r} differ in {', '.join(differs)}", hint="give grids of one model and set"
            )
    if FALLBACK not in methods:
        raise BadArgument(f"no grid holds {FALLBACK}, which stands in for what was not measured", hint="measure it too")
    origin = {"metric": "exact match, what failed counted as wrong", "run": first}
    return {"schema": SCHEMA, "origin": origin, "methods": methods}


def _cells(folder: str) -> list[dict[str, Any]]:
    """The cells of a grid that spend a budget.

    Raises:
        BadArgument: it is no grid's folder, or holds none.
    """
    path = os.path.join(folder, RESULT)
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError) as error:
        raise BadArgument(
            f"{path!r} cannot be read: {error}", hint="give a folder that vidzip grid finished"
        ) from error
    if not isinstance(found, dict) or found.get("schema") != _GRID:
        raise BadArgument(f"{path!r} is not of {_GRID}", hint="give a folder that vidzip grid finished")
    cells = [cell for cell in found["settings"] if cell["budget"] is not None and cell["accuracy"]["value"] is not None]
    if not cells:
        raise BadArgument(f"{path!r} compares no methods", hint="give a folder that vidzip grid finished")
    return cells


if __name__ == "__main__":
    sys.exit(main())

from __future__ import annotations

import json

import pytest

from benchmarks.accuracy import main
from vidzip.planner.accuracy import SCHEMA, AccuracyTable

NAMED = ["--split", "test", "--seed", "0", "--commit", "abc", "--date", "2026-11-22", "--command", "vidzip grid …"]
RUN = {
    "schema": "vidzip/run/1",
    "set": "shapes",
    "questions": {"count": 4, "fingerprint": "f"},
    "subset": None,
    "limit": None,
    "model": "tiny",
    "commit": None,
    "tower": "t",
    "dtype": "float32",
    "max_new_tokens": 6,
}


def write_grid(folder, cells, **changes):
    """A grid of ``(method, frames, budget, accuracy)``, with the floor that has no budget."""
    settings = []
    for method, frames, budget, value in [("no video", 0, None, 0.2), *cells]:
        run = f"{frames}-{budget}-{method}"
        accuracy = {"value": value, "low": value - 0.1, "high": value + 0.1}
        settings.append({"run": run, "method": method, "frames": frames, "budget": budget, "accuracy": accuracy})
        (folder / run).mkdir(parents=True)
        (folder / run / "run.json").write_text(json.dumps({**RUN, **changes}))
        (folder / run / "answers.jsonl").touch()
    (folder / "grid.json").write_text(json.dumps({"schema": "vidzip/grid/1", "settings": settings}))
    return str(folder)


def test_grids_of_several_budgets_are_merged_with_their_origin(tmp_path, capsys):
    one = write_grid(
        tmp_path / "one", [("visionzip", 8, 136, 0.5), ("visionzip", 34, 136, 0.75), ("pool", 8, 136, 0.25)]
    )
    two = write_grid(tmp_path / "two", [("visionzip", 8, 34, 0.4)])
    out = tmp_path / "accuracy.json"
    assert main([one, two, *NAMED, "--command", "and another", "--out", str(out)]) == 0
    content = json.loads(out.read_text())
    assert content["schema"] == SCHEMA
    assert content["origin"] == {
        "metric": "exact match, what failed counted as wrong",
        "run": {key: value for key, value in RUN.items() if key != "schema"},
        "split": "test",
        "seed": 0,
        "commands": ["vidzip grid …", "and another"],
        "commit": "abc",
        "date": "2026-11-22",
    }
    assert {method: len(cells) for method, cells in content["methods"].items()} == {"visionzip": 3, "pool": 1}
    table = AccuracyTable.from_cells("visionzip", content["methods"]["visionzip"])
    assert (table.at(8, 136), table.at(34, 136), table.at(8, 34)) == (0.5, 0.75, 0.4)
    assert "visionzip: 3 cells" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("second", "changes", "message"),
    [
        ([("visionzip", 8, 136, 0.4)], {}, "8-136-visionzip"),
        ([("visionzip", 8, 34, 0.4)], {"model": "other"}, "differ in model"),
        ([], {}, "compares no methods"),
    ],
)
def test_grids_that_cannot_be_merged_are_refused(tmp_path, capsys, second, changes, message):
    one = write_grid(tmp_path / "one", [("visionzip", 8, 136, 0.5)])
    two = write_grid(tmp_path / "two", second, **changes)
    assert main([one, two, *NAMED, "--out", str(tmp_path / "out.json")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


def test_other_folders_and_grids_without_the_fallback_are_refused(tmp_path, capsys):
    assert main([str(tmp_path), *NAMED, "--out", str(tmp_path / "out.json")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    (tmp_path / "grid.json").write_text("[]")
    assert main([str(tmp_path), *NAMED, "--out", str(tmp_path / "out.json")]) == 2
    assert "vidzip/grid/1" in capsys.readouterr().err
    one = write_grid(tmp_path / "one", [("pool", 8, 136, 0.5)])
    assert main([one, *NAMED, "--out", str(tmp_path / "out.json")]) == 2
    assert "visionzip" in capsys.readouterr().err

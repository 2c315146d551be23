from __future__ import annotations

import json
from dataclasses import replace

import pytest
from refusals import assert_refused

from pipelines.cli import main
from pipelines.commands.calibrate import format_duration, rows
from vidzip.calibration import Calibration, Machine, device_name, find_costs
from vidzip.models import calibrating
from vidzip.planner.costs import GENERATE, STAGES, CostModel
from vidzip.planner.model_shapes import VIDEO_LLAVA_7B


def calibration(name: str = "tiny", **changes) -> Calibration:
    rates = {stage: {"runs": 0.002, "frames": 0.0} for stage in (*STAGES, GENERATE)}
    rates["decode"] = {
        "files": 0.004,
        "h264 megapixels": 1e-3,
        "h264 megabytes": 0.05,
        "av1 megapixels": 2e-3,
        "av1 megabytes": 0.1,
        "other megapixels": 3e-3,
        "other megabytes": 0.2,
    }
    machine = Machine.current("cpu", device_name("cpu"), "float32")
    costs = CostModel(
        shape=replace(VIDEO_LLAVA_7B, name=name),
        device=machine.description,
        dtype="float32",
        rates=rates,
        errors=dict.fromkeys((*STAGES, GENERATE), 0.12),
        total_error=0.2,
        overlap=0.25,
        is_calibrated=True,
    )
    given = {"asked_device": "auto", "asked_dtype": "auto", "measured_at": "2026-01-01", "took_seconds": 61.0}
    return Calibration(costs=replace(costs, **changes), machine=machine, **given)


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Calls of a calibration that takes no time; the cache folder is temporary."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = []

    def calibrate(model, **options):
        options.pop("on_progress")
        asked.append((model.name, options))
        return replace(calibration(model.name), asked_device=options["asked_device"])

    monkeypatch.setattr(calibrating, "calibrate", calibrate)
    return asked


def test_rates_are_shown_and_stored(measured, capsys):
    assert main(["calibrate"]) == 0
    said = capsys.readouterr()
    assert "no --model was given: measured tiny" in said.err
    lines = said.out.splitlines()
    assert lines[0].startswith("tiny on cpu, ")
    assert lines[0].endswith("float32, measured in 61 s:")
    assert any(line.split() == ["decode", "4", "ms", "file", "12%"] for line in lines)
    assert any(line.split()[:5] == ["1", "ms", "+", "50", "ms"] and line.endswith(" of h264") for line in lines)
    assert any("overlap by 25%" in line for line in lines)
    assert find_costs("tiny") == calibration().costs
    assert measured == [("tiny", {"asked_device": "auto", "asked_dtype": "auto", "quick": False})]


def test_options_are_passed_on(measured, capsys):
    assert main(["calibrate", "--model", "tiny-random", "--device", "cpu", "--dtype", "bfloat16", "--quick"]) == 0
    assert measured == [("tiny-random", {"asked_device": "cpu", "asked_dtype": "bfloat16", "quick": True})]
    assert capsys.readouterr().err == ""


def test_as_json(measured, capsys):
    assert main(["calibrate", "--model", "tiny", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "vidzip/calibrated/1"
    assert (told["model"], told["dtype"], told["total_error"], told["overlap"]) == ("tiny", "float32", 0.2, 0.25)
    assert told["seconds_per_unit"] == calibration().costs.rates
    with open(told["file"], encoding="utf-8") as file:
        assert json.load(file)["costs"]["rates"] == told["seconds_per_unit"]


def test_each_rate_above_zero_has_a_row():
    shown = list(rows(calibration()))
    assert [row for row in shown if row[0] == "encode"] == [("encode", "2 ms", "run", "12%")]
    codecs = [row[2].rpartition(" of ")[2] for row in shown if "stored" in row[2]]
    assert codecs == ["h264", "av1", "another codec"]
    assert shown[-1] == ("file to first token", "", "", "20%")
    nothing = {stage: {"runs": 0.0} for stage in (*STAGES, GENERATE)}
    assert ("encode", "no measurable time", "", "12%") in list(rows(calibration(rates=nothing)))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(2.5, "2.5 s"), (0.0123456, "12.3 ms"), (4.2e-5, "42 µs"), (3e-8, "30 ns"), (0.0, "0 ns")],
)
def test_short_times_in_three_digits(seconds, shown):
    assert format_duration(seconds) == shown


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (["--model", "no such model"], "no such model", "tiny"),
        (["--device", "cuda:99"], "cuda:99", "auto or cpu"),
        (["--dtype", "float8"], "float8", "float32"),
    ],
)
def test_what_cannot_be_measured_is_refused(measured, capsys, arguments, says, hint):
    assert main(["calibrate", *arguments]) == 2
    assert_refused(capsys, says, hint)
    assert measured == []


@pytest.mark.usefixtures("measured")
def test_a_calibration_that_cannot_be_stored_is_an_error(tmp_path, capsys):
    (tmp_path / "vidzip").write_text("a file where the folder would be")
    assert main(["calibrate", "--model", "tiny"]) == 2
    assert_refused(capsys, "cannot be written", "permissions")

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import vidzip
from vidzip.calibration import (
    Calibration,
    Machine,
    cache_folder,
    device_name,
    find_costs,
    load_calibrations,
    save_calibration,
)
from vidzip.errors import BadCalibration, WriteError
from vidzip.planner.costs import GENERATE, STAGES, CostModel
from vidzip.planner.model_shapes import VIDEO_LLAVA_7B


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "vidzip" / "calibration"


def costs(name: str = "a/model", seconds: float = 0.5) -> CostModel:
    return CostModel(
        shape=replace(VIDEO_LLAVA_7B, name=name),
        device="cpu, some processor",
        dtype="float32",
        rates={stage: {"runs": seconds, "frames": 0.25} for stage in (*STAGES, GENERATE)},
        errors=dict.fromkeys((*STAGES, GENERATE), 0.1),
        total_error=0.2,
        overlap=0.5,
        is_calibrated=True,
    )


def calibration(**changes) -> Calibration:
    machine = Machine.current("cpu", device_name("cpu"), "float32")
    given = {
        "costs": costs(),
        "machine": machine,
        "asked_device": "auto",
        "asked_dtype": "auto",
        "measured_at": "2026-01-01T00:00:00+00:00",
        "took_seconds": 60.0,
    }
    return Calibration(**{**given, **changes})


def test_a_saved_calibration_is_found(cache):
    assert find_costs("a/model") is None
    path = save_calibration(calibration())
    assert Path(path).parent == cache
    assert os.listdir(cache) == [os.path.basename(path)]  # and no partial file
    assert find_costs("a/model") == costs()
    assert list(load_calibrations("a/model")) == [calibration()]


@pytest.mark.parametrize("device", ["auto", "cpu"])
@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_it_is_found_by_the_requested_and_by_the_actual_device_and_dtype(device, dtype):
    save_calibration(calibration())
    assert find_costs("a/model", device, dtype) == costs()


def test_auto_does_not_find_a_calibration_of_a_named_device():
    save_calibration(calibration(asked_device="cpu", asked_dtype="float32"))
    assert find_costs("a/model") is None
    assert find_costs("a/model", "cpu", "float32") == costs()


@pytest.mark.parametrize(
    ("name", "device", "dtype"),
    [
        ("another", "auto", "auto"),
        ("a", "auto", "auto"),
        ("a/model", "cuda", "auto"),
        ("a/model", "cuda:7", "auto"),
        ("a/model", "no device", "auto"),
        ("a/model", "auto", "bfloat16"),
    ],
)
def test_other_models_devices_and_dtypes_find_nothing(name, device, dtype):
    save_calibration(calibration())
    assert find_costs(name, device, dtype) is None


@pytest.mark.parametrize(
    "change",
    [
        {"device_name": "another processor"},
        {"cores": 1000},
        {"threads": "1000"},
        {"versions": {"vidzip": vidzip.__version__, "torch": "1.0", "transformers": "1.0", "av": "1.0"}},
    ],
)
def test_a_calibration_of_another_machine_or_library_is_not_found(change):
    save_calibration(calibration(machine=replace(calibration().machine, **change)))
    assert find_costs("a/model") is None


def test_the_latest_calibration_is_used():
    shorter = replace(costs().shape, frames_at_once=1)  # the same model with another batch size has its own file
    newer, older = costs(seconds=2.0), replace(costs(seconds=1.0), shape=shorter)
    first = save_calibration(calibration(costs=newer, measured_at="2026-02-01T00:00:00+00:00"))
    second = save_calibration(calibration(costs=older, measured_at="2026-01-01T00:00:00+00:00"))
    assert first != second
    assert find_costs("a/model") == newer


def test_a_new_calibration_replaces_the_old_one(cache):
    save_calibration(calibration())
    save_calibration(calibration(costs=costs(seconds=3.0)))
    assert find_costs("a/model") == costs(seconds=3.0)
    assert len(os.listdir(cache)) == 1


def broken(**changes) -> str:
    with open(save_calibration(calibration()), encoding="utf-8") as file:
        record = json.load(file)
    record["costs"] |= changes
    return json.dumps(record)


@pytest.mark.parametrize(
    "damage",
    [
        lambda: "",
        lambda: "{}",
        lambda: "[]",
        lambda: broken()[:-100],
        lambda: broken(shape={"name": "a/model"}),
        lambda: broken(rates={}),
        lambda: broken(overlap=2),
        lambda: broken(total_error=float("nan")),
        lambda: broken(rates={stage: {"runs": -1} for stage in (*STAGES, GENERATE)}),
        lambda: broken(errors=dict.fromkeys((*STAGES, GENERATE), "much")),
        lambda: broken().replace("vidzip/calibration/1", "vidzip/calibration/2"),
    ],
)
def test_a_damaged_calibration_is_an_error_with_a_hint(damage):
    path = save_calibration(calibration())
    Path(path).write_text(damage(), encoding="utf-8")
    with pytest.raises(BadCalibration, match="'vidzip calibrate'"):
        find_costs("a/model")
    assert find_costs("a") is None  # other models are not affected
    save_calibration(calibration())
    assert find_costs("a/model") == costs()


def test_calibrations_of_another_version_are_ignored():
    path = Path(save_calibration(calibration()))
    record = json.loads(path.read_text(encoding="utf-8"))
    record["machine"]["versions"]["vidzip"] = "0.0.1"
    record["costs"] = "in another shape"
    path.write_text(json.dumps(record), encoding="utf-8")
    assert find_costs("a/model") is None


def test_a_folder_that_cannot_be_written_is_an_error(cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder would be")
    with pytest.raises(WriteError, match="cannot be written"):
        save_calibration(calibration())


@pytest.mark.parametrize("name", ["../../etc/passwd", "/abs/olute", "LanguageBind/Video-LLaVA-7B", "ü" * 300, "."])
def test_any_model_name_makes_a_file_in_the_folder(name, cache):
    path = Path(save_calibration(calibration(costs=costs(name))))
    assert path.parent == cache
    assert find_costs(name) == costs(name)


def test_names_with_the_same_slug_are_distinguished():
    for name in ("a/b", "a:b"):
        save_calibration(calibration(costs=costs(name)))
        assert find_costs(name) == costs(name)
    assert find_costs("a?b") is None


def test_finding_costs_imports_neither_torch_nor_a_decoder(cache):
    save_calibration(calibration())
    code = (
        "import sys; from vidzip.calibration import find_costs\n"
        "assert find_costs('another') is None and find_costs('a/model') is not None\n"
        "print([name for name in ('torch', 'transformers', 'numpy', 'av') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_calibrations_are_in_the_users_cache_folder(cache):
    assert cache_folder() == str(cache)

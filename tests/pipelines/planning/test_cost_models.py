from __future__ import annotations

import json
import os

import pytest

from pipelines.planning import cost_models
from pipelines.planning.cost_models import assumed_costs, find_architecture
from vidzip import load
from vidzip.errors import BadArgument, UnknownModel
from vidzip.planner import Architecture
from vidzip.planner.model_shapes import ORIGINAL_7B, PORT_7B


@pytest.mark.parametrize("name", ["tiny", "tiny-random"])
def test_built_in_models_are_known_without_loading(name):
    assert find_architecture(name) == Architecture.from_config(load(name, device="cpu").config.to_dict())


def test_models_of_the_hub_are_known_by_name():
    assert find_architecture("LanguageBind/Video-LLaVA-7B-hf") == PORT_7B
    assert find_architecture("LanguageBind/Video-LLaVA-7B") == ORIGINAL_7B


def test_a_folder_is_read_from_its_config(tmp_path):
    config = load("tiny", device="cpu").config.to_dict()
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert find_architecture(str(tmp_path)) == find_architecture("tiny")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BadArgument, match="cannot be read"):
        find_architecture(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadArgument, match="the config"):
        find_architecture(str(tmp_path))
    (tmp_path / "config.json").unlink()
    with pytest.raises(UnknownModel, match="unknown"):
        find_architecture(str(tmp_path))


def test_unknown_models_are_refused():
    for name in ("", "nothing", "some/model"):
        with pytest.raises(UnknownModel, match="unknown"):
            find_architecture(name)


def test_the_precision_decides_the_bytes():
    half, full = (assumed_costs("tiny", "cpu", dtype).shape.weight_bytes for dtype in ("bfloat16", "float32"))
    assert 2 * half == full
    assert assumed_costs("tiny", "cuda:1").dtype == "float16"


@pytest.mark.parametrize(
    ("devices", "platform", "machine", "kind"),
    [
        (["/dev/nvidia0"], "linux", "x86_64", "cuda"),
        ([], "linux", "x86_64", "cpu"),
        ([], "darwin", "arm64", "mps"),
        ([], "darwin", "x86_64", "cpu"),
    ],
)
def test_the_device_is_guessed_from_the_machine(monkeypatch, devices, platform, machine, kind):
    monkeypatch.setattr(os.path, "exists", lambda path: path in devices)
    monkeypatch.setattr(cost_models.sys, "platform", platform)
    monkeypatch.setattr(cost_models.platform, "machine", lambda: machine)
    assert assumed_costs("tiny").device == kind

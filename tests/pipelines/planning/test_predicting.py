from __future__ import annotations

import json
import os

import pytest

from pipelines.planning import predicting
from pipelines.planning.predicting import architecture_of, assumed_costs
from vidzip import load
from vidzip.errors import BadArgument, UnknownModel
from vidzip.planner import Architecture
from vidzip.planner.shapes import ORIGINAL_7B, PORT_7B


@pytest.mark.parametrize("name", ["tiny", "tiny-random"])
def test_built_in_models_are_known_as_they_load(name):
    assert architecture_of(name) == Architecture.of(load(name, device="cpu").config.to_dict())


def test_models_of_the_hub_are_known_by_name():
    assert architecture_of("LanguageBind/Video-LLaVA-7B-hf") == PORT_7B
    assert architecture_of("LanguageBind/Video-LLaVA-7B") == ORIGINAL_7B


def test_a_folder_tells_its_shape(tmp_path):
    config = load("tiny", device="cpu").config.to_dict()
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert architecture_of(str(tmp_path)) == architecture_of("tiny")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BadArgument, match="cannot be read"):
        architecture_of(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadArgument, match="tells no Video-LLaVA's shape"):
        architecture_of(str(tmp_path))
    (tmp_path / "config.json").unlink()
    with pytest.raises(UnknownModel, match="nothing is known of what"):
        architecture_of(str(tmp_path))


def test_unknown_models_are_refused():
    for name in ("", "nothing", "some/model"):
        with pytest.raises(UnknownModel, match="nothing is known of what"):
            architecture_of(name)


def test_a_precision_counts_in_bytes():
    half, full = (assumed_costs("tiny", "cpu", dtype).shape.weight_bytes for dtype in ("bfloat16", "float32"))
    assert 2 * half == full
    assert assumed_costs("tiny", "cuda:1").dtype == "float16"


@pytest.mark.parametrize(
    ("there", "platform", "machine", "kind"),
    [
        (["/dev/nvidia0"], "linux", "x86_64", "cuda"),
        ([], "linux", "x86_64", "cpu"),
        ([], "darwin", "arm64", "mps"),
        ([], "darwin", "x86_64", "cpu"),
    ],
)
def test_the_device_is_guessed_by_what_the_machine_shows(monkeypatch, there, platform, machine, kind):
    monkeypatch.setattr(os.path, "exists", lambda path: path in there)
    monkeypatch.setattr(predicting.sys, "platform", platform)
    monkeypatch.setattr(predicting.platform, "machine", lambda: machine)
    assert assumed_costs("tiny").device == kind

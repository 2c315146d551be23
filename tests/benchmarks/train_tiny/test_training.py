from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from refusals import assert_refused
from safetensors import SafetensorError

import vidzip
from benchmarks.train_tiny import runs, training
from benchmarks.train_tiny.__main__ import main
from benchmarks.train_tiny.initial_model import build_initial_model
from benchmarks.train_tiny.recipe import RECIPE_VERSION, Recipe
from benchmarks.train_tiny.runs import Run
from benchmarks.train_tiny.training import train_tiny
from vidzip.files import lock_folder
from vidzip.models.small import PREPROCESSOR

CPU = torch.device("cpu")
STEPS = 4
RECIPE = Recipe(seed=1, videos=3, tower_steps=STEPS, alignment_steps=STEPS, language_steps=STEPS)
OPTIONS = (
    *("--videos", 3, "--tower-steps", STEPS, "--alignment-steps", STEPS, "--language-steps", STEPS),
    *("--workers", 1),
)
STAGES = ("tower", "alignment", "language")


def silent(_stage, _done, _total):
    pass


@pytest.fixture(scope="module", autouse=True)
def small_steps():
    """Log every step, and keep steps small."""
    with pytest.MonkeyPatch.context() as patch:
        for stage in STAGES:
            patch.setattr(f"benchmarks.train_tiny.{stage}._LOG_STEPS", 1)
        for stage in ("tower", "language"):
            patch.setattr(f"benchmarks.train_tiny.{stage}._TOKENS", 400)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory, small_steps):
    folder = tmp_path_factory.mktemp("run")
    return folder, train_tiny(str(folder), RECIPE, CPU, silent, workers=1)


def weights(folder):
    return vidzip.load(folder, device="cpu").network.state_dict()


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def run(*arguments):
    return main([*map(str, arguments)])


def test_a_run_ends_in_a_checkpoint_that_loads(trained, clip):
    folder, made = trained
    assert made.folder == str(folder / "model")
    assert made.size_bytes < 12e6
    model = vidzip.load(made.folder, device="cpu")
    assert model.tokens_per_frame == 257
    assert len({file.stat().st_mode for file in Path(made.folder).iterdir()}) == 1
    assert model.preprocessor == PREPROCESSOR
    state = model.network.state_dict()
    for name, weight in state.items():
        if "image_tower" in name:
            assert torch.equal(weight, state[name.replace("image_tower", "video_tower")])
    initial, _ = build_initial_model(["a"], RECIPE.seed)
    before = initial.state_dict()
    for part in ("video_tower.encoder.layers.0", "multi_modal_projector", "language_model.layers.0"):
        names = [name for name in state if part in name and name.endswith("weight")]
        assert any(not torch.equal(before[name].half().float(), state[name]) for name in names), part
    answer = model.ask_uncompressed(clip, "What color is the star?", max_new_tokens=4)
    assert answer.visual_tokens == 2056
    assert not answer.warnings


def test_a_run_leaves_curves_and_a_card(trained):
    folder, made = trained
    assert {row["stage"] for row in log_of(folder)} == set(STAGES)
    assert Path(made.curves).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    card = (folder / "model" / "README.md").read_text(encoding="utf-8")
    options = f"--seed 1 --videos 3 --tower-steps {STEPS} --alignment-steps {STEPS} --language-steps {STEPS}"
    assert f"`python -m benchmarks.train_tiny OUT {options}`" in card
    assert "{" not in card


class Interrupted(Exception):
    pass


def test_a_run_interrupted_in_every_stage_ends_with_the_same_weights(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(training, "plot_curves", lambda *_: None)  # tested above, and slow
    calls = []
    for stage in ("render videos", "train the tower", "align the projector", "train the language model", "no stage"):

        def interrupt(at, done, _total, stage=stage):
            calls.append((at, done))
            if at == stage and done == 2:
                raise Interrupted

        if stage == "no stage":
            made = train_tiny(str(tmp_path), RECIPE, CPU, interrupt, workers=1)
        else:
            with pytest.raises(Interrupted):
                train_tiny(str(tmp_path), RECIPE, CPU, interrupt, workers=1)
    for stage in ("train the tower", "align the projector", "train the language model"):
        assert [done for at, done in calls if at == stage] == [0, 1, 2, 2, 3]  # no step is repeated
    whole, resumed = weights(trained[1].folder), weights(made.folder)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    rows = [(row["stage"], row["step"]) for row in log_of(tmp_path)]
    assert rows == [(stage, step) for stage in STAGES for step in range(1, STEPS + 1)]


def test_log_rows_after_the_checkpoint_are_dropped(tmp_path):
    run = Run(str(tmp_path), RECIPE)
    for stage, step in (("tower", 1), ("tower", 2), ("alignment", 1)):
        run.log(stage, step, {"loss": 0.5})
    with open(tmp_path / "log.jsonl", "a") as log:
        log.write('{"stage": "tower", "st')
    run.checkpoint("tower", 1, {}, {}, is_last=True)
    assert run.resume("tower", {}, {}) == 1
    assert [(row["stage"], row["step"]) for row in log_of(tmp_path)] == [("tower", 1), ("alignment", 1)]


def test_a_finished_run_is_not_trained_again(trained, monkeypatch):
    folder, made = trained
    monkeypatch.setattr(training, "plot_curves", lambda *_: None)
    stages = set()
    again = train_tiny(str(folder), RECIPE, CPU, lambda at, _done, _total: stages.add(at), workers=1)
    assert again == made
    assert stages <= {"plan videos", "extract features"}


def test_the_seed_sets_the_initial_weights():
    name = "model.video_tower.encoder.layers.0.mlp.fc1.weight"
    first, same, other = (build_initial_model(["a"], seed)[0].get_parameter(name) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--workers", 0),
        ("--seed", -1),
        ("--videos", 0),
        ("--tower-steps", 0),
        ("--alignment-steps", 0),
        ("--language-steps", -3),
    ],
)
def test_invalid_numbers_are_refused_before_anything_is_written(tmp_path, capsys, option, value):
    assert run(tmp_path / "new", option, value) == 2
    assert_refused(capsys, f"is {value}", "or more")
    assert list(tmp_path.iterdir()) == []


def test_another_recipe_in_the_same_folder_is_refused(trained, capsys):
    folder, _ = trained
    before = sorted(os.listdir(folder))
    assert run(folder, "--seed", 9, *OPTIONS) == 2
    assert_refused(capsys, "seed 9", "--seed 1")
    assert sorted(os.listdir(folder)) == before


def test_a_checkpoint_of_another_version_is_refused(trained, tmp_path, capsys):
    folder, _ = trained
    state = torch.load(folder / "tower.pt", weights_only=True)
    shutil.copy(folder / "recipe.json", tmp_path)
    torch.save({**state, "version": RECIPE_VERSION + 1}, tmp_path / "tower.pt")
    assert run(tmp_path, "--seed", 1, *OPTIONS) == 2
    assert_refused(capsys, f"version {RECIPE_VERSION + 1}", "another folder")
    (tmp_path / "tower.pt").write_bytes(b"no checkpoint")
    assert run(tmp_path, "--seed", 1, *OPTIONS) == 2
    assert_refused(capsys, "tower.pt'", "folder")
    state["modules"]["tower"]["pre_layrnorm.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "tower.pt")
    assert run(tmp_path, "--seed", 1, *OPTIONS) == 2
    assert_refused(capsys, "tower.pt'", "folder")


def test_a_folder_in_use_is_refused(trained, capsys):
    folder, _ = trained
    with lock_folder(str(folder)):
        assert run(folder, "--seed", 1, *OPTIONS) == 2
    assert_refused(capsys, str(folder), "wait")


def test_no_model_is_left_if_the_disk_is_full(trained, tmp_path, monkeypatch, capsys):
    def fail(*_arguments, **_options):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder, ignore=shutil.ignore_patterns("model", "curves.png"))
    monkeypatch.setattr("transformers.modeling_utils.safe_save_file", fail)
    assert run(folder, "--seed", 1, *OPTIONS) == 1
    assert "error: " in capsys.readouterr().err
    assert not [name for name in os.listdir(folder) if name.startswith("model")]


def test_frames_that_cannot_be_written_are_named(tmp_path, monkeypatch, capsys):
    def fail(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.savez", fail)
    assert run(tmp_path / "run", "--videos", 1, "--workers", 1) == 1
    assert "run/frames/train_0_00000.npz'" in capsys.readouterr().err


def test_a_folder_with_other_files_is_refused(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("precious")
    assert run(tmp_path) == 2
    assert "'thesis.tex'" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["thesis.tex"]
    assert run(tmp_path / "thesis.tex") == 2
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "recipe.json").write_text(json.dumps({"version": 0, "seed": 0}))
    capsys.readouterr()
    assert run(tmp_path / "old") == 2
    assert "version 0" in capsys.readouterr().err

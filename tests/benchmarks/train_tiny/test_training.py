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
from benchmarks.train_tiny import runs
from benchmarks.train_tiny.__main__ import main
from benchmarks.train_tiny.initial_model import build_initial_model
from benchmarks.train_tiny.recipe import RECIPE_VERSION, Recipe
from benchmarks.train_tiny.training import train_tiny
from pipelines.files import alone_in
from vidzip.models.small import PREPROCESSOR

CPU = torch.device("cpu")
RECIPE = Recipe(seed=1, videos=3, tower_steps=6, alignment_steps=6, language_steps=6)
OPTIONS = ("--videos", 3, "--tower-steps", 6, "--alignment-steps", 6, "--language-steps", 6, "--workers", 1)


def silently(_stage, _done, _total):
    pass


@pytest.fixture(scope="module", autouse=True)
def small_steps():
    """Log every step, and let a step hold little."""
    with pytest.MonkeyPatch.context() as patch:
        for stage in ("tower", "alignment", "language"):
            patch.setattr(f"benchmarks.train_tiny.{stage}._LOG_STEPS", 1)
        for stage in ("tower", "language"):
            patch.setattr(f"benchmarks.train_tiny.{stage}._TOKENS", 400)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory, small_steps):
    folder = tmp_path_factory.mktemp("run")
    return folder, train_tiny(str(folder), RECIPE, CPU, silently, workers=1)


def weights(folder):
    return vidzip.load(folder, device="cpu").model.state_dict()


def test_a_run_ends_in_a_checkpoint_that_loads(trained, clip):
    folder, made = trained
    assert made.folder == str(folder / "model")
    assert made.size_bytes < 12e6
    model = vidzip.load(made.folder, device="cpu")
    assert model.tokens_per_frame == 257
    assert len({file.stat().st_mode for file in Path(made.folder).iterdir()}) == 1
    assert model.preprocessor == PREPROCESSOR
    state = model.model.state_dict()
    for name, weight in state.items():
        if "image_tower" in name:
            assert torch.equal(weight, state[name.replace("image_tower", "video_tower")])
    answer = model.ask_full(clip, "What color is the star?", max_new_tokens=4)
    assert answer.visual_tokens == 2056
    assert not answer.warnings


def test_a_run_leaves_curves_and_a_card(trained):
    folder, made = trained
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert {row["stage"] for row in rows} == {"tower", "alignment", "language"}
    assert Path(made.curves).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    card = (folder / "model" / "README.md").read_text(encoding="utf-8")
    assert (
        "`python -m benchmarks.train_tiny OUT --seed 1 --videos 3 --tower-steps 6 --alignment-steps 6 --language-steps 6`"
        in card
    )
    assert "{" not in card


def test_training_moves_tower_and_language_model(trained):
    _, made = trained
    untrained, _ = build_initial_model(["a"], RECIPE.seed)
    before, after = untrained.state_dict(), weights(made.folder)
    for part in ("video_tower.encoder.layers.0", "multi_modal_projector", "language_model.layers.0"):
        names = [name for name in after if part in name and name.endswith("weight")]
        assert names
        assert any(not torch.equal(before[name].half().float(), after[name]) for name in names), part


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("stage", ["film", "train the tower", "align the projector", "train the language model"])
def test_a_run_that_was_ended_goes_on_to_the_same_weights(trained, tmp_path, monkeypatch, stage):
    monkeypatch.setattr(runs, "CHECKPOINT_SECONDS", 0)

    def end(at, done, _total):
        if at == stage and done == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        train_tiny(str(tmp_path), RECIPE, CPU, end, workers=1)
    taken = []
    made = train_tiny(str(tmp_path), RECIPE, CPU, lambda at, done, _total: taken.append((at, done)), workers=1)
    if stage != "film":
        assert (stage, 0) not in taken
        assert (stage, 2) in taken
    whole, resumed = weights(trained[1].folder), weights(made.folder)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["step"]) for row in rows] == [
        (name, step) for name in ("tower", "alignment", "language") for step in range(1, 7)
    ]


def test_rows_of_steps_that_are_taken_again_are_not_kept(trained, tmp_path):
    def end(at, done, _total):
        if at == "train the tower" and done == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        train_tiny(str(tmp_path), RECIPE, CPU, end, workers=1)
    with open(tmp_path / "log.jsonl", "a") as log:
        log.write('{"stage": "tower", "st')  # and no checkpoint: it was ended within five minutes
    train_tiny(str(tmp_path), RECIPE, CPU, silently, workers=1)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["stage"] == "tower"] == [1, 2, 3, 4, 5, 6]


def test_a_finished_run_trains_nothing_again(trained):
    folder, made = trained
    stages = set()
    again = train_tiny(str(folder), RECIPE, CPU, lambda at, _done, _total: stages.add(at), workers=1)
    assert again == made
    assert stages <= {"plan", "watch"}


def test_other_seeds_make_other_models(trained, tmp_path):
    other = Recipe(seed=2, videos=3, tower_steps=1, alignment_steps=1, language_steps=1)
    made = train_tiny(str(tmp_path), other, CPU, silently, workers=1)
    name = "model.video_tower.encoder.layers.0.mlp.fc1.weight"
    assert not torch.equal(weights(made.folder)[name], weights(trained[1].folder)[name])


def run(*arguments):
    return main([*map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--workers", 0], "the number of workers is 0"),
        (["--seed", -1], "the seed is -1"),
        (["--language-steps", -3], "language steps: -3"),
    ],
)
def test_numbers_of_nothing_are_refused_before_anything_is_written(tmp_path, capsys, arguments, says):
    assert run(tmp_path / "new", *arguments) == 2
    assert_refused(capsys, says, "or more")
    assert list(tmp_path.iterdir()) == []


def test_another_recipe_in_the_same_folder_is_refused(trained, capsys):
    folder, _ = trained
    before = sorted(os.listdir(folder))
    assert run(folder, "--seed", 9, *OPTIONS) == 2
    err = capsys.readouterr().err
    assert "holds a run of seed 1; asked for was seed 9" in err
    assert "hint: give another folder, or --seed 1" in err
    assert sorted(os.listdir(folder)) == before


def test_a_checkpoint_of_another_version_is_refused(trained, tmp_path, capsys):
    folder, _ = trained
    state = torch.load(folder / "tower.pt", weights_only=True)
    settings = json.loads((folder / "recipe.json").read_text())
    (tmp_path / "recipe.json").write_text(json.dumps(settings))
    torch.save({**state, "version": RECIPE_VERSION + 1}, tmp_path / "tower.pt")
    assert run(tmp_path, "--seed", 1, *OPTIONS) == 2
    assert f"is of version {RECIPE_VERSION + 1}, needed is {RECIPE_VERSION}" in capsys.readouterr().err
    (tmp_path / "tower.pt").write_bytes(b"no checkpoint")
    assert run(tmp_path, "--seed", 1, *OPTIONS) == 2
    assert "tower.pt' is no checkpoint of this stage" in capsys.readouterr().err


def test_a_checkpoint_of_other_weights_is_refused(trained, tmp_path, capsys):
    folder, _ = trained
    (tmp_path / "recipe.json").write_text((folder / "recipe.json").read_text())
    state = torch.load(folder / "tower.pt", weights_only=True)
    state["modules"]["tower"]["pre_layrnorm.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "tower.pt")
    assert run(tmp_path, "--seed", 1, *OPTIONS) == 2
    assert_refused(capsys, "is no checkpoint of this stage: it holds other weights", "give a new folder")


def test_a_folder_that_is_trained_in_is_left_alone(trained, capsys):
    folder, _ = trained
    with alone_in(str(folder)):
        assert run(folder, "--seed", 1, *OPTIONS) == 2
    assert_refused(capsys, "another run is writing into", "wait for it to end")


def test_weights_that_find_no_room_leave_no_model(trained, tmp_path, monkeypatch, capsys):
    def no_room(*_arguments, **_options):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder, ignore=shutil.ignore_patterns("model", "curves.png"))
    monkeypatch.setattr("transformers.modeling_utils.safe_save_file", no_room)
    assert run(folder, "--seed", 1, *OPTIONS) == 1
    assert "there is no room to write" in capsys.readouterr().err
    assert not [name for name in os.listdir(folder) if name.startswith("model")]


def test_a_run_of_another_version_is_refused(tmp_path, capsys):
    (tmp_path / "recipe.json").write_text(json.dumps({"version": 0, "seed": 0}))
    assert run(tmp_path) == 2
    assert "version 0" in capsys.readouterr().err


def test_a_folder_of_something_else_is_refused(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("precious")
    assert run(tmp_path) == 2
    assert "holds no training run: there is 'thesis.tex'" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file") == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--videos", "--tower-steps", "--alignment-steps", "--language-steps"])
def test_a_recipe_of_nothing_is_refused(tmp_path, capsys, option):
    assert run(tmp_path / "run", option, 0) == 2
    assert "give 1 or more" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_named(tmp_path, monkeypatch, capsys):
    def no_room(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.savez", no_room)
    assert run(tmp_path / "run", "--videos", 1, "--workers", 1) == 1
    err = capsys.readouterr().err
    assert "there is no room to write" in err
    assert "run/footage/train_0_00000.npz'" in err

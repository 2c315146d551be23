from __future__ import annotations

import errno
import json
import os
import shutil

import pytest
import torch
from refusals import assert_refused

import vidzip.models.converting
from pipelines.cli import main
from vidzip import load


@pytest.fixture
def copy(original, tmp_path):
    return shutil.copytree(original, tmp_path / "models" / "copy")


def change_weights(folder, change) -> None:
    """Change the second shard's weights."""
    shard = folder / "pytorch_model-00002-of-00002.bin"
    weights = torch.load(shard, weights_only=True)
    change(weights)
    torch.save(weights, shard)


def test_convert_says_what_it_wrote(original, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", str(original), "converted", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    held = sum(file.stat().st_size for file in (tmp_path / "converted").iterdir())
    assert out.splitlines() == [
        "converted holds the converted model: vidzip ask --model converted …",
        "tensors                 220, bit by bit the original's",
        "of attention over time  44",
        f"size                    {held / 1e6:.1f} MB",
        f"logits compared         {56_700:,}, equal to the original's",
    ]
    assert err == ""
    assert os.listdir() == ["converted"]
    assert load("converted", device="cpu").tower_fingerprint == load(original, device="cpu").tower_fingerprint


def test_the_original_and_the_converted_answer_the_same_from_either_ones_pack(original, clip, tmp_path, capsys):
    converted, pack = str(tmp_path / "converted"), str(tmp_path / "clip.vidzip")
    assert main(["convert", str(original), converted, "--device", "cpu", "--dtype", "float32"]) == 0
    assert main(["pack", str(clip), "--frames", "6", "--model", str(original), "-o", pack]) == 0
    capsys.readouterr()
    answers = []
    for model in (str(original), converted):
        assert main(["ask", pack, "What?", "--max-new-tokens", "4", "--model", model, "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0]["answer"] == answers[1]["answer"]
    assert (answers[0]["frames"], answers[0]["visual_tokens"]) == (6, 6 * 17)


@pytest.mark.parametrize("way", ["empty", "link", "slash", "deep"])
def test_where_it_may_go(original, tmp_path, way):
    out = tmp_path / "out"
    if way == "empty":
        out.mkdir()
    elif way == "link":
        (tmp_path / "place").mkdir()
        out.symlink_to("place")
    elif way == "deep":
        out = tmp_path / "new" / "and" / "deep"
    name = f"{out}/" if way == "slash" else str(out)
    assert main(["convert", str(original), name, "--device", "cpu"]) == 0
    assert (out / "config.json").is_file()
    assert out.is_symlink() == (way == "link")
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("out", ["full", "file"])
def test_where_something_is_already_nothing_is_begun(original, tmp_path, capsys, monkeypatch, out):
    monkeypatch.setattr(vidzip.models.converting, "load", None)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").write_text("else")
    (tmp_path / "file").write_text("something else")
    assert main(["convert", str(original), str(tmp_path / out)]) == 2
    assert_refused(capsys, out, "new or empty folder")
    assert (tmp_path / "full" / "something").read_text() == "else"


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("wrong", ["missing", "logits"])
def test_what_fails_leaves_nothing(copy, tmp_path, capsys, monkeypatch, *, wrong, is_there):
    out = tmp_path / "out"
    if is_there:
        out.mkdir()
    if wrong == "missing":
        name = "model.video_tower.video_tower.encoder.layers.3.temporal_attn.q_proj.bias"
        change_weights(copy, lambda weights: weights.pop(name))
        code, says, hint = 2, "1 missing weights", "download"
    else:
        real = vidzip.models.converting.noise_logits
        calls = iter((0.0, 0.25))
        monkeypatch.setattr(vidzip.models.converting, "noise_logits", lambda model: real(model) + next(calls))
        code, says, hint = 1, "0.25", "--dtype float32"
    assert main(["convert", str(copy), str(out), "--device", "cpu"]) == code
    assert_refused(capsys, says, hint)
    assert sorted(os.listdir(tmp_path)) == (["models", "out"] if is_there else ["models"])
    assert not is_there or os.listdir(out) == []


@pytest.mark.parametrize(
    ("folder", "says", "hint"),
    [
        ("missing", "missing", "original"),
        ("empty", "config.json", "folder"),
        ("port", "port", ""),
    ],
)
def test_what_is_no_original(tmp_path, capsys, *, folder, says, hint):
    (tmp_path / "empty").mkdir()
    (tmp_path / "port").mkdir()
    (tmp_path / "port" / "config.json").write_text('{"model_type": "video_llava"}')
    assert main(["convert", str(tmp_path / folder), str(tmp_path / "out")]) == 2
    assert_refused(capsys, says, hint)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_no_bad_input(original, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(vidzip.models.converting, "save_checkpoint", full)
    assert main(["convert", str(original), str(tmp_path / "out"), "--device", "cpu"]) == 1
    assert_refused(capsys, "is left to write", "free some space")
    assert os.listdir(tmp_path) == []


def test_an_interruption_leaves_nothing(original, tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(vidzip.models.converting, "save_checkpoint", interrupted)
    assert main(["convert", str(original), str(tmp_path / "out"), "--device", "cpu"]) == 130
    assert os.listdir(tmp_path) == []

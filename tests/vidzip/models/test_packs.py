"""Packed videos as files: packed by one model, asked by another with the same tower."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from originals import write_original
from safetensors.torch import load_file, save_file

from vidzip import Budget, PackedVideo, load
from vidzip.errors import TowerMismatch
from vidzip.models.converting import convert

QUESTION = "What is shown?"


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory):
    """The small model as a folder in transformers' layout."""
    folder = tmp_path_factory.mktemp("port")
    small.network.save_pretrained(folder)
    small.tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(small.preprocessor.to_config()))
    return folder


@pytest.fixture(scope="module")
def file(folder, clip, tmp_path_factory):
    model = load(folder, device="cpu", dtype="float32")
    path = tmp_path_factory.mktemp("packs") / "clip.vidzip"
    model.pack(clip, model.plan(clip, Budget(num_frames=20))).save(path, dtype=torch.float32)
    return path


def change(folder, copy, name, amount):
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    (found,) = (one for one in weights if one.endswith(name))
    weights[found] = weights[found] + amount
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


def test_a_file_is_answered_as_what_was_packed(folder, file, clip):
    model = load(folder, device="cpu", dtype="float32")
    fresh = model.ask(model.pack(clip, model.plan(clip, Budget(num_frames=20))), QUESTION, 12)
    loaded = PackedVideo.load(file)
    assert model.ask(loaded, QUESTION, 12).text == fresh.text
    assert model.ask_many(loaded, [QUESTION, "Where?"], 12)[0].text == fresh.text


def test_a_tuned_projector_goes_on_with_old_files(folder, file, tmp_path):
    tuned = load(change(folder, tmp_path / "tuned", "multi_modal_projector.linear_2.weight", 1.0), device="cpu")
    loaded = PackedVideo.load(file)
    assert tuned.tower_fingerprint == loaded.tower
    assert tuned.ask(loaded, QUESTION, 12).text != load(folder, device="cpu").ask(loaded, QUESTION, 12).text


def test_another_tower_is_refused(folder, file, tmp_path):
    other = load(change(folder, tmp_path / "other", "video_tower.encoder.layers.0.mlp.fc1.bias", 1e-3), device="cpu")
    with pytest.raises(TowerMismatch, match="packed by the tower"):
        other.ask(PackedVideo.load(file), QUESTION)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_what_was_packed_in_one_precision_is_asked_in_another(folder, file, clip, tmp_path, dtype):
    half = load(folder, device="cpu", dtype=dtype)
    assert half.ask(PackedVideo.load(file), QUESTION, 3).new_tokens == 3
    half.pack(clip, half.plan(clip)).save(tmp_path / "half.vidzip")
    loaded = PackedVideo.load(tmp_path / "half.vidzip")
    assert loaded.tokens.dtype is getattr(torch, dtype)
    assert load(folder, device="cpu", dtype="float32").ask(loaded, QUESTION, 3).new_tokens == 3


def test_the_original_and_what_it_was_converted_into_ask_each_others_files(clip, tmp_path):
    write_original(tmp_path / "original")
    convert(tmp_path / "original", tmp_path / "converted", device="cpu")
    original, converted = (load(tmp_path / name, device="cpu") for name in ("original", "converted"))
    packed = original.pack(clip, original.plan(clip, Budget(num_frames=10)))
    packed.save(tmp_path / "clip.vidzip", dtype=torch.float32)
    loaded = PackedVideo.load(tmp_path / "clip.vidzip")
    assert loaded.plan.frames_per_clip == 4
    assert converted.ask(loaded, QUESTION, 8).text == original.ask(packed, QUESTION, 8).text

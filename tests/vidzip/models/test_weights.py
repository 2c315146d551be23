from __future__ import annotations

import json
import os
import pickle
import re
import shutil

import pytest
import torch
from originals import original_config, original_weights, settings_of, weights_of, write_original, write_shards
from safetensors.torch import save_file

from vidzip import load
from vidzip.encoders.weights import raise_for_problems
from vidzip.errors import BadArgument, BadModelFolder
from vidzip.models.video_llava_original import translate_name
from vidzip.models.weights import fingerprint, stored_weights, tower_fingerprint, weight_files

FIRST, SECOND = "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"
INDEX = "pytorch_model.bin.index.json"
TEMPORAL = "model.video_tower.video_tower.encoder.layers.2.temporal_attn.k_proj.bias"
PROJECTOR = "model.mm_projector.2.weight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "checkpoint"
    write_original(path)
    return path


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def refusal(folder, capfd):
    """Return the error's message; nothing is printed, and there is a hint."""
    with pytest.raises(BadModelFolder) as caught:
        load(folder, device="cpu")
    assert capfd.readouterr() == ("", "")
    assert caught.value.hint
    assert str(folder) in caught.value.message
    return caught.value.message


TEMPORAL_WEIGHTS = [name for name in original_weights() if "temporal_" in name]


def test_the_tower_has_temporal_weights_in_every_layer():
    assert len(TEMPORAL_WEIGHTS) == 4 * 11
    assert TEMPORAL in TEMPORAL_WEIGHTS


@pytest.mark.parametrize(
    "name", [*TEMPORAL_WEIGHTS[::7], PROJECTOR, "lm_head.weight", "model.layers.1.mlp.up_proj.weight"]
)
def test_a_missing_weight_is_refused_by_name(copy, name, capfd):
    weights_of(lambda weights: weights.pop(name))(copy)
    assert refusal(copy, capfd).endswith(f"1 missing weights ({translate_name(name)})")


def test_all_missing_weights_are_listed(copy, capfd):
    weights_of(lambda weights: [weights.pop(name) for name in TEMPORAL_WEIGHTS])(copy)
    said = refusal(copy, capfd)
    assert "44 missing weights" in said
    assert all(translate_name(name) in said for name in TEMPORAL_WEIGHTS)


@pytest.mark.parametrize(
    "name",
    [
        "stray",
        "model.mm_projector.4.weight",
        "text_model.embeddings.token_embedding.weight",
        "model.video_tower.video_tower.encoder.layers.4.mlp.fc1.weight",
        "model.image_tower.image_tower.encoder.layers.0.temporal_embedding",
        "language_model.model.norm.weight",  # which transformers would take for another
        "my_position_ids",
        "stray_inv_freq",
    ],
)
def test_a_stray_weight_is_refused_by_name(copy, name, capfd):
    weights_of(lambda weights: weights.update({name: torch.ones(48)}))(copy)
    assert refusal(copy, capfd).endswith(f"1 unexpected weights ({translate_name(name)})")


@pytest.mark.parametrize("name", [TEMPORAL, PROJECTOR, "model.norm.weight"])
def test_a_weight_of_another_shape_is_refused_by_name(copy, name, capfd):
    wanted = tuple(original_weights()[name].shape)
    weights_of(lambda weights: weights.update({name: torch.ones(3, 5)}))(copy)
    said = refusal(copy, capfd)
    assert said.endswith(f"1 mis-shaped weights ({translate_name(name)} of (3, 5) instead of {wanted})")


def test_a_weight_of_whole_numbers_is_refused_by_name(copy, capfd):
    weights_of(lambda weights: weights.update({TEMPORAL: weights[TEMPORAL].to(torch.int8)}))(copy)
    assert refusal(copy, capfd).endswith(f"1 not floating-point weights ({translate_name(TEMPORAL)} of torch.int8)")


def test_everything_that_is_wrong_is_said_at_once(copy, capfd):
    def change(weights):
        del weights[TEMPORAL]
        weights |= {"stray": torch.ones(1), PROJECTOR: torch.ones(1)}

    weights_of(change)(copy)
    said = refusal(copy, capfd)
    assert "1 missing weights" in said
    assert "1 unexpected weights (stray)" in said
    assert "1 mis-shaped weights" in said


def test_a_weight_in_two_shards_is_refused_by_name(copy, capfd):
    held = torch.load(copy / SECOND, weights_only=True)
    first = next(iter(torch.load(copy / FIRST, weights_only=True)))
    torch.save(held | {first: torch.zeros(3)}, copy / SECOND)
    assert first in refusal(copy, capfd)


def test_a_weight_by_the_originals_name_and_by_ours_is_refused_by_name(copy, capfd):
    weights_of(lambda weights: weights.update({translate_name(TEMPORAL): weights[TEMPORAL]}))(copy)
    assert translate_name(TEMPORAL) in refusal(copy, capfd)


def drop(name):
    return lambda folder: (folder / name).unlink()


def cut(name, keep):
    def apply(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * keep)])

    return apply


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def replace(name, held):
    return lambda folder: torch.save(held, folder / name)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (drop(SECOND), f"{SECOND}.*{INDEX}"),
        (write(INDEX, b"{"), INDEX),
        (write(INDEX, b"[]"), INDEX),
        (write(INDEX, b'{"weight_map": {"a": 3}}'), INDEX),
        (write(INDEX, b"{}"), f"{INDEX}.*KeyError"),
        (cut(SECOND, 0.0), SECOND),
        (cut(SECOND, 0.01), SECOND),
        (cut(SECOND, 0.5), SECOND),
        (cut(SECOND, 0.999), SECOND),
        (write(SECOND, b"<html>not found</html>"), SECOND),
        (write(SECOND, b"version https://git-lfs.github.com/spec/v1\n"), SECOND),
        (replace(SECOND, [torch.zeros(3)]), SECOND),
        (replace(SECOND, {"a": 3}), SECOND),
        (replace(SECOND, {3: torch.zeros(3)}), SECOND),
        (replace(SECOND, torch.nn.Linear(2, 2)), rf"{SECOND}.*torch\.nn\.modules\.linear\.Linear"),
    ],
)
def test_damaged_shards_are_refused_by_name(copy, damage, says, capfd):
    damage(copy)
    assert re.search(says, refusal(copy, capfd))


class Harmful:
    """Creates a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("new", [True, False])
def test_nothing_in_a_pickle_is_run(copy, tmp_path, new, capfd):
    mark = tmp_path / "it ran"
    held = torch.load(copy / SECOND, weights_only=True)
    torch.save(held | {"lm_head.weight": Harmful(mark)}, copy / SECOND, _use_new_zipfile_serialization=new)
    assert "posix.mkdir" in refusal(copy, capfd)
    assert not mark.exists()
    # Unpickling does create it:
    pickle.loads(pickle.dumps(Harmful(mark)))  # noqa: S301 - that is the point
    assert mark.is_dir()


def same_weights(folder):
    named = dict(load(folder, device="cpu", dtype="float32").network.named_parameters())
    return all(named[translate_name(name)].equal(weight) for name, weight in original_weights().items())


def test_shards_may_be_without_an_index(copy):
    (copy / INDEX).unlink()
    assert weight_files(copy) == [copy / FIRST, copy / SECOND]
    assert same_weights(copy)


def test_there_may_be_one_file_alone(copy):
    for name in (FIRST, SECOND, INDEX):
        (copy / name).unlink()
    torch.save(original_weights(), copy / "pytorch_model.bin")
    assert same_weights(copy)


def test_files_of_pytorch_before_1_6_are_read(copy):
    for name in (FIRST, SECOND):
        held = torch.load(copy / name, weights_only=True)
        torch.save(held, copy / name, _use_new_zipfile_serialization=False)
    assert same_weights(copy)


def test_parameters_are_weights_too(copy):
    weights_of(lambda weights: weights.update({name: torch.nn.Parameter(one) for name, one in weights.items()}))(copy)
    assert same_weights(copy)


def test_weights_that_share_memory_are_each_there(copy):
    # As torch.save keeps them: one storage, of which each sees its part, or all of it.
    weights = original_weights()
    names = [f"model.layers.{layer}.input_layernorm.weight" for layer in range(3)]
    both = torch.randn(96)
    weights |= {names[0]: both[:48], names[1]: both[48:], names[2]: both[48:]}
    torch.save(weights, copy / "pytorch_model.bin")
    named = dict(load(copy, device="cpu", dtype="float32").network.named_parameters())
    assert all(named[translate_name(name)].equal(weights[name]) for name in names)


def test_the_originals_weights_may_be_safetensors(copy):
    for name in (FIRST, SECOND, INDEX):
        (copy / name).unlink()
    weights = original_weights()
    names = list(weights)
    files = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in files.items():
        save_file({name: weights[name] for name in part}, copy / file, metadata={"format": "pt"})
    assert same_weights(copy)
    index = {name: file for file, part in files.items() for name in part}
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert same_weights(copy)


def test_a_truncated_safetensors_shard_is_refused_by_name(copy, capfd):
    for name in (FIRST, SECOND, INDEX):
        (copy / name).unlink()
    save_file(original_weights(), copy / "model.safetensors")
    cut("model.safetensors", 0.5)(copy)
    assert str(copy / "model.safetensors") in refusal(copy, capfd)


def test_of_several_kinds_those_are_read_that_transformers_takes(tmp_path):
    # One file before shards, safetensors before pickles, and files that an index names before any others.
    order = [
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "other.safetensors",
        "pytorch_model-1.bin",
    ]
    for name in order:
        shard = name.replace(".index.json", "-x.part")
        (tmp_path / shard).write_bytes(b"")
        if shard != name:
            (tmp_path / name).write_text(json.dumps({"weight_map": {"a": shard}}))
    for name in order:
        assert [file.name for file in weight_files(tmp_path)] == [name.replace(".index.json", "-x.part")]
        (tmp_path / name).unlink()
    with pytest.raises(BadModelFolder, match=re.escape(str(tmp_path))):
        weight_files(tmp_path)


def test_an_index_names_no_files_outside_the_folder(copy, tmp_path):
    shutil.copy(copy / SECOND, tmp_path / "outside.bin")
    settings_of(INDEX, lambda index: index["weight_map"].update({"lm_head.weight": "../outside.bin"}))(copy)
    with pytest.raises(BadModelFolder, match=r"outside\.bin"):
        weight_files(copy)


def test_values_that_are_computed_are_no_weights(copy):
    held = torch.load(copy / FIRST, weights_only=True)
    computed = ["model.video_tower.video_tower.embeddings.position_ids", "model.layers.0.self_attn.rotary_emb.inv_freq"]
    assert set(computed) < set(held)
    assert dict(stored_weights(copy)).keys() == original_weights().keys()


@pytest.mark.parametrize("twice", [True, False])
def test_tied_weights_are_stored_once_or_twice(copy, twice):
    settings_of("config.json", lambda config: config.update(tie_word_embeddings=True))(copy)
    weights = original_weights()
    del weights["lm_head.weight"]
    words = weights["model.embed_tokens.weight"]
    torch.save(weights | ({"lm_head.weight": words} if twice else {}), copy / "pytorch_model.bin")
    assert load(copy, device="cpu").network.lm_head.weight.equal(words)


def test_the_towers_fingerprint_is_of_its_weights_alone(copy, folder):
    expected = tower_fingerprint(stored_weights(folder))
    weights_of(lambda weights: weights.update({PROJECTOR: weights[PROJECTOR] + 1}))(copy)
    assert load(copy, device="cpu").tower_fingerprint == expected
    weights_of(lambda weights: weights.update({TEMPORAL: weights[TEMPORAL] + 1}))(copy)
    assert load(copy, device="cpu").tower_fingerprint != expected


def test_the_towers_fingerprint_is_the_same_whatever_the_layout_calls_it():
    weights = {"embeddings.class_embedding": torch.randn(3), "pre_layrnorm.weight": torch.randn(3)}
    expected = tower_fingerprint((f"model.video_tower.{name}", weight) for name, weight in weights.items())
    for prefix in ("video_tower.vision_model.", "model.video_tower.video_tower.", "video_tower."):
        named = [(prefix + name, weight) for name, weight in reversed(weights.items())]
        other = ("model.image_tower.image_tower.embeddings.class_embedding", torch.ones(1))
        assert tower_fingerprint([*named, other]) == expected
    with pytest.raises(BadModelFolder):
        tower_fingerprint([other])


def test_fingerprints_tell_names_shapes_kinds_and_bits_apart():
    base = torch.tensor([[0.0, 1.0]])
    others = [base.T, base.half(), base + 2**-24, torch.tensor([[-0.0, 1.0]]), base.double()]
    hashes = {tower_fingerprint([("video_tower.a", weight)]) for weight in [base, *others]}
    assert len({*hashes, tower_fingerprint([("video_tower.b", base)])}) == 7
    assert tower_fingerprint([("video_tower.a", base.T.contiguous().T)]) in hashes


def test_a_module_without_its_weights_has_no_fingerprint():
    with pytest.raises(BadArgument, match=r"2 .*bias"):
        fingerprint(torch.nn.Linear(2, 2, device="meta"))


def test_a_long_list_is_cut():
    with pytest.raises(BadModelFolder) as caught:
        raise_for_problems("in a folder", {"missing": [f"w{number:03}" for number in range(60)], "unexpected": []})
    assert "60 missing weights (w000, w001, " in caught.value.message
    assert caught.value.message.endswith("w049, …)")
    raise_for_problems("in a folder", {"missing": ["a.inv_freq"], "unexpected": []})


def test_the_small_original_is_written_as_the_published_ones_are(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config == original_config()
    assert "video_tower_config" not in config
    index = json.loads((folder / INDEX).read_text())["weight_map"]
    assert set(index.values()) == {FIRST, SECOND}
    assert "model.video_tower.video_tower.encoder.layers.0.temporal_embedding" in index
    assert "model.image_tower.image_tower.pre_layrnorm.weight" in index
    assert {"model.mm_projector.0.weight", "model.mm_projector.2.bias", "lm_head.weight"} < set(index)
    write_shards(folder, original_weights())
    assert same_weights(folder)

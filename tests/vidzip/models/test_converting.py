from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import stat
import sys

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from originals import original_config, original_weights, processor, published_prompt, settings_of, write_original
from safetensors import safe_open
from transformers import AutoConfig, AutoModel, VideoLlavaForConditionalGeneration

from vidzip import Budget, load
from vidzip.errors import BadArgument, BadModelFolder, ConversionMismatch, DiskFull, NotInstalled, WriteError
from vidzip.models import converting, saving
from vidzip.models.converting import convert, noise_logits
from vidzip.models.video_llava_original import MODEL_TYPE, translate_name
from vidzip.models.weights import stored_weights

QUESTION = "Where is the red circle?"
TEMPORAL = "model.video_tower.encoder.layers.3.temporal_embedding"
FILES = ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "checkpoint"
    write_original(path)
    return path


@pytest.fixture(scope="module")
def done(folder):
    """A conversion, and where it is."""
    out = folder.parent / "converted"
    return convert(folder, out, device="cpu"), out


@pytest.fixture
def source(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "source")


@pytest.fixture
def copy(done, tmp_path):
    return shutil.copytree(done[1], tmp_path / "copy")


def test_every_weight_is_written_bit_by_bit(done):
    converted, out = done
    written, weights = dict(stored_weights(out)), original_weights()
    assert written.keys() == {translate_name(name) for name in weights}
    assert all(written[translate_name(name)].equal(weight) for name, weight in weights.items())
    assert (converted.num_weights, converted.num_temporal_weights) == (len(weights), 44)
    assert sum("temporal_" in name for name in written) == 44
    assert converted.folder == str(out)
    assert sorted(os.listdir(out)) == FILES
    assert converted.size_bytes == sum(file.stat().st_size for file in out.iterdir())


def test_the_converted_says_what_the_original_says(folder, done, clip):
    models = [load(place, device="cpu", dtype="float32") for place in (folder, done[1])]
    assert models[0].tower_fingerprint == models[1].tower_fingerprint
    assert models[0].preprocessor == models[1].preprocessor
    assert models[0].sampling_policy == models[1].sampling_policy == "linspace"
    planned = models[0].plan(clip, Budget(num_frames=9, total_tokens=60))
    packs = [model.pack(clip, planned) for model in models]
    assert packs[0].tokens.equal(packs[1].tokens)
    embeds = [model.embed(packs[0], QUESTION) for model in models]
    with torch.no_grad():
        logits = [model.network(inputs_embeds=embeds[0]).logits for model in models]
    assert embeds[0].equal(embeds[1])
    assert logits[0].equal(logits[1])
    answers = [model.ask(packed, QUESTION, 12) for model, packed in zip(models, reversed(packs), strict=True)]
    assert answers[0].text == answers[1].text
    chats = [model.session(packs[0]).chat() for model in models]
    said = [[chat.ask(question, 6).text for question in (QUESTION, "Why?")] for chat in chats]
    assert said[0] == said[1]


def test_logits_of_noise_are_compared(folder, done):
    converted, out = done
    model = load(out, device="cpu")
    logits = noise_logits(model)
    assert converted.num_logits == logits.numel()
    prompt = model.family.prompt(converting.QUESTION)
    assert logits.shape == (1, prompt.num_tokens + 4 * 16, 420)
    assert logits.equal(noise_logits(load(folder, device="cpu")))


@pytest.mark.parametrize("name", ["encoder.layers.0.temporal_attn.v_proj.bias", "embeddings.class_embedding"])
def test_noise_tells_one_tower_from_another(done, name):
    model = load(done[1], device="cpu")
    before = noise_logits(model)
    with torch.no_grad():
        model.tower.get_parameter(name)[0] += 1
    assert not noise_logits(model).equal(before)


def test_progress_is_told(folder, tmp_path):
    steps = []
    convert(folder, tmp_path / "out", device="cpu", on_progress=lambda *step: steps.append(step))
    assert [step[1:] for step in steps] == [(0, 3), (1, 3), (2, 3)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_keep_the_precision_that_they_are_stored_in(tmp_path, dtype):
    weights = write_original(tmp_path / "in", dtype=dtype)
    convert(tmp_path / "in", tmp_path / "out", device="cpu", dtype="float32")
    assert {weight.dtype for _, weight in stored_weights(tmp_path / "out")} == {dtype}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    named = dict(load(tmp_path / "out", device="cpu", dtype="float32").network.named_parameters())
    assert all(named[translate_name(name)].equal(weight.float()) for name, weight in weights.items())


def test_several_precisions_stay_as_they_are_and_load_as_one(source, tmp_path):
    weights = original_weights()
    weights |= {name: weight.bfloat16() for name, weight in weights.items() if "tower" not in name}
    weights |= {"model.norm.weight": weights["model.norm.weight"].half()}
    torch.save(weights, source / "pytorch_model.bin")
    convert(source, tmp_path / "out", device="cpu")
    written = dict(stored_weights(tmp_path / "out"))
    assert {name: written[translate_name(name)].dtype for name in weights} == {
        name: weight.dtype for name, weight in weights.items()
    }
    models = [load(place, device="cpu", dtype="bfloat16") for place in (source, tmp_path / "out")]
    assert {weight.dtype for model in models for weight in model.network.parameters()} == {torch.bfloat16}
    assert models[0].fingerprint == models[1].fingerprint


def test_the_towers_fingerprint_is_the_same_in_every_precision_and_layout(folder, done):
    models = [
        load(place, device="cpu", dtype=dtype)
        for place in (folder, done[1])
        for dtype in ("float32", "float16", "bfloat16")
    ]
    assert len({model.tower_fingerprint for model in models}) == 1


def test_weights_that_share_memory_are_all_written(source, tmp_path):
    weights = original_weights()
    norms = [f"model.layers.{layer}.input_layernorm.weight" for layer in range(3)]
    both = torch.randn(96)
    tall = torch.randn(96, 48)
    weights |= {norms[0]: both[:48], norms[1]: both[48:], norms[2]: both[:48]}
    weights["model.layers.0.mlp.down_proj.weight"] = tall.T  # and one that is not laid out row by row
    torch.save(weights, source / "pytorch_model.bin")
    convert(source, tmp_path / "out", device="cpu")
    written = dict(stored_weights(tmp_path / "out"))
    assert all(written[translate_name(name)].equal(weight) for name, weight in weights.items())


def test_tied_weights_are_written_twice(source, tmp_path):
    settings_of("config.json", lambda config: config.update(tie_word_embeddings=True))(source)
    weights = original_weights()
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    torch.save(weights, source / "pytorch_model.bin")
    convert(source, tmp_path / "out", device="cpu")
    assert load(tmp_path / "out", device="cpu").network.lm_head.weight.equal(weights["lm_head.weight"])


def test_large_checkpoints_become_several_shards(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "MAX_SHARD_SIZE", 300_000)
    out = tmp_path / "out"
    converted = convert(folder, out, device="cpu")
    shards = sorted(out.glob("*.safetensors"))
    assert len(shards) >= 3
    index = json.loads((out / "model.safetensors.index.json").read_text())["weight_map"]
    assert set(index.values()) == {shard.name for shard in shards}
    assert len(index) == converted.num_weights
    assert max(shard.stat().st_size for shard in shards) < 400_000
    loaded = dict(load(out, device="cpu", dtype="float32").network.named_parameters())
    assert all(loaded[translate_name(name)].equal(weight) for name, weight in original_weights().items())


def test_files_may_be_read_by_whom_the_umask_lets(done):
    modes = {stat.S_IMODE(file.stat().st_mode) for file in done[1].iterdir()}
    assert len(modes) == 1
    with safe_open(done[1] / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_what_the_config_says_is_kept(source, tmp_path):
    change = {
        "eos_token_id": [2, 7],
        "rope_theta": 500.0,
        "rope_scaling": {"type": "linear", "factor": 2.0},
        "mm_vision_select_layer": -3,
    }
    settings_of("config.json", lambda config: config.update(change))(source)
    convert(source, tmp_path / "out", device="cpu")
    for model in (load(place, device="cpu") for place in (source, tmp_path / "out")):
        assert model.family.stop_token_ids == [2, 7]
        assert model.family.feature_layer == -3
        rope = {"rope_theta": 500.0, "rope_type": "linear", "factor": 2.0}
        assert {key: model.config.text_config.rope_parameters[key] for key in rope} == rope


@pytest.fixture(scope="module", params=[True, False])
def prompting(request, folder, tmp_path_factory):
    """How a converted checkpoint is asked whose original is legacy, or is not."""
    place = shutil.copytree(folder, tmp_path_factory.mktemp("legacy") / "in")
    settings_of("tokenizer_config.json", lambda settings: settings.update(legacy=request.param))(place)
    convert(place, place.parent / "out", device="cpu")
    return request.param, load(place.parent / "out", device="cpu").family


@given(question=st.text(min_size=1, max_size=40))
def test_law_the_tokenizer_it_writes_gives_the_originals_ids(prompting, question):
    assume(question.strip() and not any(marker in question for marker in ("<image>", "</s>", "<s>", "<unk>")))
    legacy, asked = prompting
    prompt = asked.prompt(question)
    assert (list(prompt.before), list(prompt.after)) == published_prompt(processor(), question)
    turn = processor(dummy_prefix=legacy).encode(f"USER: {question} ASSISTANT:")
    assert list(asked.chat_turn(question)) == [2, *turn]


def test_the_converted_loads_without_sentencepiece(done, monkeypatch):
    expected = tuple(published_prompt(processor(), "Why?")[1])
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    assert tuple(load(done[1], device="cpu").family.prompt("Why?").after) == expected


def test_other_loaders_do_not_take_it_for_a_model_without_time(done):
    for kind in (AutoConfig, AutoModel):
        with pytest.raises((ValueError, KeyError), match=MODEL_TYPE):
            kind.from_pretrained(done[1], local_files_only=True)
    config = json.loads((done[1] / "config.json").read_text())
    assert config["architectures"] == ["TemporalVideoLlava"]
    assert not hasattr(VideoLlavaForConditionalGeneration, config["architectures"][0])


def test_the_converted_without_one_temporal_weight_is_refused_by_name(copy, capfd):
    change_weights(copy, lambda weights: weights.pop(TEMPORAL))
    with pytest.raises(BadModelFolder, match=re.escape(f"1 missing weights ({TEMPORAL})")):
        load(copy, device="cpu")
    change_weights(copy, lambda weights: weights.update({TEMPORAL: torch.zeros(1, 8, 32)}))
    with pytest.raises(BadModelFolder, match=re.escape(f"{TEMPORAL} of (1, 8, 32) instead of (1, 4, 32)")):
        load(copy, device="cpu")
    assert capfd.readouterr() == ("", "")


def change_weights(folder, change):
    weights = {name: weight.clone() for name, weight in stored_weights(folder)}
    change(weights)
    (folder / "model.safetensors").unlink()
    saving.save_torch_state_dict(weights, folder, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        ("config.json", lambda config: config["vision_config"].pop("num_frames"), "num_frames is None"),
        ("config.json", lambda config: config["vision_config"].update(add_time_attn=False), "add_time_attn is False"),
        ("config.json", lambda config: config["text_config"].update(hidden_act="magic"), "makes no model"),
        ("config.json", lambda config: config.update(text_config=3), "makes no model"),
        ("preprocessor_config.json", lambda settings: settings.update(antialias=True), "antialias is True"),
        ("preprocessor_config.json", lambda settings: settings.update(crop_size=28), "crops pictures to 28x28"),
        ("tokenizer.json", lambda tokenizer: tokenizer.pop("model"), "tokenizer"),
    ],
)
def test_damaged_conversions_are_refused(copy, file, change, says, capfd):
    settings_of(file, change)(copy)
    with pytest.raises(BadModelFolder, match=says) as caught:
        load(copy, device="cpu")
    assert str(copy) in caught.value.message
    assert caught.value.hint
    assert capfd.readouterr() == ("", "")


def test_what_needs_no_conversion_is_refused(done, small, tmp_path):
    small.network.save_pretrained(tmp_path / "port")
    for place in (done[1], tmp_path / "port"):
        with pytest.raises(BadModelFolder, match="mm_video_tower"):
            convert(place, tmp_path / "out", device="cpu")
    with pytest.raises(BadModelFolder, match="nowhere"):
        convert(tmp_path / "nowhere", tmp_path / "out", device="cpu")
    with pytest.raises(BadModelFolder, match=r"config\.json"):
        convert(tmp_path, tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_only_a_new_or_an_empty_folder_is_written_to(source, tmp_path):
    with pytest.raises(BadArgument, match="original itself"):
        convert(source, source, device="cpu")
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(BadArgument, match="original itself"):
        convert(source, tmp_path / "link", device="cpu")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    for out in ("file", "full"):
        with pytest.raises(WriteError, match=out):
            convert(source, tmp_path / out, device="cpu")
    assert (tmp_path / "file").read_text() == (tmp_path / "full" / "mine").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    (tmp_path / "to empty").symlink_to(tmp_path / "empty")
    assert convert(source, tmp_path / "to empty", device="cpu").folder == str(tmp_path / "to empty")
    assert sorted(os.listdir(tmp_path / "empty")) == FILES


def test_where_nothing_can_be_written_the_original_is_not_asked(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(converting, "_behavior", lambda *_: pytest.fail("it was run"))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(WriteError, match="below"):
        convert(folder, tmp_path / "file" / "below", device="cpu")
    monkeypatch.setattr(converting.Path, "is_mount", lambda self: self.name == "disk")
    with pytest.raises(WriteError, match="disk"):
        convert(folder, tmp_path / "disk", device="cpu")


def test_a_full_disk_leaves_nothing(source, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "save_torch_state_dict", full)
    with pytest.raises(DiskFull):
        convert(source, tmp_path / "out", device="cpu")
    assert sorted(os.listdir(tmp_path)) == ["source"]


@pytest.fixture
def tamper(request, monkeypatch):
    """Make what is written differ from what it should be."""

    def save(place, weights, config, tokenizer, preprocessor):
        tower = "model.image_tower.pre_layrnorm.bias"
        if request.param == "a weight":
            weights = weights | {TEMPORAL: weights[TEMPORAL] + 2**-20}
        elif request.param == "a precision":
            weights = {name: weight.bfloat16() for name, weight in weights.items()}
        elif request.param == "a weight left out":
            weights = {name: weight for name, weight in weights.items() if name != TEMPORAL}
        elif request.param == "the image tower":
            weights = weights | {tower: weights[tower] + 1}
        elif request.param == "the layer":
            config.vision_feature_layer = -1
        elif request.param == "the end marks":
            config.text_config.eos_token_id = 5
        else:
            tokenizer.backend_tokenizer.post_processor = None
        saving.save_checkpoint(place, weights, config, tokenizer, preprocessor)

    monkeypatch.setattr(converting, "save_checkpoint", save)


@pytest.mark.parametrize(
    ("tamper", "error", "says"),
    [
        ("a weight", ConversionMismatch, f"1 weights .*{TEMPORAL}"),
        ("a precision", ConversionMismatch, "220 weights"),
        ("a weight left out", ConversionMismatch, f"1 weights .*{TEMPORAL}"),
        ("the image tower", ConversionMismatch, "1 weights .*image_tower"),
        ("the layer", ConversionMismatch, r"logits .* \d"),
        ("the end marks", ConversionMismatch, r"stop_token_ids is \[5\].*\[2\]"),
        ("the prompt", BadModelFolder, "tokenizer"),
    ],
    indirect=["tamper"],
)
def test_a_conversion_that_differs_is_caught_and_leaves_nothing(folder, tmp_path, tamper, error, says):
    with pytest.raises(error, match=says):
        convert(folder, tmp_path / "out", device="cpu")
    assert os.listdir(tmp_path) == []


def test_another_prompt_is_caught(folder, tmp_path, monkeypatch):
    # A tokenizer that would split texts elsewhere: the logits are of another length.
    behavior_of = converting._behavior

    def otherwise(place, device, dtype):
        behavior = behavior_of(place, device, dtype)
        return behavior if place == folder else dataclasses.replace(behavior, logits=behavior.logits[:, 1:])

    monkeypatch.setattr(converting, "_behavior", otherwise)
    with pytest.raises(ConversionMismatch, match="logits"):
        convert(folder, tmp_path / "out", device="cpu")


def test_an_original_that_cannot_be_loaded_is_not_converted(source, tmp_path, monkeypatch):
    with monkeypatch.context() as without:
        without.setattr("vidzip.models.checkpoint.find_spec", lambda name: None)
        with pytest.raises(NotInstalled, match="sentencepiece and protobuf"):
            convert(source, tmp_path / "out", device="cpu")
    (source / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(BadModelFolder, match="pytorch_model-00002"):
        convert(source, tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_the_config_of_a_conversion_holds_what_the_originals_says(done):
    config, original = json.loads((done[1] / "config.json").read_text()), original_config()
    assert config["model_type"] == MODEL_TYPE
    assert config["vision_config"]["add_time_attn"] is True
    assert config["vision_config"]["num_frames"] == 4
    text = config["text_config"]
    same = ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size", "rms_norm_eps", "hidden_act")
    assert {key: text[key] for key in same} == {key: original[key] for key in same}
    assert "mm_video_tower" not in config


def test_a_pack_of_one_may_be_asked_of_the_other(folder, done, clip):
    original, converted = (load(place, device="cpu") for place in (folder, done[1]))
    packed = original.pack(clip, original.plan(clip, Budget(num_frames=4)))
    assert converted.ask(packed, QUESTION, 4).text == original.ask(packed, QUESTION, 4).text

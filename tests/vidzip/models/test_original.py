from __future__ import annotations

import json
import math
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clips import number_of, write_numbered
from originals import (
    TOWER,
    TOWER_NAME,
    VOCABULARY,
    original_config,
    original_weights,
    processor,
    published_prompt,
    settings_of,
    write_original,
)
from plain_languagebind import plain_languagebind
from transformers import LlamaConfig, LlamaForCausalLM

from vidzip import Budget, decode, load
from vidzip.compress import METHODS
from vidzip.errors import BadModelFolder
from vidzip.models.video_llava_original import KNOWN_TOWERS, TemporalVideoLlava, translate_name
from vidzip.video.writing import write

QUESTION = "How many people are there? 🎬"
TOKENS = 17
TOWER_FOLDER = TOWER_NAME.rpartition("/")[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "checkpoint"
    write_original(path)
    return path


@pytest.fixture(scope="module")
def original(folder):
    return load(folder, device="cpu", dtype="float32")


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A wide clip of 20 frames of coloured noise, of no size that the tower takes."""
    path = tmp_path_factory.mktemp("clips") / "colours.mp4"
    blocks = np.random.default_rng(0).integers(0, 256, (20, 9, 14, 3), dtype=np.uint8)
    write(path, blocks.repeat(8, axis=1).repeat(8, axis=2), fps=10)
    return path


def prepared_as_published(picture):
    """What the published transform makes of a decoded picture, (3, H, W), its random mirroring left out."""
    mean, std = (
        torch.tensor(values)[:, None, None]
        for values in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    )
    values = (picture / 255.0 - mean) / std
    height, width, side = *values.shape[1:], TOWER["image_size"]
    size = (side, math.floor(width / height * side)) if width >= height else (math.floor(height / width * side), side)
    resized = F.interpolate(values[None], size=size, mode="bilinear", align_corners=False)[0]
    top, left = (round((length - side) / 2.0) for length in size)
    return resized[:, top : top + side, left : left + side]


def projected_by_hand(weights, hidden):
    """Linear, GELU, linear."""
    first, second = (
        [weights[f"model.mm_projector.{layer}.{part}"].double() for part in ("weight", "bias")] for layer in (0, 2)
    )
    inner = hidden @ first[0].T + first[1]
    return (inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))) @ second[0].T + second[1]


def assembled(weights, pictures, question):
    """The language model alone, and what the original gives it: all tokens of all frames within its prompt."""
    pixels = torch.stack([prepared_as_published(picture) for picture in pictures])
    repeats = pixels[-1:].expand(-len(pixels) % TOWER["num_frames"], -1, -1, -1)
    tower = "model.video_tower.video_tower."
    of_tower = {name.removeprefix(tower): weight for name, weight in weights.items() if name.startswith(tower)}
    hidden_states = plain_languagebind(TOWER, of_tower, torch.cat([pixels, repeats]))
    visual = projected_by_hand(weights, hidden_states[-2][: len(pixels)].flatten(0, 1))
    before, after = published_prompt(processor(), question)
    words = weights["model.embed_tokens.weight"]
    embeds = torch.cat([words[before], visual.float(), words[after]])[None]
    of_text = {
        name: weight for name, weight in weights.items() if not name.startswith(("model.mm", "model.image", tower))
    }
    keys = (
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "num_hidden_layers",
        "vocab_size",
        "rms_norm_eps",
    )
    language = LlamaForCausalLM(LlamaConfig(**{key: original_config()[key] for key in keys})).eval()
    language.load_state_dict(of_text)
    return language, embeds


@pytest.mark.parametrize("frames", [4, 8, 6])
def test_oracle_uncompressed_logits_and_answers_equal_an_assembly_by_hand(original, colours, frames):
    planned = original.plan(colours, Budget(num_frames=frames, total_tokens=frames * TOKENS), policy="linspace")
    packed = original.pack(colours, planned)
    pictures = decode(colours, planned.timestamps_seconds).pixels
    language, embeds = assembled(original_weights(), pictures, QUESTION)
    embedded = original.embed(packed, QUESTION)
    assert embedded.shape == embeds.shape
    torch.testing.assert_close(embedded, embeds, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        ours, theirs = original.network(inputs_embeds=embedded).logits, language(inputs_embeds=embeds).logits
    assert theirs.std() > 1
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    answer = original.ask(packed, QUESTION, 12)
    own = language.generate(
        inputs_embeds=embeds,
        attention_mask=torch.ones(embeds.shape[:2]),
        max_new_tokens=12,
        do_sample=False,
        eos_token_id=2,
        pad_token_id=0,
    )[0].tolist()
    assert answer.text == original.tokenizer.decode(own, skip_special_tokens=True).strip()
    assert answer.new_tokens == len(own) - own.count(2) > 0
    assert original.session(packed).ask(QUESTION, 12).text == answer.text


def test_time_is_attended_to(original, colours):
    features = original.encode(decode(colours, [0.0, 0.5, 1.0, 1.5]))
    other = original.encode(decode(colours, [0.0, 0.6, 1.0, 1.5]))
    assert (features.tokens[0] - other.tokens[0]).abs().max() > 0.1  # the first frame is the same, the second is not


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_it_loads_in_every_precision_and_answers(folder, colours, dtype, capfd):
    model = load(folder, device="cpu", dtype=dtype)
    assert (model.tokens_per_frame, model.frames_per_clip, model.family.feature_layer) == (TOKENS, 4, -2)
    assert model.family.stop_token_ids == [2]
    assert {weight.dtype for weight in model.network.parameters()} == {dtype}
    assert isinstance(model.network, TemporalVideoLlava)
    assert not model.network.training
    named = dict(model.network.named_parameters())
    stored = original_weights()
    assert {translate_name(name) for name in stored} == set(named)
    assert all(named[translate_name(name)].equal(weight.to(dtype)) for name, weight in stored.items())
    packed = model.pack(colours, model.plan(colours, Budget(num_frames=9, total_tokens=40)))
    assert packed.tokens.dtype is dtype
    assert model.ask(packed, QUESTION, 3).visual_tokens == 40
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", [name for name, kind in METHODS.items() if kind.takes_any_budget])
def test_every_method_packs_what_clips_show(original, colours, method):
    planned = original.plan(colours, Budget(num_frames=10, total_tokens=40))
    packed = original.pack(colours, planned, method)
    assert packed.num_tokens == sum(packed.tokens_per_frame) == 40
    assert len(packed.tokens_per_frame) == 10  # the two that fill the last clip are none of them
    assert original.ask(packed, QUESTION, 3).visual_tokens == 40


def test_stored_in_half_precision_it_loads_in_full(tmp_path):
    weights = write_original(tmp_path, dtype=torch.bfloat16)
    named = dict(load(tmp_path, device="cpu", dtype="float32").network.named_parameters())
    assert all(named[translate_name(name)].equal(weight.float()) for name, weight in weights.items())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists what a process has mapped")
def test_weights_stay_in_the_file_where_the_precision_is_theirs(folder):
    model = load(folder, device="cpu", dtype="float32").network
    maps = [line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines() if ".bin" in line]
    spans = [[int(end, 16) for end in span] for span in maps]
    assert all(any(start <= weight.data_ptr() < end for start, end in spans) for weight in model.parameters())


def test_uncompressed_it_takes_the_frames_that_linspace_numbers(original, tmp_path, monkeypatch):
    assert original.sampling_policy == "linspace"
    path = tmp_path / "numbered.mp4"
    write_numbered(path, num_frames=50)
    planned = []
    pack = type(original).pack
    monkeypatch.setattr(
        type(original), "pack", lambda self, video, plan, **options: planned.append(plan) or pack(self, video, plan)
    )
    answer = original.ask_uncompressed(path, QUESTION, num_frames=8, max_new_tokens=2)
    assert answer.visual_tokens == 8 * TOKENS
    shown = decode(path, planned[0].timestamps_seconds).pixels
    assert [number_of(picture) for picture in shown] == np.linspace(0, 49, 8, dtype=int).tolist()


@pytest.mark.parametrize(
    "where",
    [TOWER_FOLDER, TOWER_NAME, f"../{TOWER_FOLDER}", "config.json", "config.json, whole"],
)
def test_the_towers_config_may_be_in_several_places(copy, where, colours):
    whole = json.loads((copy / TOWER_FOLDER / "config.json").read_text())
    shutil.rmtree(copy / TOWER_FOLDER)
    if where.startswith("config.json"):
        held = whole if where.endswith("whole") else whole["vision_config"]
        settings_of("config.json", lambda config: config.update(video_tower_config=held))(copy)
    else:
        (copy / where).mkdir(parents=True)
        (copy / where / "config.json").write_text(json.dumps(whole["vision_config"]))
    model = load(copy, device="cpu")
    assert (model.frames_per_clip, model.tokens_per_frame) == (4, TOKENS)


def test_the_configs_own_tower_comes_first(copy):
    settings_of("config.json", lambda config: config.update(video_tower_config=TOWER | {"num_frames": 8}))(copy)
    with pytest.raises(BadModelFolder, match=r"temporal_embedding of \(1, 4, 32\) instead of \(1, 8, 32\)"):
        load(copy, device="cpu")


def test_the_published_towers_config_is_known(copy):
    shutil.rmtree(copy / TOWER_FOLDER)
    published = "LanguageBind/LanguageBind_Video_merge"
    settings_of("config.json", lambda config: config.update(mm_video_tower=published))(copy)
    # Not this small checkpoint's: its weights are of other shapes, and of 24 layers most are missing.
    with pytest.raises(BadModelFolder) as caught:
        load(copy, device="cpu")
    assert "missing weights (model.image_tower.encoder.layers.10." in caught.value.message
    assert "mis-shaped weights" in caught.value.message
    assert "of (32,) instead of (1024,)" in caught.value.message
    known = KNOWN_TOWERS["LanguageBind_Video_merge"]
    assert known["hidden_size"] // known["num_attention_heads"] == 64
    assert (known["image_size"] // known["patch_size"]) ** 2 + 1 == 257


def nowhere(folder):
    shutil.rmtree(folder / TOWER_FOLDER)


def changed(**changes):
    return settings_of("config.json", lambda config: config.update(changes))


def lacking(*names):
    return settings_of("config.json", lambda config: [config.pop(name) for name in names])


def tower(**changes):
    return settings_of(f"{TOWER_FOLDER}/config.json", lambda config: config["vision_config"].update(changes))


@pytest.mark.parametrize(
    ("change", "says", "hint"),
    [
        (nowhere, f"'{TOWER_NAME}'", f"copy/{TOWER_FOLDER}$"),
        (lacking("vocab_size", "hidden_size"), r"config\.json .*hidden_size, vocab_size", ""),
        (changed(mm_projector_type="linear"), "mm_projector_type is 'linear'.* 'mlp2x_gelu'", "7B"),
        (lacking("mm_projector_type"), "mm_projector_type is None", "7B"),
        (changed(mm_use_im_start_end=True), "mm_use_im_start_end is True.* False", "7B"),
        (changed(mm_use_im_patch_token=True), "mm_use_im_patch_token is True", "7B"),
        (changed(mm_vision_select_layer=[-2, -3]), r"mm_vision_select_layer is \[-2, -3\].* 4 layers", "such as -2"),
        (changed(mm_vision_select_layer=-5), "mm_vision_select_layer is -5.* 4 layers", "such as -2"),
        (changed(mm_vision_select_layer=0), "mm_vision_select_layer is 0", "such as -2"),
        (changed(mm_vision_select_layer=True), "mm_vision_select_layer is True", "such as -2"),
        (changed(mm_video_tower=None), "mm_video_tower is None", "7B"),
        (
            changed(video_tower_config=[1]),
            "video_tower_config in .*config.json",
            "",
        ),
        (changed(hidden_size="48"), "hidden_size.* expected int", ""),
        (changed(num_attention_heads=5), r"hidden size \(48\) is not a multiple", ""),
        (changed(hidden_act="magic"), "'magic'", ""),
        (changed(rope_scaling={"type": "magic", "factor": 2.0}), "'magic'", ""),
        (changed(rope_scaling={"type": "linear"}), "factor", ""),
        (changed(rope_scaling=[1]), "config", ""),
        (tower(add_time_attn=False), "add_time_attn is False", "CLIPVisionModel"),
        (tower(num_frames="four"), "num_frames is 'four'", ""),
        (tower(hidden_act="magic"), "'magic'", ""),
        (
            settings_of(f"{TOWER_FOLDER}/config.json", lambda config: config["vision_config"].pop("num_frames")),
            f"'{TOWER_NAME}' of .* num_frames",
            "",
        ),
        (lambda folder: (folder / TOWER_FOLDER / "config.json").write_text("{"), "config.json", ""),
        (lambda folder: (folder / TOWER_FOLDER / "config.json").write_text("[]"), "config.json", ""),
        (
            settings_of(f"{TOWER_FOLDER}/config.json", lambda config: config.update(vision_config=3)),
            f"{TOWER_FOLDER}.*config.json",
            "",
        ),
        (lambda folder: (folder / "config.json").write_bytes(b"\xff"), "config.json", ""),
        (lambda folder: (folder / "config.json").write_text("[" * 100_000), "config.json", ""),
    ],
)
def test_configs_that_make_no_original_are_refused(copy, change, says, hint, capfd):
    change(copy)
    with pytest.raises(BadModelFolder, match=says) as caught:
        load(copy, device="cpu")
    assert str(copy) in caught.value.message
    assert caught.value.hint
    assert re.search(hint, caught.value.hint)
    assert capfd.readouterr() == ("", "")


def test_settings_that_are_left_out_are_those_of_the_published_code(copy, original):
    names = ("rope_scaling", "mm_use_im_start_end", "mm_use_im_patch_token", "mm_vision_select_layer")
    lacking(*names, "num_key_value_heads", "tie_word_embeddings", "max_position_embeddings", "eos_token_id")(copy)
    model = load(copy, device="cpu")
    assert model.family.feature_layer == -2
    assert model.family.stop_token_ids == [2]
    text, expected = model.config.text_config, original.config.text_config
    assert text.num_key_value_heads == expected.num_attention_heads
    assert text.rope_parameters["rope_theta"] == 10000.0


@pytest.mark.parametrize(
    ("changes", "theta", "factor"),
    [
        ({}, 10000.0, 1),
        ({"rope_theta": 500.0}, 500.0, 1),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, 10000.0, 2),
        ({"rope_scaling": {"rope_type": "linear", "factor": 4.0}, "rope_theta": 100.0}, 100.0, 4),
    ],
)
def test_positions_turn_as_the_config_says(copy, changes, theta, factor):
    changed(**changes)(copy)
    model = load(copy, device="cpu").network
    width = 48 // 4
    by_hand = torch.tensor([theta ** (-even / width) / factor for even in range(0, width, 2)])
    turning = model.get_submodule("model.language_model.rotary_emb")
    torch.testing.assert_close(turning.inv_freq, by_hand, rtol=1e-6, atol=0)
    assert turning.attention_scaling == 1


@pytest.mark.parametrize(("said", "layer"), [(-2, -2), (-1, -1), (-4, -4), (1, -4), (3, -2), (4, -1)])
def test_the_layer_is_the_one_that_the_config_selects(copy, colours, said, layer):
    changed(mm_vision_select_layer=said)(copy)
    model = load(copy, device="cpu")
    assert model.family.feature_layer == layer
    frames = decode(colours, [0.0, 0.5, 1.0, 1.5])
    pixels = torch.stack([prepared_as_published(picture) for picture in frames.pixels])
    with torch.no_grad():
        states = model.tower(pixels, output_hidden_states=True).hidden_states
    torch.testing.assert_close(model.encode(frames).tokens, states[said], rtol=1e-4, atol=1e-4)


def test_several_end_marks_and_none(copy, original, colours):
    changed(eos_token_id=[2, 5])(copy)
    assert load(copy, device="cpu").family.stop_token_ids == [2, 5]
    changed(eos_token_id=None)(copy)
    assert load(copy, device="cpu").family.stop_token_ids == [2]


def test_the_vocabulary_is_the_weights(copy):
    changed(vocab_size=VOCABULARY + 8)(copy)
    with pytest.raises(BadModelFolder, match=r"lm_head.weight of \(420, 48\) instead of \(428, 48\)"):
        load(copy, device="cpu")

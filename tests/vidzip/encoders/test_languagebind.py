from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from observers import OBSERVERS
from plain_languagebind import plain_languagebind, random_languagebind, random_weights, tower_config
from safetensors.torch import load_file
from towers import random_pixels
from transformers import CLIPVisionConfig, LlamaConfig, VideoLlavaConfig, VideoLlavaForConditionalGeneration

from vidzip import observe
from vidzip.encoders import LanguageBindTower, languagebind_tower, tap
from vidzip.errors import BadArgument, BadModelFolder

PUBLISHED = {"hidden_size": 64, "intermediate_size": 128, "image_size": 112}
"""How the config of the golden tower differs from that of these tests."""

CONFIG = tower_config(num_frames=8)


@pytest.fixture(scope="module")
def published(golden) -> LanguageBindTower:
    weights = load_file(golden / "languagebind" / "languagebind_tower.safetensors")
    return languagebind_tower(tower_config(num_frames=8, **PUBLISHED), weights)


@pytest.fixture(scope="module", params=[8, 16])
def clips(golden, request):
    """Input of the published tower, frame by frame, its output, and the CLS attention of each head."""
    length = request.param
    tensors = load_file(golden / "languagebind" / "languagebind_golden.safetensors")
    pixels = tensors[f"pixels_{length}"].transpose(1, 2).flatten(0, 1)
    return pixels, tensors[f"hidden_{length}"].flatten(0, 1), tensors[f"cls_attention_{length}"]


@pytest.mark.parametrize("observer", OBSERVERS)
def test_equals_the_published_tower(published, clips, observer):
    pixels, hidden, attention = clips
    seen = OBSERVERS[observer](published, pixels, layer=-2)
    torch.testing.assert_close(seen.tokens, hidden, rtol=0, atol=1e-4)
    torch.testing.assert_close(seen.scores, attention.sum(dim=1)[:, 1:], rtol=0, atol=1e-4)


def test_each_head_attends_over_the_picture_as_in_the_published_tower(published, clips):
    pixels, _, attention = clips
    module = published.encoder.layers[-2].self_attn
    outputs = {}
    hooks = [
        getattr(module, name).register_forward_hook(lambda _, __, output, name=name: outputs.update({name: output}))
        for name in ("q_proj", "k_proj")
    ]
    with torch.no_grad():
        published(pixels)
    for hook in hooks:
        hook.remove()
    query, key = (output.unflatten(-1, (module.num_heads, -1)) for output in outputs.values())
    logits = torch.einsum("fhd,fshd->fhs", query[:, 0], key) * module.scale
    torch.testing.assert_close(logits.softmax(dim=-1), attention, rtol=0, atol=1e-4)


@pytest.mark.parametrize("num_frames", [1, 2, 8])
def test_equals_the_plain_reference(num_frames):
    config = tower_config(num_frames)
    weights, pixels = random_weights(config), random_pixels(2 * num_frames)
    plain = plain_languagebind(config, weights, pixels)
    tower = languagebind_tower(config, weights)
    with torch.no_grad():
        out = tower(pixels, output_hidden_states=True)
    assert len(out.hidden_states) == len(plain) == 5
    for ours, theirs in zip(out.hidden_states, plain, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=1e-4)
    assert out.last_hidden_state.equal(out.hidden_states[-1])
    for layer in (-2, 0):
        torch.testing.assert_close(
            observe(tower, pixels, layer).tokens.double(), plain[layer % 4 + 1], rtol=0, atol=1e-4
        )


def test_attention_over_time_changes_the_output():
    pixels = random_pixels(8)
    seen = observe(random_languagebind(8), pixels)
    turned = observe(random_languagebind(8), pixels.flip(0))
    assert (turned.tokens.flip(0) - seen.tokens).abs().max() > 0.1


def test_clips_do_not_mix():
    tower, pixels = random_languagebind(4), random_pixels(8)
    changed = pixels.clone()
    changed[6] += 1
    before, after = observe(tower, pixels), observe(tower, changed)
    for name in ("tokens", "keys", "scores"):
        old, new = getattr(before, name), getattr(after, name)
        assert new[:4].equal(old[:4])
        assert all((new[frame] != old[frame]).any() for frame in range(4, 8))
    torch.testing.assert_close(observe(tower, pixels[4:]).tokens, before.tokens[4:], rtol=0, atol=1e-5)


def test_equals_eager_attention():
    pixels, tower, eager = random_pixels(4), random_languagebind(2), random_languagebind(2)
    assert tower.config._attn_implementation == "sdpa"
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        out = eager(pixels, output_attentions=True, output_hidden_states=True)
    assert [tuple(attention.shape) for attention in out.attentions] == [(4, 4, 17, 17)] * 4
    for layer in range(4):
        seen = observe(tower, pixels, layer)
        torch.testing.assert_close(seen.tokens, out.hidden_states[layer + 1], rtol=0, atol=1e-5)
        torch.testing.assert_close(seen.scores, out.attentions[layer][:, :, 0, 1:].sum(1), rtol=0, atol=1e-5)


def test_keys_are_those_over_the_picture():
    tower, pixels = random_languagebind(2), random_pixels(2)
    keys = []
    hook = tower.encoder.layers[-2].self_attn.k_proj.register_forward_hook(lambda _, __, output: keys.append(output))
    with torch.no_grad(), tap(tower) as seen:
        tower(pixels)
    hook.remove()
    expected = keys[0].unflatten(-1, (4, 8)).mean(dim=2)
    torch.testing.assert_close(seen.features().keys, expected[:, 1:], rtol=0, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 7, 12])
def test_frames_that_do_not_fill_a_clip_are_refused(frames):
    with pytest.raises(BadArgument, match=rf"{frames} frames .* clips of 8.*frames_per_clip=8"):
        observe(random_languagebind(8), random_pixels(frames))
    assert random_languagebind(8).frames_per_clip == 8


def test_stacked_clips_are_refused():
    with pytest.raises(BadArgument, match=r"\(1, 3, 8, 56, 56\)"):
        random_languagebind(8)(random_pixels(8).transpose(0, 1)[None])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision_stays_close(dtype, tolerance):
    # Relative to the largest value, as for CLIP's tower.
    config, pixels = tower_config(2), random_pixels(4)
    half = languagebind_tower(config, {name: weight.to(dtype) for name, weight in random_weights(config).items()})
    assert half.dtype is dtype
    exact, seen = observe(random_languagebind(2), pixels), observe(half, pixels.to(dtype))
    assert seen.tokens.dtype is dtype
    for name in ("tokens", "keys", "scores"):
        wanted, got = getattr(exact, name), getattr(seen, name).float()
        assert (got - wanted).abs().max() <= tolerance * wanted.abs().max()


def test_the_tower_is_in_evaluation_mode_with_the_given_weights():
    weights = random_weights(CONFIG)
    tower = languagebind_tower(CONFIG, weights | {"embeddings.position_ids": torch.arange(17)[None]})
    assert not tower.training
    assert tower.state_dict().keys() == weights.keys()
    assert all(tower.state_dict()[name].equal(weight) for name, weight in weights.items())
    assert all(not tensor.is_meta for tensor in (*tower.parameters(), *tower.buffers()))


def without(*names):
    return {name: weight for name, weight in random_weights(CONFIG).items() if name not in names}


@pytest.mark.parametrize(
    ("weights", "listed"),
    [
        (without("post_layernorm.bias"), r"1 missing .*\(post_layernorm\.bias\)"),
        (
            without(*(f"encoder.layers.{layer}.temporal_embedding" for layer in range(4))),
            r"4 missing .*\(encoder\.layers\.0\.temporal_embedding, .*, encoder\.layers\.3\.temporal_embedding\)",
        ),
        (
            without() | {"encoder.layers.4.mlp.fc1.bias": torch.ones(64)},
            r"1 unexpected .*\(encoder\.layers\.4\.mlp\.fc1",
        ),
        (
            without() | {"encoder.layers.1.temporal_embedding": torch.ones(1, 4, 32)},
            r"1 mis-shaped .*\(encoder\.layers\.1\.temporal_embedding of \(1, 4, 32\) instead of \(1, 8, 32\)\)",
        ),
        (
            without("pre_layrnorm.bias") | {"pre_layernorm.bias": torch.ones(32)},
            r"1 missing .*\(pre_layrnorm\.bias\); 1 unexpected .*\(pre_layernorm\.bias\)",
        ),
        (
            {f"video_tower.video_tower.{name}": weight for name, weight in without().items()},
            r"115 missing .*, …\); 115 unexpected .*, …\)",
        ),
        ({}, "115 missing"),
        (without() | {"pre_layrnorm.bias": torch.ones(32).half()}, r"torch\.float16, torch\.float32"),
        ({name: weight.int() for name, weight in without().items()}, r"115 not floating-point .*torch\.int32"),
    ],
)
def test_every_weight_is_checked(weights, listed):
    with pytest.raises(BadModelFolder, match=listed):
        languagebind_tower(CONFIG, weights)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"add_time_attn": False}, "add_time_attn is False"),
        ({"add_time_attn": 1}, r"add_time_attn is 1,"),
        ({"num_frames": 0}, "num_frames is 0"),
        ({"num_frames": "8"}, "num_frames is '8'"),
        ({"num_frames": True}, "num_frames is True"),
        ({"hidden_size": 32.0}, r"hidden_size is 32\.0"),
        ({"image_size": None}, "image_size is None"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
        ({"num_attention_heads": 5}, "5 heads"),
        ({"patch_size": 57}, "patch_size 57"),
        ({"hidden_act": "gelly"}, r"hidden_act is 'gelly'; use one of .*gelu, .*quick_gelu"),
        ({"hidden_act": ["gelu"]}, r"hidden_act is \['gelu'\]"),
        ({"layer_norm_eps": "1e-5"}, "layer_norm_eps is '1e-5'"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps is nan"),
        ({"layer_norm_eps": 0}, "layer_norm_eps is 0"),
    ],
)
def test_an_invalid_config_is_refused(changes, named):
    with pytest.raises(BadArgument, match=named):
        languagebind_tower(CONFIG | changes, {})


def test_a_config_without_a_key_is_refused():
    config = {name: value for name, value in CONFIG.items() if name not in {"num_frames", "hidden_act"}}
    with pytest.raises(BadArgument, match="num_frames, hidden_act"):
        languagebind_tower(config, {})
    config = {name: value for name, value in CONFIG.items() if name != "add_time_attn"}
    with pytest.raises(BadArgument, match="add_time_attn is missing"):
        languagebind_tower(config, {})


def test_a_config_without_time_is_refused():
    with pytest.raises(BadArgument, match="add_time_attn is missing"):
        LanguageBindTower(CLIPVisionConfig())
    with pytest.raises(BadArgument, match="num_frames is None"):
        LanguageBindTower(CLIPVisionConfig(add_time_attn=True))


def test_a_tower_can_be_built_without_memory():
    with torch.device("meta"):
        tower = LanguageBindTower(CLIPVisionConfig(**CONFIG))
    assert all(weight.is_meta for weight in tower.parameters())
    assert tower.state_dict().keys() == random_weights(CONFIG).keys()


def test_a_new_tower_is_initialised_in_every_part():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tower = LanguageBindTower(CLIPVisionConfig(**CONFIG))
    for layer in tower.encoder.layers:
        assert layer.temporal_embedding.std().item() == pytest.approx(32**-0.5, rel=0.2)
        assert layer.temporal_attn.q_proj.weight.std() > 0
    with torch.no_grad():
        assert tower(random_pixels(8)).last_hidden_state.isfinite().all()


class Whole(VideoLlavaForConditionalGeneration):
    """Video-LLaVA with this tower."""

    def __init__(self, config):
        super().__init__(config)
        self.model.video_tower = LanguageBindTower(config.vision_config)
        self.post_init()


@pytest.fixture
def saved(tmp_path):
    config = VideoLlavaConfig(
        vision_config={"model_type": "clip_vision_model", **tower_config(num_frames=2)},
        text_config=LlamaConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            vocab_size=40,
        ),
        image_token_index=37,
        video_token_index=38,
    )
    model = Whole(config)
    model.model.video_tower = random_languagebind(2)
    return model, tmp_path


def read(folder):
    return Whole.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)


def test_a_model_loads_the_tower(saved):
    model, folder = saved
    model.save_pretrained(folder)
    loaded, report = read(folder)
    assert not any(report[problem] for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tower = loaded.model.video_tower
    assert isinstance(tower, LanguageBindTower)
    assert tower.frames_per_clip == 2
    pixels = random_pixels(4)
    assert observe(tower, pixels).tokens.equal(observe(random_languagebind(2), pixels).tokens)


def test_a_model_reports_missing_weights_of_the_tower(saved):
    model, folder = saved
    weights = model.state_dict()
    gone = {
        f"model.video_tower.encoder.layers.{name}" for name in ("1.temporal_embedding", "2.temporal_attn.q_proj.bias")
    }
    model.save_pretrained(folder, state_dict={name: weight for name, weight in weights.items() if name not in gone})
    assert set(read(folder)[1]["missing_keys"]) == gone


def test_observing_does_not_import_transformers():
    code = "import sys, vidzip.encoders; from vidzip import observe; assert 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from narrow import make_narrow
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import VideoLlavaForConditionalGeneration

from vidzip import Budget, Frames, Plan, VideoModel, zip_frames
from vidzip.encoders import LanguageBindPreprocessor, LanguageBindTower, Preprocessor
from vidzip.errors import BadArgument, DeviceUnavailable, OutOfMemory
from vidzip.models import full_size
from vidzip.models.full_size import QUESTIONS, build, build_config
from vidzip.models.video_llava_original import SYSTEM, TemporalVideoLlava, TemporalVideoLlavaConfig
from vidzip.packing import pack_zipped

KINDS = pytest.mark.parametrize("kind", ["port", "original"])


@pytest.fixture
def narrow(monkeypatch):
    make_narrow(monkeypatch.setattr)


def count(module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@KINDS
def test_shapes_are_those_of_the_checkpoints(kind):
    config, _ = build_config(kind)
    model = full_size._build_on_meta(config)
    extra_words = 64 if kind == "port" else 0
    language_model = count(model.get_submodule("model.language_model")) + count(model.lm_head)
    assert language_model == 6_738_415_616 + 2 * extra_words * 4096  # Vicuna-7B's, as published
    over_time = 24 * (4 * (1024 * 1024 + 1024) + 2 * 1024 + 8 * 1024) if kind == "original" else 0
    assert count(model.get_submodule("model.video_tower")) == 303_179_776 + over_time  # CLIP ViT-L/14's
    assert count(model.get_submodule("model.image_tower")) == 303_179_776
    assert count(model.get_submodule("model.multi_modal_projector")) == 1025 * 4096 + 4097 * 4096
    assert config.vision_config.hidden_act == ("gelu" if kind == "original" else "quick_gelu")
    text = config.text_config
    assert (text.rms_norm_eps, text.max_position_embeddings, text.num_key_value_heads) == (1e-5, 4096, 32)


@KINDS
def test_depth_takes_layers_off_both_and_leaves_enough_to_take_tokens_from(kind):
    depths = {}
    for share in (1, Fraction(1, 8), 0.5, 1e-6):
        config, _ = build_config(kind, share)
        depths[share] = (config.vision_config.num_hidden_layers, config.text_config.num_hidden_layers)
    assert depths == {1: (24, 32), Fraction(1, 8): (3, 4), 0.5: (12, 16), 1e-6: (2, 2)}


class Made(TorchDispatchMode):
    """Notes every tensor that has memory."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: list[tuple[torch.dtype, int]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor) and leaf.device.type != "meta":
                self.tensors.append((leaf.dtype, leaf.numel()))
        return made


@KINDS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_no_weight_is_ever_held_in_another_precision(narrow, kind, dtype):
    with Made() as made:
        model = build(kind, 1, "cpu", dtype).network
    assert {weight.dtype for weight in model.parameters()} == {dtype}
    assert max(size for kind_of, size in made.tensors if kind_of == dtype) == model.lm_head.weight.numel()
    others = [size for kind_of, size in made.tensors if kind_of != dtype]
    assert max(others) <= model.config.vision_config.hidden_size * 8  # positions and frequencies


@KINDS
def test_oracle_what_is_no_weight_is_as_transformers_computes_it(narrow, kind):
    config, _ = build_config(kind, 0.1)
    usual = TemporalVideoLlava(config) if kind == "original" else VideoLlavaForConditionalGeneration(config)
    expected = dict(usual.named_buffers())
    got = dict(build(kind, 0.1, "cpu", "float16").network.named_buffers())
    assert got.keys() == expected.keys()
    assert "model.language_model.rotary_emb.inv_freq" in got
    for name, value in expected.items():
        assert got[name].dtype == value.dtype
        assert torch.equal(got[name], value)


def test_the_weights_are_the_same_every_time(narrow):
    first, again, other = (dict(build("port", 0.1, "cpu", seed=seed).network.named_parameters()) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    name = "model.language_model.layers.0.mlp.down_proj.weight"
    assert not torch.equal(first[name], other[name])
    norm = "model.language_model.layers.0.input_layernorm.weight"
    assert torch.equal(first[norm], other[norm])
    assert bool((first[norm] == 1).all())


def packed_by(model: VideoModel, frames: int = 8, tokens: int = 4):
    pixels = torch.randint(0, 256, (frames, 3, 45, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seconds = tuple(float(i) for i in range(frames))
    features = model.encode(Frames(pixels=pixels, timestamps_seconds=seconds))
    plan = Plan(
        video_identity=None,
        budget=Budget(total_tokens=frames * tokens),
        timestamps_seconds=seconds,
        tokens_per_frame=(tokens,) * frames,
    )
    zipped = zip_frames(features, plan.tokens_per_frame)
    return pack_zipped(zipped, plan, timestamps_seconds=seconds, method="visionzip", tower=model.tower_fingerprint)


def check_half_precision_holds(model: VideoModel):
    packed = packed_by(model)
    assert packed.tokens.dtype == torch.float16
    with torch.no_grad():
        visual = model.project(packed)
        logits = model.network(inputs_embeds=model.embed(packed, QUESTIONS[0])).logits.float()
    for values in (packed.tokens.float(), visual.float(), logits):
        assert 0.1 < float(values.std()) < 20
        assert float(values.abs().max()) < 1000


@KINDS
def test_half_precision_holds_all_that_all_layers_make(narrow, kind):
    check_half_precision_holds(build(kind, 1, "cpu", "float16"))


@pytest.mark.slow
def test_half_precision_holds_all_that_full_widths_make():
    check_half_precision_holds(build("port", 1 / 16, "cpu", "float16"))


@KINDS
def test_it_is_asked_as_any_model_is(narrow, kind):
    model = build(kind, 0.1, "cpu")
    packed = packed_by(model)
    answers = [model.ask(packed, question, 12) for question in QUESTIONS]
    assert [answer.finish_reason for answer in answers] == ["length", "length"]
    session = model.session(packed)
    assert [session.ask(question, 12).text for question in QUESTIONS] == [answer.text for answer in answers]
    assert not any(answer.warnings for answer in answers)
    assert math.isfinite(answers[0].stage_seconds["prefill"])


def test_each_kind_has_its_own_ways(narrow):
    port, original = (build(kind, 0.1, "cpu") for kind in ("port", "original"))
    assert (port.sampling_policy, original.sampling_policy) == ("middle", "linspace")
    assert (port.frames_per_clip, original.frames_per_clip) == (1, 8)
    assert isinstance(original.tower, LanguageBindTower)
    assert isinstance(original.config, TemporalVideoLlavaConfig)
    assert isinstance(original.preprocessor, LanguageBindPreprocessor)
    assert isinstance(port.preprocessor, Preprocessor)
    assert port.config.vision_config._attn_implementation == "sdpa"
    assert port.config.text_config._attn_implementation == "sdpa"


def test_prompts_are_about_as_long_as_vicunas(narrow):
    # A token a word or mark, where Vicuna's splits a few words further.
    lengths = {kind: build(kind, 0.1, "cpu").family.prompt(QUESTIONS[0]).num_tokens for kind in ("port", "original")}
    assert lengths["port"] == 14  # <s> USER : What is the person in the video doing ? ASSISTANT :
    words = SYSTEM.replace(".", " .").replace(",", " ,").replace("'", " ' ").split()
    assert lengths["original"] == lengths["port"] + len(words)


def test_what_cannot_be_built_is_refused(monkeypatch, narrow):
    with pytest.raises(BadArgument, match="unknown kind 'hub'"):
        build("hub")
    for depth in (0, -1, 1.5, math.nan):
        with pytest.raises(BadArgument, match="depth is"):
            build("port", depth)
    with pytest.raises(BadArgument, match="unknown dtype 'int8'"):
        build("port", 0.1, "cpu", "int8")
    with pytest.raises(DeviceUnavailable, match="no device cuda:99"):
        build("port", 0.1, "cuda:99")

    def out_of_memory(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(full_size, "_draw_weights", out_of_memory)
    with pytest.raises(OutOfMemory, match="7B shape"):
        build("port", 0.1, "cpu")

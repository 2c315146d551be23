from __future__ import annotations

import dataclasses

import pytest
import torch

from vidzip import load
from vidzip.errors import BadArgument
from vidzip.models import full_size
from vidzip.models.memory import activation_bytes
from vidzip.planner import VIDEO_LLAVA_7B, Architecture
from vidzip.planner.shapes import BYTES_OF, FRAMES_AT_ONCE, ORIGINAL_7B, PORT_7B


@pytest.mark.parametrize(("kind", "ours"), [("port", PORT_7B), ("original", ORIGINAL_7B)])
def test_the_7b_models_are_as_their_configs_and_modules_say(kind, ours):
    config, _ = full_size.build_config(kind)
    assert Architecture.of(config.to_dict()) == ours
    model = full_size._skeleton(config)  # its modules without memory for their weights
    assert ours.num_weights == sum(weight.numel() for weight in model.parameters())
    for dtype in BYTES_OF:
        shape = ours.shape("some", dtype)
        assert shape.frame_bytes == activation_bytes(config.vision_config, getattr(torch, dtype))
        assert shape.weight_bytes == ours.num_weights * getattr(torch, dtype).itemsize


@pytest.mark.parametrize("name", ["tiny", "tiny-random"])
def test_small_models_are_as_they_load(name):
    model = load(name, device="cpu", dtype="float32")
    ours = Architecture.of(model.config.to_dict())
    shape = ours.shape(name, "float32")
    assert shape.weight_bytes == sum(weight.nbytes for weight in model.model.parameters())
    assert (shape.tokens_per_frame, shape.frames_per_clip) == (model.tokens_per_frame, model.frames_per_clip)
    assert shape.frames_at_once == model.frames_at_once
    seen = model.encoder.encode_shaped(torch.zeros(2, 3, 224, 224, dtype=torch.uint8), _Watch())
    assert 2 * shape.feature_bytes == sum(one.nbytes for one in (seen.hidden, seen.keys, seen.attention))
    assert shape.packed_width == seen.hidden.shape[-1]


class _Watch:
    """A stopwatch that nobody reads."""

    def stage(self, name):
        import contextlib

        return contextlib.nullcontext()


def test_the_7b_model_takes_what_is_known_of_it():
    shape = VIDEO_LLAVA_7B
    assert shape.frame_flop == pytest.approx(155e9, rel=0.005)  # 23 layers of ViT-L/14 at 224 pixels

    def prefill(tokens):
        return tokens * shape.token_flop + tokens**2 / 2 * shape.pair_flop

    assert prefill(2106) == pytest.approx(28.4e12, rel=0.005)
    assert prefill(186) == pytest.approx(2.42e12, rel=0.005)
    assert shape.token_bytes == 512 * 1024
    assert shape.frames_at_once == FRAMES_AT_ONCE["cuda"]


def test_clips_are_run_whole():
    assert ORIGINAL_7B.shape("some", "float16", 20).frames_at_once == 16
    assert ORIGINAL_7B.shape("some", "float16", 3).frames_at_once == 8
    assert ORIGINAL_7B.shape("some", "float16").frame_flop > PORT_7B.shape("some", "float16").frame_flop


def test_a_layer_may_be_counted_from_either_end():
    config, _ = full_size.build_config()
    settings = config.to_dict()
    assert Architecture.of({**settings, "vision_feature_layer": 23}).tower_layers_run == 23
    assert Architecture.of({**settings, "vision_feature_layer": -1}).tower_layers_run == 24


def test_shared_keys_and_tied_words_take_less():
    fewer = dataclasses.replace(PORT_7B, key_value_heads=8)
    assert fewer.shape("some", "float16").token_bytes * 4 == VIDEO_LLAVA_7B.token_bytes
    tied = dataclasses.replace(PORT_7B, is_tied=True)
    assert PORT_7B.num_weights - tied.num_weights == 32064 * 4096


@pytest.mark.parametrize("config", [{}, {"vision_config": {}, "text_config": {}, "vision_feature_layer": -2}, {"a": 1}])
def test_a_config_without_numbers_is_refused(config):
    with pytest.raises(BadArgument, match="tells no Video-LLaVA's shape"):
        Architecture.of(config)


def test_several_layers_and_unknown_precisions_are_refused():
    config, _ = full_size.build_config()
    with pytest.raises(BadArgument, match="tells no Video-LLaVA's shape"):
        Architecture.of({**config.to_dict(), "vision_feature_layer": [-2, -5]})
    with pytest.raises(BadArgument, match="unknown dtype 'float8'"):
        PORT_7B.shape("some", "float8")

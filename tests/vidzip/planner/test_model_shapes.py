from __future__ import annotations

import dataclasses

import pytest
import torch

from vidzip import Frames, load
from vidzip.errors import BadArgument
from vidzip.models import full_size
from vidzip.models.memory import activation_bytes
from vidzip.planner import VIDEO_LLAVA_7B, Architecture
from vidzip.planner.model_shapes import BYTES_OF, FRAMES_AT_ONCE, ORIGINAL_7B, PORT_7B


@pytest.mark.parametrize(("kind", "ours"), [("port", PORT_7B), ("original", ORIGINAL_7B)])
def test_the_7b_models_match_their_configs_and_modules(kind, ours):
    config, _ = full_size.build_config(kind)
    assert Architecture.from_config(config.to_dict()) == ours
    model = full_size._build_on_meta(config)
    assert ours.num_weights == sum(weight.numel() for weight in model.parameters())
    for dtype in BYTES_OF:
        shape = ours.model_shape("some", dtype)
        assert shape.frame_bytes == activation_bytes(
            config.vision_config, shape.tokens_per_frame, getattr(torch, dtype)
        )
        assert shape.weight_bytes == ours.num_weights * getattr(torch, dtype).itemsize


@pytest.mark.parametrize("name", ["tiny", "tiny-random"])
def test_small_models_match_what_is_loaded(name):
    model = load(name, device="cpu", dtype="float32")
    ours = Architecture.from_config(model.config.to_dict())
    shape = ours.model_shape(name, "float32")
    assert shape.weight_bytes == sum(weight.nbytes for weight in model.network.parameters())
    assert (shape.tokens_per_frame, shape.frames_per_clip) == (model.tokens_per_frame, model.frames_per_clip)
    assert shape.frames_at_once == model.batch_frames
    seen = model.encode(Frames(pixels=torch.zeros(2, 3, 224, 224, dtype=torch.uint8), timestamps_seconds=(0.0, 1.0)))
    held = (seen.patches, seen.keys, seen.scores)  # their memory also holds what belongs to CLS
    assert 2 * shape.feature_bytes == sum(one.untyped_storage().nbytes() for one in held)
    assert shape.packed_width == seen.patches.shape[-1]


def test_the_flop_and_bytes_of_the_7b_model_match_published_numbers():
    shape = VIDEO_LLAVA_7B
    assert shape.frame_flop == pytest.approx(155e9, rel=0.005)  # 23 layers of ViT-L/14 at 224 pixels

    def prefill(tokens):
        return tokens * shape.token_flop + tokens**2 / 2 * shape.pair_flop

    assert prefill(2106) == pytest.approx(28.4e12, rel=0.005)
    assert prefill(186) == pytest.approx(2.42e12, rel=0.005)
    assert shape.token_bytes == 512 * 1024
    assert shape.frames_at_once == FRAMES_AT_ONCE["cuda"]


def test_batches_are_whole_clips():
    assert ORIGINAL_7B.model_shape("some", "float16", 20).frames_at_once == 16
    assert ORIGINAL_7B.model_shape("some", "float16", 3).frames_at_once == 8
    assert ORIGINAL_7B.model_shape("some", "float16").frame_flop > PORT_7B.model_shape("some", "float16").frame_flop


def test_the_feature_layer_may_be_negative():
    config, _ = full_size.build_config()
    settings = config.to_dict()
    assert Architecture.from_config({**settings, "vision_feature_layer": 23}).vision_layers_run == 23
    assert Architecture.from_config({**settings, "vision_feature_layer": -1}).vision_layers_run == 24


def test_grouped_queries_and_tied_embeddings_take_less():
    fewer = dataclasses.replace(PORT_7B, key_value_heads=8)
    assert fewer.model_shape("some", "float16").token_bytes * 4 == VIDEO_LLAVA_7B.token_bytes
    tied = dataclasses.replace(PORT_7B, tie_word_embeddings=True)
    assert PORT_7B.num_weights - tied.num_weights == 32064 * 4096


@pytest.mark.parametrize("config", [{}, {"vision_config": {}, "text_config": {}, "vision_feature_layer": -2}, {"a": 1}])
def test_an_incomplete_config_is_refused(config):
    with pytest.raises(BadArgument, match="the config"):
        Architecture.from_config(config)


def test_several_layers_and_unknown_precisions_are_refused():
    config, _ = full_size.build_config()
    with pytest.raises(BadArgument, match="the config"):
        Architecture.from_config({**config.to_dict(), "vision_feature_layer": [-2, -5]})
    with pytest.raises(BadArgument, match="unknown dtype 'float8'"):
        PORT_7B.model_shape("some", "float8")

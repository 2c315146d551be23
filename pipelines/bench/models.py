"""The measured models: the built-in one, and others with random weights in published or chosen shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

import vidzip
from pipelines.bench.measuring import REFERENCE_DTYPE
from pipelines.bench.published import with_eager_attention
from pipelines.bench.settings import TOWER_ONLY, BenchSettings
from pipelines.bench.variants import MeasuredModel
from vidzip import VideoModel
from vidzip.models.full_size import QUESTIONS, build, build_config
from vidzip.models.memory import batch_frames, memory_errors, tower_memory_bytes
from vidzip.models.placing import find_dtype
from vidzip.models.small import PREPROCESSOR
from vidzip.models.video_llava import VideoLlava

MINI_TOWER = {
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_attention_heads": 4,
    "num_hidden_layers": 7,
}
MINI_LANGUAGE_MODEL = {
    "hidden_size": 1024,
    "intermediate_size": 2752,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "num_hidden_layers": 9,
    "vocab_size": 2004,
}
"""A quarter of 7B's widths, with heads of the same width, and about two sevenths of its layers: 6 of 23 used tower layers and
9 of 32 language model layers. A frame in the tower takes 10.9 times the operations of a prompt token among 2,100 others in
the language model; at 7B, 11.5 times. By operation count, the first token of 128 frames in 136 tokens takes 0.70 of that of 8
uncompressed frames, and 0.75 at 7B, since attention weighs more in narrow layers. The vocabulary is a sixteenth, so that the
head has the same share of a new token's work.
"""

_NO_LANGUAGE_MODEL = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "num_hidden_layers": 1,
    "vocab_size": 256,
    "head_dim": 64,
}
"""The smallest language model, which is not used."""


def build_models(settings: BenchSettings, device: torch.device) -> dict[str, MeasuredModel]:
    """Build the model in every precision; the tower's weights are those of the most precise one, rounded.

    Args:
        settings: the model and its precisions.
        device: the device of all of them.

    Returns:
        The models by precision.

    Raises:
        OutOfMemory: the device cannot hold them.
    """
    build_one = _BUILDERS[settings.size]
    reference = REFERENCE_DTYPE if REFERENCE_DTYPE in settings.dtypes else settings.dtypes[0]
    models: dict[str, VideoModel] = {}
    with memory_errors(f"the model {settings.size} in {', '.join(settings.dtypes)}"), torch.no_grad():
        for dtype in (reference, *settings.dtypes):
            if dtype not in models:
                models[dtype] = build_one(device, find_dtype(dtype, device))
                towers = (models[name].tower.parameters() for name in (dtype, reference))
                for weight, original in zip(*towers, strict=True):
                    weight.copy_(original)
    models = {
        dtype: replace(
            model,
            max_batch_frames=settings.batch or batch_frames(device),
            tower_memory_bytes=tower_memory_bytes(device),
            compile_tower=settings.compile_tower,
        )
        for dtype, model in models.items()
    }
    question = "What is the color of the star?" if settings.size == "tiny" else QUESTIONS[0]
    return {
        dtype: MeasuredModel(
            model=models[dtype],
            eager_tower=with_eager_attention(models[dtype].tower),
            question=question if settings.has_language_model else None,
        )
        for dtype in settings.dtypes
    }


def _tiny(device: torch.device, dtype: torch.dtype) -> VideoModel:
    return vidzip.load("tiny", device=device, dtype=dtype)


def _mini(device: torch.device, dtype: torch.dtype) -> VideoModel:
    return _with_shape("mini", MINI_TOWER, MINI_LANGUAGE_MODEL, device, dtype)


def _l14(device: torch.device, dtype: torch.dtype) -> VideoModel:
    return _with_shape("ViT-L/14", {}, _NO_LANGUAGE_MODEL, device, dtype)


def _7b(device: torch.device, dtype: torch.dtype) -> VideoModel:
    return build("port", 1, device, dtype)


_BUILDERS: dict[str, Callable[[torch.device, torch.dtype], VideoModel]] = {
    "tiny": _tiny,
    "mini": _mini,
    TOWER_ONLY: _l14,
    "7b": _7b,
}


def _with_shape(
    name: str, vision: dict[str, int], text: dict[str, int], device: torch.device, dtype: torch.dtype
) -> VideoModel:
    """Build a model like 7B with other sizes and fixed random weights.

    Rows of matrices have a norm of about 1, so that layers preserve the scale of their input.
    """
    config, tokenizer = build_config("port")
    for part, sizes in ((config.vision_config, vision), (config.text_config, text)):
        for key, size in sizes.items():
            setattr(part, key, size)
    network_type: Any = type(vidzip.load("tiny-random", device="cpu").network)  # transformers' class
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = network_type(config)
        network.model.image_tower = network.model.video_tower  # videos use one of them only
        for weight in network.parameters():
            if weight.ndim > 1:
                weight.normal_(std=weight[0].numel() ** -0.5)
            weight.data = weight.data.to(dtype)  # buffers keep their precision
        network.lm_head.weight[tokenizer.eos_token_id] = 0  # never the most likely token: answers do not end
        network = network.to(device).eval()
    return VideoModel(name=name, family=VideoLlava(network=network, tokenizer=tokenizer, preprocessor=PREPROCESSOR))

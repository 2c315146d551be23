"""The models that are measured: one that ships, and others of random weights in published or chosen shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

import vidzip
from pipelines.bench.measuring import REFERENCE
from pipelines.bench.published import eager
from pipelines.bench.settings import TOWER_ALONE, Settings
from pipelines.bench.ways import Subject
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
"""A quarter of 7B's widths, with heads as wide as there, and about two sevenths of its layers: 6 of the tower's are
run where 23 are there, and there are 9 of the language model's where there are 32. So a frame's way through the tower
takes 10.9 times the products and sums of a prompt token's way through the language model, beside 2,100 others; at 7B it
is 11.5 times. By arithmetic, the first token of 128 frames in 136 tokens takes 0.70 of that of 8 full frames, and 0.75
at 7B: attention weighs more where layers are narrow. The vocabulary is a sixteenth, so that its head has the same part
of a new token's work.
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
"""The least there can be, which nothing is asked of."""


def make_subjects(settings: Settings, device: torch.device) -> dict[str, Subject]:
    """Build a model in every precision; the tower's weights are those of the widest one, rounded.

    Args:
        settings: which model, and its precisions.
        device: where all of them are.

    Returns:
        The models, by precision.

    Raises:
        OutOfMemory: the device cannot hold them.
    """
    make = _MAKERS[settings.size]
    widest = REFERENCE if REFERENCE in settings.dtypes else settings.dtypes[0]
    made: dict[str, VideoModel] = {}
    with memory_errors(f"the model {settings.size} in {', '.join(settings.dtypes)}"), torch.no_grad():
        for dtype in (widest, *settings.dtypes):
            if dtype not in made:
                made[dtype] = make(device, find_dtype(dtype, device))
                towers = (made[one].tower.parameters() for one in (dtype, widest))
                for weight, original in zip(*towers, strict=True):
                    weight.copy_(original)
    made = {
        dtype: replace(
            model,
            max_batch_frames=settings.batch or batch_frames(device),
            tower_memory_bytes=tower_memory_bytes(device),
            compile_tower=settings.compile_tower,
        )
        for dtype, model in made.items()
    }
    question = "What is the color of the star?" if settings.size == "tiny" else QUESTIONS[0]
    return {
        dtype: Subject(model=made[dtype], eager=eager(made[dtype].tower), question=question if settings.asks else None)
        for dtype in settings.dtypes
    }


def _tiny(device: torch.device, dtype: torch.dtype) -> VideoModel:
    return vidzip.load("tiny", device=device, dtype=dtype)


def _mini(device: torch.device, dtype: torch.dtype) -> VideoModel:
    return _of_shape("mini", MINI_TOWER, MINI_LANGUAGE_MODEL, device, dtype)


def _l14(device: torch.device, dtype: torch.dtype) -> VideoModel:
    return _of_shape("ViT-L/14", {}, _NO_LANGUAGE_MODEL, device, dtype)


def _7b(device: torch.device, dtype: torch.dtype) -> VideoModel:
    return build("port", 1, device, dtype)


_MAKERS: dict[str, Callable[[torch.device, torch.dtype], VideoModel]] = {
    "tiny": _tiny,
    "mini": _mini,
    TOWER_ALONE: _l14,
    "7b": _7b,
}


def _of_shape(
    name: str, vision: dict[str, int], text: dict[str, int], device: torch.device, dtype: torch.dtype
) -> VideoModel:
    """Build a model of 7B's kind with other numbers, the same random weights every time.

    Matrices have rows of about length one, so that what a layer makes is about as large as what it is given.
    """
    config, tokenizer = build_config("port")
    for part, numbers in ((config.vision_config, vision), (config.text_config, text)):
        for key, number in numbers.items():
            setattr(part, key, number)
    kind: Any = type(vidzip.load("tiny-random", device="cpu").network)  # transformers' own, whatever its weights
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = kind(config)
        model.model.image_tower = model.model.video_tower  # one of them is of no use to a video
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=weight[0].numel() ** -0.5)
            weight.data = weight.data.to(dtype)  # weights alone: positions and frequencies stay as they are
        model.lm_head.weight[tokenizer.eos_token_id] = 0  # no answer ends by itself: it is never the most likely
        model = model.to(device).eval()
    return VideoModel(name=name, family=VideoLlava(network=model, tokenizer=tokenizer, preprocessor=PREPROCESSOR))

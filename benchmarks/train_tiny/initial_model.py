"""The small Video-LLaVA before training: its architecture and initial weights; and how a trained one is saved.

Classes, picture size, patches and token counts are the real model's; only widths and depths are small.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, VideoLlavaConfig
from transformers import VideoLlavaForConditionalGeneration as Model

from vidzip.models.saving import system_errors
from vidzip.models.small import PREPROCESSOR, build_config, build_word_tokenizer


def build_initial_model(words: Sequence[str], seed: int) -> tuple[Model, PreTrainedTokenizerFast]:
    """Build the model with random weights, and its tokenizer of whole words.

    Args:
        words: the words of all questions and answers, in lower case; every other word is unknown to the model.
        seed: seed of the random weights.
    """
    tokenizer = build_word_tokenizer(words)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Model(_config(tokenizer))
        _place_patches(model.get_parameter("model.video_tower.embeddings.position_embedding.weight"))
        _attend_to_likeness(model.get_submodule("model.video_tower"), gain=1.4)
        _attend_to_likeness(model.get_submodule("model.language_model"), gain=1.2)
        nn.init.normal_(
            model.get_parameter("model.language_model.embed_tokens.weight"), std=0.09
        )  # words about as long as a layer's output
    return model, tokenizer


def _config(tokenizer: PreTrainedTokenizerFast) -> VideoLlavaConfig:
    return build_config(
        tokenizer,
        vision={
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 6,  # Video-LLaVA reads the last but one: five of them are trained
            "hidden_act": "gelu",  # as LanguageBind's towers; a fused kernel, where CLIP's own quick_gelu is three
        },
        text={
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            # Most of a head turns so slowly that words find their patches over thousands of tokens.
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        },
    )


def _place_patches(positions: Tensor) -> None:
    """Start the position embedding as waves over both axes: patches see where they are before anything is learnt."""
    side, quarter = math.isqrt(len(positions) - 1), positions.shape[1] // 4
    frequencies = math.pi / side * (side / 2) ** torch.linspace(0, 1, quarter)
    angles = torch.arange(side)[:, None] * frequencies
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    down, across = waves[:, None].expand(-1, side, -1), waves[None].expand(side, -1, -1)
    with torch.no_grad():
        positions[1:] = torch.cat([down, across], dim=-1).flatten(0, 1) * 0.5
        positions[0] = 0


def _attend_to_likeness(transformer: nn.Module, gain: float) -> None:
    """Start queries and keys as one projection: a token attends to what is near and like it from the first step on.

    After Trockman and Kolter, "Mimetic Initialization of Self-Attention Layers" (2023): small models learn in far
    fewer steps so.
    """
    with torch.no_grad():
        for name, module in transformer.named_modules():
            if name.endswith("self_attn"):
                query = module.get_parameter("q_proj.weight")
                nn.init.orthogonal_(query, gain=gain)
                module.get_parameter("k_proj.weight").copy_(query)


def save(model: Model, tokenizer: PreTrainedTokenizerFast, folder: str | os.PathLike[str], card: str) -> None:
    """Write a checkpoint in half precision, with what :func:`vidzip.load` wants beside it.

    Args:
        model: trained; the image tower takes over the video tower's weights.
        tokenizer: the model's.
        folder: new or empty.
        card: the model card, Markdown.

    Raises:
        OSError: it cannot be written.
    """
    half = Model(model.config).half()
    half.load_state_dict({name: weight.half() for name, weight in model.state_dict().items()})
    half.get_submodule("model.image_tower").load_state_dict(half.get_submodule("model.video_tower").state_dict())
    with system_errors():
        half.save_pretrained(folder)
    place = Path(folder)
    shutil.copymode(place / "config.json", place / "model.safetensors")  # safetensors lets the owner alone read them
    tokenizer.save_pretrained(place)
    settings = json.dumps(PREPROCESSOR.to_config(), indent=1)
    (place / "preprocessor_config.json").write_text(settings + "\n", encoding="utf-8")
    (place / "README.md").write_text(card, encoding="utf-8")

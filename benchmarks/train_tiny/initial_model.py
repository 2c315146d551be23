"""The architecture and initial weights of ``tiny``, and how the trained model is saved.

Classes, picture size, patches and token counts are Video-LLaVA's; only widths and depths are small.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, VideoLlavaConfig
from transformers import VideoLlavaForConditionalGeneration as Model

from vidzip.models.checkpoint import quiet_libraries
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
        _init_positions(model.get_parameter("model.video_tower.embeddings.position_embedding.weight"))
        _init_attention(model.get_submodule("model.video_tower"), gain=1.4)
        _init_attention(model.get_submodule("model.language_model"), gain=1.2)
        # Word embeddings about as long as a layer's output.
        nn.init.normal_(model.get_parameter("model.language_model.embed_tokens.weight"), std=0.09)
    return model, tokenizer


def _config(tokenizer: PreTrainedTokenizerFast) -> VideoLlavaConfig:
    return build_config(
        tokenizer,
        vision={
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 6,  # Video-LLaVA reads the second to last: five are trained
            "hidden_act": "gelu",  # as in LanguageBind's towers; one fused kernel, CLIP's quick_gelu is three
        },
        text={
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            # Most dimensions of a head rotate slowly, so that words attend to patches thousands of tokens away.
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        },
    )


def _init_positions(positions: Tensor) -> None:
    """Initialise the position embedding with 2D sinusoids, so that positions are distinct before training."""
    side, quarter = math.isqrt(len(positions) - 1), positions.shape[1] // 4
    frequencies = math.pi / side * (side / 2) ** torch.linspace(0, 1, quarter)
    angles = torch.arange(side)[:, None] * frequencies
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    vertical, horizontal = waves[:, None].expand(-1, side, -1), waves[None].expand(side, -1, -1)
    with torch.no_grad():
        positions[1:] = torch.cat([vertical, horizontal], dim=-1).flatten(0, 1) * 0.5
        positions[0] = 0


def _init_attention(transformer: nn.Module, gain: float) -> None:
    """Initialise queries and keys with the same projection, so that similar and nearby tokens attend to each other.

    After Trockman and Kolter, "Mimetic Initialization of Self-Attention Layers" (2023): small models then need far
    fewer steps.
    """
    with torch.no_grad():
        for name, module in transformer.named_modules():
            if name.endswith("self_attn"):
                query = module.get_parameter("q_proj.weight")
                nn.init.orthogonal_(query, gain=gain)
                module.get_parameter("k_proj.weight").copy_(query)


def save(model: Model, tokenizer: PreTrainedTokenizerFast, folder: str, card: str) -> None:
    """Write a checkpoint in half precision; its image tower gets the video tower's weights.

    Args:
        model: the trained model.
        tokenizer: its tokenizer.
        folder: new or empty.
        card: the model card, Markdown.

    Raises:
        OSError: the folder cannot be written.
    """
    state = model.state_dict()
    half = Model(model.config).half()
    half.load_state_dict({name: state[name.replace("image_tower", "video_tower")].half() for name in state})
    with quiet_libraries(), system_errors():
        half.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    place = Path(folder)
    shutil.copymode(
        place / "config.json", place / "model.safetensors"
    )  # safetensors makes it readable by its owner only
    settings = json.dumps(PREPROCESSOR.to_config(), indent=1)
    (place / "preprocessor_config.json").write_text(settings + "\n", encoding="utf-8")
    (place / "README.md").write_text(card, encoding="utf-8")

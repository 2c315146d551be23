"""A model with the shape of Video-LLaVA-7B and random weights, to measure speed and memory without a download.

Weights are drawn on the device in their final precision: in half precision the model takes 14.7 GB of the device and no
host memory. That includes 0.6 GB for the image tower, which videos do not use, but checkpoints contain.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal, get_args

import torch
from torch import nn
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    PreTrainedTokenizerBase,
    VideoLlavaConfig,
    VideoLlavaForConditionalGeneration,
)
from transformers.models.clip.modeling_clip import CLIPVisionEmbeddings
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from vidzip.errors import BadArgument
from vidzip.models.family import ModelFamily
from vidzip.models.memory import batch_frames, memory_errors, tower_memory_bytes
from vidzip.models.model import VideoModel
from vidzip.models.placing import find_device, find_dtype
from vidzip.models.small import PREPROCESSOR, build_word_tokenizer
from vidzip.models.video_llava import VideoLlava
from vidzip.models.video_llava_original import (
    KNOWN_TOWERS,
    SYSTEM,
    OriginalVideoLlava,
    TemporalVideoLlava,
    TemporalVideoLlavaConfig,
    original_preprocessor,
)

Kind = Literal["port", "original"]

QUESTIONS = (
    "What is the person in the video doing?",
    "Where does it take place, and how many people are there?",
)
"""Questions whose words are in the vocabulary; every other word is one unknown token."""

_TOWER = KNOWN_TOWERS["LanguageBind_Video_merge"]
_TIME = ("add_time_attn", "num_frames")

_VICUNA: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
"""Shape of Vicuna-7B v1.5."""

_PORT_VOCABULARY = 32064
"""Vicuna's vocabulary with the port's three markers, rounded up to a multiple of 64."""

_MIN_LAYERS = 2
"""Features come from the second to last layer."""


def build(
    kind: Kind = "port",
    depth: Fraction | float = 1,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    *,
    seed: int = 0,
) -> VideoModel:
    """Build the model; weights are the same every time on the same kind of device.

    A word is one token, as common words are for Vicuna, so that prompts have about the same length. Answers do not end
    before ``max_new_tokens``.

    Args:
        kind: ``"port"`` for transformers' model, ``"original"`` for the one with temporal attention in its tower.
        depth: share of the layers of tower and language model to build, above 0 and up to 1; widths do not change.
        device, dtype: as in :func:`vidzip.load`.
        seed: seed of the weights.

    Raises:
        BadArgument: the kind, device or dtype is unknown, or the depth is out of range.
        DeviceUnavailable: the device is not available.
        OutOfMemory: the device cannot hold the weights.
    """
    config, tokenizer = build_config(kind, depth)
    where = find_device(device)
    model = _build_on_meta(config)
    with memory_errors("a model of 7B shape"), torch.no_grad():
        _draw_weights(model, where, find_dtype(dtype, where), seed)
        _compute_buffers(model, where)
        model.lm_head.weight[tokenizer.eos_token_id] = 0  # never the most likely token
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, do_sample=False)
    model = model.eval()
    family: ModelFamily
    if kind == "original":
        family = OriginalVideoLlava(network=model, tokenizer=tokenizer, preprocessor=original_preprocessor(config))
    else:
        family = VideoLlava(network=model, tokenizer=tokenizer, preprocessor=PREPROCESSOR)
    return VideoModel(
        name=f"full-size {kind}",
        family=family,
        max_batch_frames=batch_frames(where),
        tower_memory_bytes=tower_memory_bytes(where),
    )


def build_config(kind: Kind = "port", depth: Fraction | float = 1) -> tuple[VideoLlavaConfig, PreTrainedTokenizerBase]:
    """Build the config of Vicuna-7B and ViT-L/14 at 224 pixels, and the tokenizer.

    Raises:
        BadArgument: the kind is unknown, or the depth is not above 0 and up to 1.
    """
    if kind not in get_args(Kind):
        raise BadArgument(f"unknown kind {kind!r}", hint=f"use {' or '.join(get_args(Kind))}")
    if not 0 < depth <= 1:
        raise BadArgument(f"depth is {depth}", hint="give a share above 0 and up to 1, such as 0.125")
    is_temporal = kind == "original"
    tokenizer = build_word_tokenizer(re.findall(r"\w+|[^\w\s]+", " ".join([SYSTEM, *QUESTIONS]).lower()))
    markers = tokenizer.get_vocab()
    tower: dict[str, Any] = {name: value for name, value in _TOWER.items() if is_temporal or name not in _TIME}
    text = dict(_VICUNA)
    if not is_temporal:
        tower["hidden_act"] = "quick_gelu"  # as in the port's config; LanguageBind's towers have GELU
        text["vocab_size"] = _PORT_VOCABULARY
    for settings in (tower, text):
        settings["num_hidden_layers"] = max(_MIN_LAYERS, round(settings["num_hidden_layers"] * depth))
    make: Callable[..., VideoLlavaConfig] = TemporalVideoLlavaConfig if is_temporal else VideoLlavaConfig
    config = make(
        vision_config=CLIPVisionConfig(**tower),
        text_config=LlamaConfig(
            **text,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        image_token_index=markers["<image>"],
        video_token_index=markers["<video>"],
        projector_hidden_act="gelu",
        vision_feature_layer=-2,
        tie_word_embeddings=False,
    )
    return config, tokenizer


def _build_on_meta(config: VideoLlavaConfig) -> Any:
    """Build the modules without allocating parameters and buffers."""
    with torch.device("meta"):
        if isinstance(config, TemporalVideoLlavaConfig):
            return TemporalVideoLlava(config)
        return VideoLlavaForConditionalGeneration(config)


def _draw_weights(model: nn.Module, device: torch.device, dtype: torch.dtype, seed: int) -> None:
    """Draw every weight in place: ones for norms, zeros for biases, and rows with a norm of about 1 elsewhere.

    Layers then preserve the scale of their input, and half precision does not overflow.
    """
    generator = torch.Generator(device).manual_seed(seed)
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            weight = torch.empty(parameter.shape, dtype=dtype, device=device)
            if name == "bias":
                weight.zero_()
            elif name == "weight" and weight.ndim == 1:
                weight.fill_(1)
            else:
                weight.normal_(std=(len(weight) / weight.numel()) ** 0.5, generator=generator)
            setattr(module, name, nn.Parameter(weight))


def _compute_buffers(model: nn.Module, device: torch.device) -> None:
    """Compute the buffers, positions and rotary frequencies, in float32.

    Unknown buffers stay on the meta device, so that using them is an error.
    """
    for module in model.modules():
        if isinstance(module, LlamaRotaryEmbedding):
            for name, value in LlamaRotaryEmbedding(module.config).named_buffers():
                module.register_buffer(name, value.to(device), persistent=False)
        elif isinstance(module, CLIPVisionEmbeddings):
            positions = torch.arange(module.num_positions, device=device)[None]
            module.register_buffer("position_ids", positions, persistent=False)

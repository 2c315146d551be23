"""A plain reference of LanguageBind's video tower: one clip, one position, one head at a time."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vidzip.encoders import LanguageBindTower, languagebind_tower


def tower_config(num_frames: int, **changes: Any) -> dict[str, Any]:
    """The config of a tower with 17 tokens per frame, with some other keys of the published ones."""
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": 56,
        "patch_size": 14,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "add_time_attn": True,
        "num_frames": num_frames,
        "lora_r": 2,
        "video_decode_backend": "decord",
    } | changes


def random_weights(config: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """Weights large enough that attention is not uniform, and every part of the tower affects its output."""
    rng = torch.Generator().manual_seed(seed)
    size, mlp, patch = (config[name] for name in ("hidden_size", "intermediate_size", "patch_size"))
    positions = (config["image_size"] // patch) ** 2 + 1
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.class_embedding": (size,),
        "embeddings.patch_embedding.weight": (size, 3, patch, patch),
        "embeddings.position_embedding.weight": (positions, size),
    }
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layers.{layer}"
        shapes[f"{name}.temporal_embedding"] = (1, config["num_frames"], size)
        for attention in ("self_attn", "temporal_attn"):
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                shapes |= _linear(f"{name}.{attention}.{part}", size, size)
        shapes |= _linear(f"{name}.mlp.fc1", size, mlp) | _linear(f"{name}.mlp.fc2", mlp, size)
        for norm in ("temporal_layer_norm1", "layer_norm1", "layer_norm2"):
            shapes |= _norm(f"{name}.{norm}", size)
    shapes |= _norm("pre_layrnorm", size) | _norm("post_layernorm", size)
    return {name: torch.randn(shape, generator=rng) * 0.3 for name, shape in shapes.items()}


def _linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def random_languagebind(num_frames: int, **changes: Any) -> LanguageBindTower:
    config = tower_config(num_frames, **changes)
    return languagebind_tower(config, random_weights(config))


def plain_languagebind(config: dict[str, Any], weights: dict[str, Tensor], pixels: Tensor) -> list[Tensor]:
    """Encode frames, (F, 3, H, W), in float64.

    Returns:
        The input of the first layer and the output of each, (F, S, D) each.
    """
    wide = {name: weight.double() for name, weight in weights.items()}
    frames = [_embed(config, wide, picture) for picture in pixels.double()]
    states = [torch.stack(frames)]
    for layer in range(config["num_hidden_layers"]):
        part = {
            name.removeprefix(f"encoder.layers.{layer}."): weight
            for name, weight in wide.items()
            if name.startswith(f"encoder.layers.{layer}.")
        }
        length = config["num_frames"]
        clips = [frames[start : start + length] for start in range(0, len(frames), length)]
        frames = [
            _attend_over_picture(config, part, frame)
            for clip in clips
            for frame in _attend_over_time(config, part, clip)
        ]
        states.append(torch.stack(frames))
    return states


def _embed(config: dict[str, Any], weights: dict[str, Tensor], picture: Tensor) -> Tensor:
    side, patch = config["image_size"], config["patch_size"]
    kernel = weights["embeddings.patch_embedding.weight"].flatten(1)
    tokens = [weights["embeddings.class_embedding"]]
    for top in range(0, side, patch):
        row = picture[:, top : top + patch].split(patch, dim=-1)
        tokens += [kernel @ square.flatten() for square in row]
    tokens = torch.stack(tokens) + weights["embeddings.position_embedding.weight"]
    return _normed(tokens, weights, "pre_layrnorm", config)


def _attend_over_time(config: dict[str, Any], part: dict[str, Tensor], clip: list[Tensor]) -> list[Tensor]:
    """Let each position of the picture attend to the same position in all frames of the clip."""
    positions = []
    for position in range(len(clip[0])):
        moments = torch.stack([frame[position] for frame in clip])  # (t, D)
        if len(clip) > 1:
            moments = moments + part["temporal_embedding"][0]
        normed = _normed(moments, part, "temporal_layer_norm1", config)
        positions.append(moments + _attended(normed, part, "temporal_attn", config))
    return [torch.stack([moments[moment] for moments in positions]) for moment in range(len(clip))]


def _attend_over_picture(config: dict[str, Any], part: dict[str, Tensor], frame: Tensor) -> Tensor:
    """Attend over the picture, then run the MLP, as in CLIP."""
    frame = frame + _attended(_normed(frame, part, "layer_norm1", config), part, "self_attn", config)
    inner = _projected(_normed(frame, part, "layer_norm2", config), part, "mlp.fc1")
    inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
    return frame + _projected(inner, part, "mlp.fc2")


def _attended(tokens: Tensor, part: dict[str, Tensor], name: str, config: dict[str, Any]) -> Tensor:
    queries, keys, values = (_projected(tokens, part, f"{name}.{kind}_proj") for kind in "qkv")
    width = config["hidden_size"] // config["num_attention_heads"]
    heads = []
    for start in range(0, config["hidden_size"], width):
        mine = slice(start, start + width)
        weights = (queries[:, mine] @ keys[:, mine].T / math.sqrt(width)).softmax(dim=-1)
        heads.append(weights @ values[:, mine])
    return _projected(torch.cat(heads, dim=-1), part, f"{name}.out_proj")


def _projected(tokens: Tensor, part: dict[str, Tensor], name: str) -> Tensor:
    return tokens @ part[f"{name}.weight"].T + part[f"{name}.bias"]


def _normed(tokens: Tensor, part: dict[str, Tensor], name: str, config: dict[str, Any]) -> Tensor:
    centred = tokens - tokens.mean(dim=-1, keepdim=True)
    deviation = (centred.square().mean(dim=-1, keepdim=True) + config["layer_norm_eps"]).sqrt()
    return centred / deviation * part[f"{name}.weight"] + part[f"{name}.bias"]

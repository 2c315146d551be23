"""VisionZip in the order of its published code, for comparison; written from its description (arXiv 2412.04467).

The tower uses eager attention, runs all layers, and keeps every layer's attention maps and output; tokens are selected
afterwards. The tokens equal those of :func:`vidzip.compress.visionzip`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vidzip import token_split


def with_eager_attention(tower: Any) -> nn.Module:
    """Return a copy of a tower that shares its weights and uses eager attention, which returns maps."""
    eager = copy.deepcopy(tower, {id(weight): weight for weight in tower.parameters()})
    eager.set_attn_implementation("eager")
    return eager  # type: ignore[no-any-return] # a copy of a module


@dataclass(frozen=True, kw_only=True, eq=False)
class TowerOutput:
    """Output of all layers of a tower, and the keys of the feature layer.

    Attributes:
        hidden_states: the embeddings and each layer's output, (F, S, D) each.
        attentions: each layer's attention maps, (F, heads, S, S) each.
        keys: keys of the feature layer, all heads concatenated, (F, S, D).
    """

    hidden_states: tuple[Float[Tensor, "frames tokens dim"], ...]
    attentions: tuple[Float[Tensor, "frames heads tokens tokens"], ...]
    keys: Float[Tensor, "frames tokens dim"]


def run_tower(tower: nn.Module, pixel_values: Float[Tensor, "frames 3 side side"], layer: int) -> TowerOutput:
    """Run all layers of a tower and keep their output.

    Args:
        tower: made by :func:`with_eager_attention`.
        pixel_values: preprocessed frames.
        layer: the feature layer, negative from the end.
    """
    keys: list[Tensor] = []
    k_proj = tower.get_submodule("encoder.layers")[layer].get_submodule("self_attn.k_proj")  # type: ignore[index] # a list
    handle = k_proj.register_forward_hook(lambda *call: keys.append(call[2]))
    try:
        with torch.no_grad():
            output = tower(pixel_values, output_attentions=True, output_hidden_states=True)
    finally:
        handle.remove()
    return TowerOutput(hidden_states=output.hidden_states, attentions=output.attentions, keys=keys[0])


def compress(output: TowerOutput, layer: int, tokens_per_frame: Sequence[int]) -> Float[Tensor, "kept dim"]:
    """Select and merge the tokens of each frame; frames with equal counts are batched.

    Args:
        output: of F frames.
        layer: the feature layer, as in :func:`run_tower`.
        tokens_per_frame: tokens to keep of each frame, 1 or more, (F,).
    """
    hidden, maps = output.hidden_states[layer], output.attentions[layer]
    score = maps[:, :, 0, 1:].sum(dim=1)
    keys = output.keys.view(*output.keys.shape[:2], maps.shape[1], -1).mean(dim=2)
    frames: list[Tensor] = [hidden] * len(tokens_per_frame)
    for count in sorted(set(tokens_per_frame)):
        places = [place for place, own in enumerate(tokens_per_frame) if own == count]
        compressed = _compress_equal(hidden[places], keys[places], score[places], count)
        for place, tokens in zip(places, compressed, strict=True):
            frames[place] = tokens
    return torch.cat(frames)


def _compress_equal(
    hidden: Float[Tensor, "frames tokens dim"],
    keys: Float[Tensor, "frames tokens head_dim"],
    score: Float[Tensor, "frames patches"],
    count: int,
) -> Float[Tensor, "frames kept dim"]:
    frames, size, dim = hidden.shape
    dominant, contextual = token_split(count)
    if count >= size:
        return hidden
    best: Int[Tensor, "frames dominant"] = score.topk(dominant - 1, dim=1).indices + 1
    is_rest = torch.ones(frames, size, dtype=torch.bool, device=hidden.device)
    is_rest[:, 0] = False
    is_rest.scatter_(1, best, value=False)
    kept = hidden.masked_select(~is_rest[..., None]).view(frames, dominant, dim)
    if contextual == 0:
        return kept
    num_rest = size - dominant
    rest = hidden.masked_select(is_rest[..., None]).view(frames, num_rest, dim)
    metric = keys.masked_select(is_rest[..., None]).view(frames, num_rest, -1)
    metric = metric / metric.norm(dim=-1, keepdim=True)
    targets = torch.arange(0, num_rest, max(1, num_rest // contextual), device=hidden.device)[:contextual]
    is_merged = ~torch.isin(torch.arange(num_rest, device=hidden.device), targets)
    nearest = (metric[:, is_merged] @ metric[:, targets].transpose(1, 2)).argmax(dim=-1)
    assigned = nn.functional.one_hot(nearest, contextual).to(hidden.dtype)
    mean = assigned.transpose(1, 2) @ rest[:, is_merged] / assigned.sum(dim=1).clamp(min=1)[..., None]
    return torch.cat([kept, rest[:, targets] + mean], dim=1)

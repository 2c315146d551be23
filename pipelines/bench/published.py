"""VisionZip the way its published code runs it, for comparison: written from its description, in its order of work.

The tower attends eagerly, runs all of its layers, and keeps every layer's attention map and output; the tokens are
chosen when all is there (arXiv 2412.04467). What comes out is what :func:`vidzip.compress.visionzip` gives.
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


def eager(tower: Any) -> nn.Module:
    """The same tower, on the same weights, with eager attention, which alone gives maps out."""
    twin = copy.deepcopy(tower, {id(weight): weight for weight in tower.parameters()})
    twin.set_attn_implementation("eager")
    return twin  # type: ignore[no-any-return] # a copy of a module


@dataclass(frozen=True, kw_only=True, eq=False)
class Everything:
    """All that a tower computed of some frames, and the keys of the layer that tokens are chosen by.

    Attributes:
        hidden_states: the embeddings, and each layer's output, (F, S, D) each.
        attentions: each layer's maps, (F, heads, S, S) each.
        keys: of the layer, all heads side by side, (F, S, D).
    """

    hidden_states: tuple[Float[Tensor, "frames tokens dim"], ...]
    attentions: tuple[Float[Tensor, "frames heads tokens tokens"], ...]
    keys: Float[Tensor, "frames tokens dim"]


def run_everything(tower: nn.Module, pixels: Float[Tensor, "frames 3 side side"], layer: int) -> Everything:
    """Run all of an :func:`eager` tower, and keep all of it.

    Args:
        tower: it.
        pixels: preprocessed frames.
        layer: the one that tokens are chosen by, negative, from the end.
    """
    keys: list[Tensor] = []
    k_proj = tower.get_submodule("encoder.layers")[layer].get_submodule("self_attn.k_proj")  # type: ignore[index] # a list
    handle = k_proj.register_forward_hook(lambda *call: keys.append(call[2]))
    try:
        with torch.no_grad():
            output = tower(pixels, output_attentions=True, output_hidden_states=True)
    finally:
        handle.remove()
    return Everything(hidden_states=output.hidden_states, attentions=output.attentions, keys=keys[0])


def zip_everything(seen: Everything, layer: int, tokens_per_frame: Sequence[int]) -> Float[Tensor, "kept dim"]:
    """Choose and merge the tokens of each frame: 1 or more each, and of equally many at once.

    Args:
        seen: F frames.
        layer: as in :func:`run_everything`.
        tokens_per_frame: how many each keeps, (F,).
    """
    hidden, maps = seen.hidden_states[layer], seen.attentions[layer]
    score = maps[:, :, 0, 1:].sum(dim=1)
    keys = seen.keys.view(*seen.keys.shape[:2], maps.shape[1], -1).mean(dim=2)
    frames: list[Tensor] = [hidden] * len(tokens_per_frame)
    for count in sorted(set(tokens_per_frame)):
        places = [place for place, own in enumerate(tokens_per_frame) if own == count]
        for place, tokens in zip(places, _zip_equal(hidden[places], keys[places], score[places], count), strict=True):
            frames[place] = tokens
    return torch.cat(frames)


def _zip_equal(
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
    is_left = torch.ones(frames, size, dtype=torch.bool, device=hidden.device)
    is_left[:, 0] = False
    is_left.scatter_(1, best, value=False)
    kept = hidden.masked_select(~is_left[..., None]).view(frames, dominant, dim)
    if contextual == 0:
        return kept
    left = size - dominant
    rest = hidden.masked_select(is_left[..., None]).view(frames, left, dim)
    metric = keys.masked_select(is_left[..., None]).view(frames, left, -1)
    metric = metric / metric.norm(dim=-1, keepdim=True)
    targets = torch.arange(0, left, max(1, left // contextual), device=hidden.device)[:contextual]
    is_member = ~torch.isin(torch.arange(left, device=hidden.device), targets)
    nearest = (metric[:, is_member] @ metric[:, targets].transpose(1, 2)).argmax(dim=-1)
    joins = nn.functional.one_hot(nearest, contextual).to(hidden.dtype)
    mean = joins.transpose(1, 2) @ rest[:, is_member] / joins.sum(dim=1).clamp(min=1)[..., None]
    return torch.cat([kept, rest[:, targets] + mean], dim=1)

"""Small vision towers with random weights, and features without a tower."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from vidzip import VisionFeatures, ZippedFrames


def random_tower(seed: int = 0, *, layers: int = 4, attention: str = "sdpa") -> CLIPVisionModel:
    """A tower of 17 tokens a frame, with weights large enough that attention is far from flat."""
    config = CLIPVisionConfig(
        image_size=56,
        patch_size=14,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        attn_implementation=attention,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower = CLIPVisionModel(config)
        for weight in tower.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    return tower.eval()


def random_pixels(num_frames: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(num_frames, 3, 56, 56, generator=torch.Generator().manual_seed(seed))


def features_of_tokens(
    tokens: Tensor, keys: Tensor, scores: Tensor, *, has_cls: bool = True, grid: tuple[int, int] | None = None
) -> VisionFeatures:
    """Features from tensors over all S source tokens of each frame; the grid is the squarest that there is."""
    first = int(has_cls)
    count = tokens.shape[1] - first
    rows = next(rows for rows in range(math.isqrt(count), 0, -1) if count % rows == 0)
    return VisionFeatures(
        patches=tokens[:, first:],
        scores=scores[:, first:],
        keys=keys[:, first:],
        grid=grid or (rows, count // rows),
        cls=tokens[:, 0] if has_cls else None,
    )


def random_features(
    num_frames: int, size: int, seed: int = 0, dim: int = 12, key_dim: int = 6, **options: Any
) -> VisionFeatures:
    """Features of frames of ``size`` source tokens."""
    rng = torch.Generator().manual_seed(seed)
    return features_of_tokens(
        torch.randn(num_frames, size, dim, generator=rng),
        torch.randn(num_frames, size, key_dim, generator=rng),
        torch.rand(num_frames, size, generator=rng),
        **options,
    )


def mapped(
    features: VisionFeatures,
    convert: Callable[[Tensor], Tensor],
    names: Sequence[str] = ("patches", "scores", "keys", "cls"),
) -> VisionFeatures:
    """The same features with some tensors converted."""
    return replace(features, **{name: convert(getattr(features, name)) for name in names})


def sources(zipped: ZippedFrames) -> list[list[int]]:
    """The token in which each source token ended, frame by frame."""
    return [zipped.source_of(frame).tolist() for frame in range(zipped.num_frames)]


ragged_counts = st.integers(2, 40).flatmap(
    lambda size: st.tuples(st.just(size), st.lists(st.integers(0, size + 3), min_size=1, max_size=6))
)
"""A number of tokens a frame has, and how many of them each of some frames may keep: none, some, all, or more."""

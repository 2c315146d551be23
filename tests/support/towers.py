"""Small vision towers with random weights, and features without a tower."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from transformers import CLIPVisionConfig, CLIPVisionModel

from vidzip import FrameFeatures


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


def random_features(num_frames: int, size: int, seed: int = 0, dim: int = 12, head_dim: int = 6) -> FrameFeatures:
    rng = torch.Generator().manual_seed(seed)
    return FrameFeatures(
        hidden=torch.randn(num_frames, size, dim, generator=rng),
        keys=torch.randn(num_frames, size, head_dim, generator=rng),
        attention=torch.rand(num_frames, size, generator=rng),
    )


ragged_counts = st.integers(2, 40).flatmap(
    lambda size: st.tuples(st.just(size), st.lists(st.integers(0, size + 3), min_size=1, max_size=6))
)
"""A number of tokens a frame has, and how many of them each of some frames may keep: none, some, all, or more."""

"""The three ways to observe a layer of a tower, which must give the same features."""

from __future__ import annotations

from collections.abc import Callable

import torch

from vidzip import VisionFeatures, observe
from vidzip.encoders import CompiledTower, tap


def assert_same(one: VisionFeatures, other: VisionFeatures, tolerance: float = 1e-5) -> None:
    assert one.grid == other.grid
    for name in ("tokens", "keys", "scores"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=tolerance)


def contents(tower: torch.nn.Module) -> dict:
    """The attributes of a tower's modules, with copies of their dicts of hooks, weights and modules."""
    return {
        (path, name): dict(value) if isinstance(value, dict) else value
        for path, module in tower.named_modules()
        for name, value in vars(module).items()
    }


def assert_unchanged(before: dict, after: dict) -> None:
    assert before.keys() == after.keys()
    for place, value in before.items():
        if isinstance(value, dict):
            assert list(value) == list(after[place])
            assert all(after[place][key] is held for key, held in value.items())
        else:
            assert after[place] is value


def of_the_whole_tower(tower: torch.nn.Module, pixels: torch.Tensor, layer: int = -2) -> VisionFeatures:
    with torch.no_grad(), tap(tower, layer) as observation:
        tower(pixels)
    return observation.features()


def as_a_graph(tower: torch.nn.Module, pixels: torch.Tensor, layer: int = -2) -> VisionFeatures:
    """Compiled without a compiler: torch runs the graph that it would compile."""
    return CompiledTower(tower, backend="eager").observe(pixels, layer)


OBSERVERS: dict[str, Callable[..., VisionFeatures]] = {
    "whole tower": of_the_whole_tower,
    "up to the layer": observe,
    "as a graph": as_a_graph,
}

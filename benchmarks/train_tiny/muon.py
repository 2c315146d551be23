"""Muon in single precision: matrices of the hidden layers take steps that turn all directions alike.

After Jordan and others, "Muon: An optimizer for hidden layers in neural networks" (2024), with the step scaled as in
Liu and others, "Muon is Scalable for LLM Training" (2025): as long as Adam's, so that both take one learning rate.
``torch.optim.Muon`` is the same in bfloat16, one matrix at a time; here matrices of a shape go together, in single
precision, which CPUs are faster at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the Newton-Schulz iteration, from Jordan and others."""

_ITERATIONS = 5
_MOMENTUM = 0.95
_LENGTH = 0.2
"""Root mean square of an entry of Adam's steps."""


class Muon(torch.optim.Optimizer):
    """Take steps along the orthogonalised momentum.

    Args:
        matrices: what learns, each (rows, columns).
        lr: the learning rate, as it would be for Adam.
        weight_decay: share of the learning rate by which weights shrink.
    """

    def __init__(self, matrices: Iterable[nn.Parameter], *, lr: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike.setdefault(matrix.shape, []).append(matrix)
            for (rows, columns), matrices in alike.items():
                steps = orthogonalised(torch.stack([self._momentum(matrix, matrix.grad) for matrix in matrices]))
                rate = group["lr"] * _LENGTH * math.sqrt(max(rows, columns))
                for matrix, step in zip(matrices, steps, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(step, alpha=-rate)

    def _momentum(self, matrix: nn.Parameter, gradient: Any) -> Tensor:
        """Nesterov's, kept from step to step."""
        held = self.state[matrix]
        if "momentum" not in held:
            held["momentum"] = torch.zeros_like(matrix)
        momentum: Tensor = held["momentum"].lerp_(gradient, 1 - _MOMENTUM)
        return torch.lerp(gradient, momentum, _MOMENTUM)


def matrices_of(*modules: nn.Module) -> list[nn.Parameter]:
    """List the matrices of hidden layers; embeddings, heads and vectors are better left to Adam."""
    return [parameter for module in modules for parameter in module.parameters() if parameter.ndim == 2]


def orthogonalised(matrices: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n rows columns"]:
    """Bring all singular values close to 1, by a Newton-Schulz iteration; n matrices of one shape."""
    a, b, c = _COEFFICIENTS
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x: Tensor = matrices.mT if is_tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x

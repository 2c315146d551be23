"""The Muon optimizer in single precision, batched over matrices of the same shape.

After Jordan and others, "Muon: An optimizer for hidden layers in neural networks" (2024), with updates scaled to the
size of Adam's as in Liu and others, "Muon is Scalable for LLM Training" (2025). ``torch.optim.Muon`` computes the same
in bfloat16, one matrix at a time, which is slower on CPUs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the Newton-Schulz iteration, from Jordan and others."""

_ITERATIONS = 5
_MOMENTUM = 0.95
_RMS = 0.2
"""Root mean square of the entries of Adam's updates."""


class Muon(torch.optim.Optimizer):
    """Updates matrices along the orthogonalised momentum.

    Args:
        matrices: the parameters, (rows, columns) each.
        lr: learning rate, on Adam's scale.
        weight_decay: decoupled weight decay.
    """

    def __init__(self, matrices: Iterable[nn.Parameter], *, lr: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update the parameters."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape.setdefault(matrix.shape, []).append(matrix)
            for (rows, columns), matrices in by_shape.items():
                steps = orthogonalised(torch.stack([self._momentum(matrix, matrix.grad) for matrix in matrices]))
                rate = group["lr"] * _RMS * math.sqrt(max(rows, columns))
                for matrix, step in zip(matrices, steps, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(step, alpha=-rate)

    def _momentum(self, matrix: nn.Parameter, gradient: Any) -> Tensor:
        """Update and return the Nesterov momentum."""
        state = self.state[matrix]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(matrix)
        momentum: Tensor = state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
        return torch.lerp(gradient, momentum, _MOMENTUM)


def matrices_of(*modules: nn.Module) -> list[nn.Parameter]:
    """Return the matrices of hidden layers; embeddings, heads and vectors are better trained by Adam."""
    return [parameter for module in modules for parameter in module.parameters() if parameter.ndim == 2]


def orthogonalised(matrices: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n rows columns"]:
    """Move all singular values close to 1 by Newton-Schulz iteration."""
    a, b, c = _COEFFICIENTS
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x: Tensor = matrices.mT if is_tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from benchmarks.train_tiny.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(16, 16), (8, 32), (32, 8)])
def test_singular_values_are_close_to_one(shape):
    u, _, v = torch.linalg.svd(torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)), full_matrices=False)
    values = torch.logspace(-1, 1, min(shape))
    made = orthogonalised(u * values @ v)
    found = torch.linalg.svdvals(made)
    assert found.min() > 0.6
    assert found.max() < 1.3
    turned = u.mT @ made @ v.mT  # along the same directions
    torch.testing.assert_close(turned, torch.diag_embed(turned.diagonal(dim1=1, dim2=2)), atol=1e-4, rtol=0)


def test_a_step_equals_torchs_in_single_precision(monkeypatch):
    """The oracle, in single precision: its Newton-Schulz iteration is in bfloat16."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    generator = torch.Generator().manual_seed(1)
    ours = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((6, 6), (6, 9), (6, 6))]
    theirs = copy.deepcopy(ours)
    muon = Muon(ours, lr=0.01, weight_decay=0.1)
    oracle = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        for mine, its in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            its.grad = mine.grad.clone()
        muon.step()
        oracle.step()
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.data, its.data, atol=1e-5, rtol=1e-5)


def test_parameters_without_a_gradient_are_unchanged():
    still = nn.Parameter(torch.ones(2, 2))
    Muon([still], lr=0.1, weight_decay=0.1).step()
    assert torch.equal(still.data, torch.ones(2, 2))


def test_a_saved_optimizer_resumes():
    generator = torch.Generator().manual_seed(2)
    one = nn.Parameter(torch.randn(4, 5, generator=generator))
    gradients = torch.randn(4, 4, 5, generator=generator)
    whole = Muon([one], lr=0.1, weight_decay=0.1)
    for number, gradient in enumerate(gradients):
        if number == 2:
            other, state = copy.deepcopy(one), copy.deepcopy(whole.state_dict())
        one.grad = gradient
        whole.step()
    resumed = Muon([other], lr=0.1, weight_decay=0.1)
    resumed.load_state_dict(state)
    for gradient in gradients[2:]:
        other.grad = gradient
        resumed.step()
    assert torch.equal(one.data, other.data)

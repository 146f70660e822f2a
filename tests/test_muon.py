from __future__ import annotations

import pytest
import torch

from training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (16, 16)])
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert values.min() > 0.5 and values.max() < 1.3


@pytest.mark.parametrize("shape", [(8, 24), (24, 8)])
def test_it_steps_as_torch_does_but_in_float32(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    start, target = torch.randn(shape), torch.randn(shape)
    paths = []
    for make in (
        lambda p: Muon([p], lr=0.01, weight_decay=0.01),
        lambda p: torch.optim.Muon([p], lr=0.01, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
    ):
        parameter = torch.nn.Parameter(start.clone())
        optimizer = make(parameter)
        for _ in range(5):
            optimizer.zero_grad()
            ((parameter - target) ** 2).sum().backward()
            optimizer.step()
        paths.append(parameter.detach())
    moved = (paths[1] - start).norm()
    assert (paths[0] - paths[1]).norm() < 0.02 * moved

"""Muon in float32: for processors without fast bfloat16, where torch's own takes ten times a step's time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

# Quintic Newton-Schulz coefficients of Jordan et al. 2024 (kellerjordan.github.io/posts/muon).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5


class Muon(torch.optim.Optimizer):
    """Momentum whose update of each matrix is made nearly orthogonal.

    As ``torch.optim.Muon`` with ``adjust_lr_fn="match_rms_adamw"`` (a test holds the two together), but in
    the dtype of the parameters. Every parameter is a matrix.

    Args:
        params: matrices to train.
        lr: learning rate, on the scale of AdamW's.
        weight_decay: decoupled, as AdamW's.
        momentum: of the Nesterov kind.
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        lr: float,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state: dict[str, Any] = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                average = state["momentum_buffer"]
                average.lerp_(parameter.grad, 1 - group["momentum"])
                update = orthogonal(parameter.grad.lerp(average, group["momentum"]))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                scale = 0.2 * max(parameter.shape) ** 0.5  # the size of a step of AdamW
                parameter.add_(update, alpha=-group["lr"] * scale)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Return the nearest matrix with all singular values near 1, ``(m, n)`` as it came."""
    a, b, c = _COEFFICIENTS
    wide = matrix.T if matrix.size(0) > matrix.size(1) else matrix
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(_STEPS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.T if matrix.size(0) > matrix.size(1) else wide

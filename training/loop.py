"""The training loop: a loss, an order of batches, optimisers; saved whole and resumed bit for bit."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer

LOG_EVERY = 100  # steps


@dataclass
class Spent:
    """What a run has used so far, over every restart."""

    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0


def schedule(progress: float, warmup: float) -> float:
    """Linear warm-up, then a cosine down to a twentieth, for ``progress`` in 0..1."""
    if progress < warmup:
        return max(progress / warmup, 0.01)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def fit(
    model: torch.nn.Module,
    loss_of: Callable[[int], tuple[torch.Tensor, int]],
    optimizers: Sequence[torch.optim.Optimizer],
    state_path: Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    warmup: float,
    save_every: float,
    identity: str = "",
    report: Callable[[int, int], None] | None = None,
) -> Spent:
    """Train until ``minutes`` or ``steps`` are used up, over every restart; return what was spent.

    ``loss_of(step)`` returns the mean loss of that step's batch and how many tokens it held; all
    chance in it must come from the step. The whole state is saved to ``state_path`` every
    ``save_every`` minutes, whole or not at all, and read from there at the start, unless it is of
    another run, whose ``identity`` differs. Learning rates follow :func:`schedule` from the ones the
    optimisers were made with. With ``report`` progress goes there as ``(done, total)`` steps, else a
    line is printed now and then.
    """
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    spent = Spent()
    state = _saved(state_path, model)
    if state.get("identity", "") == identity and "model" in state:
        model.load_state_dict(state["model"])
        for optimizer, own in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(own)
        spent = Spent(**state["spent"])
        typer.echo(f"이어서 학습해요: {spent.steps}걸음, {spent.seconds / 60:.1f}분부터", err=True)

    def progress() -> float:
        return spent.steps / steps if steps else spent.seconds / (60 * (minutes or 0) or 1e-9)

    started, saved, losses = time.monotonic() - spent.seconds, spent.seconds, []
    model.train()
    while progress() < 1:
        scale = schedule(progress(), warmup)
        for optimizer, rates in zip(optimizers, peaks, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * scale
        torch.manual_seed(spent.steps)  # dropout, too, comes from the step alone
        loss, tokens = loss_of(spent.steps)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        spent = Spent(spent.steps + 1, spent.tokens + tokens, time.monotonic() - started)
        if report and steps:
            report(spent.steps, steps)
        elif spent.steps % LOG_EVERY == 0:
            so_far = f"{spent.seconds / 60:5.1f} min  {spent.tokens / 1e6:5.2f} M tokens"
            typer.echo(f"step {spent.steps}  {so_far}  loss {np.mean(losses):.3f}")
            losses.clear()
        if spent.seconds - saved > save_every * 60 or progress() >= 1:
            saved = spent.seconds
            _save(state_path, model, optimizers, spent, identity)
    return spent


def _saved(path: Path, model: torch.nn.Module) -> dict[str, Any]:
    if not path.exists():
        return {}
    return torch.load(path, map_location=next(model.parameters()).device, weights_only=True)


def _save(
    path: Path,
    model: torch.nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    spent: Spent,
    identity: str,
) -> None:
    state = {
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "spent": vars(spent),
        "identity": identity,
    }
    part = path.with_suffix(".part")
    # It may have been learnt from somebody's chats: only its owner may read it.
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        torch.save(state, file)
    part.replace(path)

"""The training loop: losses, an order of batches, optimisers; saved whole and resumed bit for bit.

Started by ``torchrun`` it is data-parallel: every process works out its share of a step's losses, the
gradients are added up, and one of them saves and speaks.
"""

from __future__ import annotations

import atexit
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import typer
from torch import distributed

from chatbot.models.device import native_bfloat16
from chatbot.resources import open_private

# (done, total, how it goes)
Report = Callable[[int, int, str], None]
LOG_EVERY = 100  # steps
_LOWEST = 0.05  # of the peak rate, where a cosine ends


class Step(NamedTuple):
    """One step as it went: mean loss in nats, tokens in it, rate, norm of the gradient before clipping."""

    number: int
    loss: float
    tokens: int
    rate: float
    norm: float
    seconds: float  # since the beginning, over every restart


@dataclass
class Spent:
    """What a run has used so far, over every restart."""

    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0


class Watcher:
    """Looks on while a model is trained; what it remembers is saved and restored with the run."""

    def before(self, progress: float) -> None:
        """Do something before a step, at ``progress`` in 0..1, such as unfreezing weights."""

    def after(self, step: Step) -> bool:
        """Do something after a step; return True to stop here."""
        return False

    def remember(self) -> dict[str, Any]:
        """Return what must survive a restart."""
        return {}

    def recall(self, remembered: dict[str, Any], spent: Spent) -> None:
        """Take up what :meth:`remember` returned when ``spent`` had been used."""


def cosine(progress: float, warmup: float) -> float:
    """Linear warm-up, then a cosine down to a twentieth, for ``progress`` in 0..1."""
    if progress < warmup:
        return max(progress / warmup, 0.01)
    return _LOWEST + (1 - _LOWEST) * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def linear(progress: float, warmup: float) -> float:
    """Linear warm-up, then straight down to nothing, for ``progress`` in 0..1."""
    if progress < warmup:
        return max(progress / warmup, 0.01)
    return (1 - progress) / (1 - warmup)


SCHEDULES = {"cosine": cosine, "linear": linear}


def fit(
    model: torch.nn.Module,
    losses_of: Callable[[int], Iterable[tuple[torch.Tensor, int]]],
    optimizers: Sequence[torch.optim.Optimizer],
    state_path: Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    warmup: float,
    save_every: float,
    schedule: str = "cosine",
    clip: float = 1.0,
    identity: str = "",
    report: Report | None = None,
    watcher: Watcher | None = None,
) -> Spent:
    """Train until ``minutes`` or ``steps`` are used up, over every restart; return what was spent.

    ``losses_of(step)`` yields the parts of that step's loss that this process works out, each with how
    many tokens it held; all parts of all processes add up to the mean loss of the step. All chance in
    them must come from the step. The whole state is saved to ``state_path`` every ``save_every``
    minutes, at the end and on Ctrl-C, whole or not at all, and read from there at the start, unless it is of
    another run, whose ``identity`` differs. Learning rates follow the ``schedule`` from the ones the
    optimisers were made with. With ``report`` progress goes there as ``(done, total)`` steps and a note of
    loss and tokens a second, else a line is printed now and then.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; the state is saved.
    """
    watcher = watcher or Watcher()
    device = next(model.parameters()).device
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    spent, stopped = Spent(), False
    state = _saved(state_path)
    if state.get("identity", "") == identity and "model" in state:
        model.load_state_dict(state["model"])
        for optimizer, own in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(own)
        spent, stopped = Spent(**state["spent"]), state.get("stopped", False)
        watcher.recall(state.get("remembered", {}), spent)
        if is_first():
            typer.echo(f"이어서 학습해요: {spent.steps}걸음, {spent.seconds / 60:.1f}분부터", err=True)

    def progress() -> float:
        return spent.steps / steps if steps else spent.seconds / (60 * (minutes or 0) or 1e-9)

    scaler = torch.amp.GradScaler(device.type, enabled=half_type(device.type) == torch.float16)
    if "scaler" in state:
        scaler.load_state_dict(state["scaler"])
    state.clear()  # a second copy of the model
    started, saved, losses = time.monotonic() - spent.seconds, spent.seconds, []
    model.train()
    with interruptions() as interrupted:
        while progress() < 1 and not stopped:
            watcher.before(progress())
            scale = SCHEDULES[schedule](progress(), warmup)
            for optimizer, rates in zip(optimizers, peaks, strict=True):
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * scale
            torch.manual_seed(spent.steps)  # dropout, too, comes from the step alone
            loss, tokens, stopping = _backward(model, losses_of(spent.steps), scaler, interrupted.is_set())
            for optimizer in optimizers:
                scaler.unscale_(optimizer)
            norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), clip))
            for optimizer in optimizers:
                scaler.step(optimizer)
                optimizer.zero_grad(set_to_none=True)
            scaler.update()
            spent = Spent(spent.steps + 1, spent.tokens + tokens, time.monotonic() - started)
            stopped = watcher.after(Step(spent.steps, loss, tokens, peaks[0][0] * scale, norm, spent.seconds))
            losses.append(loss)
            if report and steps:
                rate = spent.tokens / max(spent.seconds, 1e-9)
                report(spent.steps, steps, f"loss {loss:.3f} {rate:,.0f}토큰/초")
            elif spent.steps % LOG_EVERY == 0 and is_first():
                so_far = f"{spent.seconds / 60:5.1f} min  {spent.tokens / 1e6:5.2f} M tokens"
                typer.echo(f"step {spent.steps}  {so_far}  loss {np.mean(losses):.3f}")
                losses.clear()
            stopping = stopping or (interrupted.is_set() and process()[1] == 1)
            done = progress() >= 1 or stopped or stopping
            if is_first() and (done or spent.seconds - saved > save_every * 60):
                saved = spent.seconds
                own = {"spent": vars(spent), "stopped": stopped, "remembered": watcher.remember()}
                _save(
                    state_path,
                    model,
                    optimizers,
                    {**own, "identity": identity, "scaler": scaler.state_dict()},
                )
            if stopping:
                raise KeyboardInterrupt
    return spent


def process() -> tuple[int, int]:
    """Return the number of this process and how many there are; joins them where ``torchrun`` started us."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(distributed.destroy_process_group)
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    return (distributed.get_rank(), world) if world > 1 else (0, 1)


def is_first() -> bool:
    """Tell whether this process is the one that saves and speaks."""
    return process()[0] == 0


def together() -> None:
    """Wait until every process has come this far."""
    if process()[1] > 1:
        distributed.barrier()


def agree(number: int, device: torch.device) -> int:
    """Return the smallest of every process's numbers."""
    smallest = torch.tensor(number, device=device)
    if process()[1] > 1:
        distributed.all_reduce(smallest, distributed.ReduceOp.MIN)
    return int(smallest)


def half_type(device: str) -> torch.dtype | None:
    """Return the two-byte number type a device multiplies matrices in natively; ``None`` for none."""
    if native_bfloat16(device):
        return torch.bfloat16
    return torch.float16 if device == "cuda" and torch.cuda.get_device_capability() >= (7, 0) else None


def mixed_precision(device: str) -> torch.autocast:
    """Return a context in which matrices are multiplied in two-byte numbers where the device does so."""
    kind = half_type(device)
    return torch.autocast(device, dtype=kind or torch.bfloat16, enabled=kind is not None)


def _backward(
    model: torch.nn.Module,
    parts: Iterable[tuple[torch.Tensor, int]],
    scaler: torch.amp.GradScaler,
    interrupted: bool,
) -> tuple[float, int, bool]:
    """Add up the gradients of a step's parts, over all processes; return its loss and tokens.

    Where there are several processes, the last tells whether any of them is to stop: all do so together.
    """
    loss, tokens = 0.0, 0
    for part, size in parts:
        scaler.scale(part).backward()
        loss += part.item()
        tokens += size
    if process()[1] == 1:
        return loss, tokens, False
    for parameter in model.parameters():
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)
    device = next(model.parameters()).device
    totals = torch.tensor([loss, tokens, interrupted], dtype=torch.float64, device=device)
    distributed.all_reduce(totals)
    return float(totals[0]), int(totals[1]), bool(totals[2])


@contextmanager
def interruptions() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C sets, so that the step at hand is finished; a second Ctrl-C breaks off."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _saved(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    return torch.load(path, map_location="cpu", weights_only=True)  # what loads it moves what it needs


def _save(
    path: Path, model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer], own: dict[str, Any]
) -> None:
    state = {
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        **own,
    }
    save_private(path, state)


def save_private(path: Path, value: Any) -> None:
    """Save tensors whole or not at all; learnt from somebody's chats, they are for their owner alone."""
    part = path.with_suffix(".part")
    with open_private(part, "wb") as file:
        torch.save(value, file)
    part.replace(path)

"""Running a Hugging Face trainer as every training here runs: estimated, watched, stopped, taken up again."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import set_seed

from training.loop import Step, interruptions
from training.record import Record
from training.tuning import Tuning, count, time_and_memory

A = TypeVar("A", bound=TrainingArguments)

Report = Callable[[int, int], None]

_TRIED = 3  # batches that are timed before the start, the first not counted


class CountsTokens(Trainer):
    """A trainer that keeps count of the tokens it has read, in its state."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *rest: Any, **named: Any) -> Any:
        """Return the loss of a batch."""
        masks = [value for name, value in inputs.items() if name.endswith("attention_mask")]
        self.state.num_input_tokens_seen += sum(int(mask.sum()) for mask in masks)
        return super().compute_loss(model, inputs, *rest, **named)


class Watch(TrainerCallback):
    """Looks on: unfreezes what is due, writes the record, saves by the clock, stops on Ctrl-C.

    ``report`` is told ``(done, total)`` steps; ``save_every`` are minutes.
    """

    def __init__(self, tuning: Tuning, record: Record, report: Report | None, save_every: float) -> None:
        self._tuning, self._record, self._report = tuning, record, report
        self._save_every = save_every
        self._interrupted = Event()
        self._trained = self._tokens = 0
        self._started = self._saved = 0.0

    def listen(self, interrupted: Event) -> None:
        """Stop, and save, once ``interrupted`` is set."""
        self._interrupted = interrupted

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Go on from what was recorded up to here."""
        self._record.rewind(state.global_step)
        before = [row["seconds"] for row in self._record.rows() if row["kind"] == "step"]
        self._tokens = state.num_input_tokens_seen
        self._saved = time.monotonic()
        self._started = self._saved - (before[-1] if before else 0.0)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Freeze and unfreeze."""
        self._trained = self._tuning.at(state.global_step / max(state.max_steps, 1))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask for what is due: a last validation, a save."""
        if self._report:
            self._report(state.global_step, state.max_steps)
        if state.global_step >= state.max_steps and args.eval_strategy != "no":
            control.should_evaluate = True
        if self._interrupted.is_set():
            control.should_save = control.should_training_stop = True
        elif time.monotonic() - self._saved > 60 * self._save_every:
            control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock anew."""
        self._saved = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Write a step down."""
        if not logs or "loss" not in logs:
            return
        step = Step(
            state.global_step, logs["loss"], state.num_input_tokens_seen - self._tokens,
            logs["learning_rate"], logs.get("grad_norm", 0.0), time.monotonic() - self._started,
        )  # fmt: skip
        self._tokens = state.num_input_tokens_seen
        self._record.step(step, self._trained)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **known: Any
    ) -> None:
        """Write a validation down, without what the trainer says of its own speed."""
        own = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second")
        figures = {
            name.removeprefix("eval_"): value
            for name, value in known["metrics"].items()
            if name.startswith("eval_") and name not in own
        }
        self._record.validation(state.global_step, figures, [])


def common_arguments(folder: Path, device: str, seed: int) -> dict[str, Any]:
    """Return the arguments that every trainer here gets: nothing is sent, printed or shown by it."""
    from chatbot.models.device import native_bfloat16

    return {
        "output_dir": str(folder),
        "use_cpu": device == "cpu",
        "bf16": device == "cuda" and native_bfloat16(device),
        "seed": seed,
        "lr_scheduler_type": "cosine",
        "max_grad_norm": 1.0,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_total_limit": 2,  # the best and the last: with one, the end of a run deletes the last
        "restore_callback_states_from_checkpoint": True,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": device == "cuda",
    }


def on_one_device(arguments: A) -> A:
    """Keep a trainer to one GPU where several are seen: it would wrap the model and double the batch."""
    _ = arguments.device  # sets what is overruled here
    arguments._n_gpu = min(arguments._n_gpu, 1)
    return arguments


def run(trainer: Trainer, watch: Watch, *, resume: bool) -> None:
    """Train, or go on from the last whole checkpoint in the trainer's folder.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; a checkpoint is saved.
    """
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(watch)
    checkpoint = last_checkpoint(Path(str(trainer.args.output_dir))) if resume else None
    set_seed(trainer.args.seed)
    with interruptions() as asked:
        watch.listen(asked)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if asked.is_set():
        raise KeyboardInterrupt


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end, ``None`` where there is none."""
    numbered = {int(path.name.rpartition("-")[2]): path for path in folder.glob("checkpoint-*")}
    for _, path in sorted(numbered.items(), reverse=True):
        with suppress(OSError, ValueError):  # the trainer writes its state last
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            return path
    return None


def estimate(trainer: Trainer, tuning: Tuning) -> list[str]:
    """Return, before it starts, what a run is going to take: steps, time, memory."""
    weights, trained = count(tuning.model.parameters()), tuning.at(1.0)
    batches = trainer.get_train_dataloader()
    steps = math.ceil(len(batches) * trainer.args.num_train_epochs)
    times = []
    trainer.current_gradient_accumulation_steps = 1
    for batch in islice(batches, _TRIED):
        started = time.perf_counter()
        trainer.training_step(tuning.model, batch)
        times.append(time.perf_counter() - started)
    for parameter in tuning.model.parameters():
        parameter.grad = None
    seconds = steps * sum(times[1:] or times) / len(times[1:] or times)
    return [
        f"{steps:,}걸음, 학습하는 가중치 {trained:,}개 / {weights:,}개",
        time_and_memory(seconds, weights, trained),
    ]


def on_device(model: torch.nn.Module, device: str) -> None:
    """Move a model without its library's own wrapper, which hides the signature."""
    torch.nn.Module.to(model, device)

"""A model in training: what its words cost, what it answers, and who watches over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from chatbot.dialogue import Turn
from chatbot.models.checkpoint import quiet_transformers
from chatbot.models.format import TrainableFormat
from chatbot.style import speech_level
from training.causal import Curriculum, Reading, token_costs
from training.loop import Spent, Step, Watcher, is_first, save_private, together
from training.record import Record
from training.tuning import Tuning

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_SPOKEN = 48  # tokens of a reply made while training
_SPOKEN_AT_ONCE = 32
# What the model is asked at every validation.
PROMPTS = ("안녕", "뭐 해?", "오늘 너무 피곤해", "저녁 뭐 먹지", "주말에 뭐 했어?", "고마워")


class Pupil:
    """A model in training, with what it takes to measure it and to let it speak.

    Args:
        model: a causal language model, perhaps with low-rank additions.
        tokenizer: its tokenizer.
        form: the format it is taught in.
        longest: how many tokens of a conversation it is shown.
    """

    def __init__(
        self, model: Any, tokenizer: PreTrainedTokenizerFast, form: TrainableFormat, longest: int
    ) -> None:
        self.model, self.tokenizer, self.form, self.longest = model, tokenizer, form, longest

    def cost(self, course: Curriculum | Reading, characters: int) -> dict[str, float]:
        """Return what is learnt in a course costs: nats a token, perplexity, bits a character of so many."""
        nats, tokens = 0.0, 0
        self.model.eval()
        with torch.inference_mode(), quiet_transformers():
            for ids, learnt in (course[number] for number in range(len(course))):
                costs = token_costs(self.model, ids.to(self.model.device), learnt.to(self.model.device))
                nats += float(costs.double().sum())
                tokens += len(costs)
        self.model.train()
        mean = nats / max(tokens, 1)
        return {
            "nats": mean,
            "perplexity": math.exp(min(mean, 50.0)),
            "bits_per_character": nats / math.log(2) / max(characters, 1),
        }

    def replies(self, prompts: Sequence[tuple[str, str | None]], *, sample: bool) -> Iterator[str]:
        """Yield a reply to each of (text, persona), drawn at random (from the seed 0) or the likeliest."""
        asked = [
            self.form.prompt(
                [Turn("user", text)], speech_level(text) or "polite", self.longest - _SPOKEN, speaker=speaker
            )
            for text, speaker in prompts
        ]
        self.model.eval()
        torch.manual_seed(0)
        for start in range(0, len(asked), _SPOKEN_AT_ONCE):
            yield from self._speak(asked[start : start + _SPOKEN_AT_ONCE], sample)
        self.model.train()

    def _speak(self, prompts: list[list[int]], sample: bool) -> list[str]:
        pad = int(self.tokenizer.pad_token_id or 0)
        width = max(map(len, prompts))
        ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=self.model.device)
        seen = torch.tensor(
            [[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=self.model.device
        )
        with torch.inference_mode(), quiet_transformers():
            made = self.model.generate(
                input_ids=ids, attention_mask=seen, do_sample=sample, top_k=0, max_new_tokens=_SPOKEN,
                eos_token_id=sorted(self.form.stop_ids), pad_token_id=pad,
            )  # fmt: skip
        return [self._text(row[width:].tolist()) for row in made]

    def _text(self, ids: list[int]) -> str:
        """Return a reply as text, up to its end, with its breaks."""
        lines: list[list[int]] = [[]]
        for number in ids:
            if number in self.form.stop_ids:
                break
            if number == self.form.break_id:
                lines.append([])
            else:
                lines[-1].append(number)
        decoded = (self.tokenizer.decode(line, skip_special_tokens=True) for line in lines)
        return "\n".join(str(text).strip() for text in decoded)


@dataclass
class Best:
    """The best validation so far, and how many have come since."""

    step: int = 0
    nats: float = math.inf
    since: int = 0


class Overseer(Watcher):
    """Watches a run: unfreezes, validates, keeps the best weights, writes the record, stops early.

    Args:
        pupil: who is trained.
        tuning: which weights are.
        record: where every step and validation is written down.
        best_path: where the best weights are kept.
        measure: returns the figures of a validation; ``None``: there is nothing to validate on.
        every: steps between validations.
        last: the last step, after which there is one, too.
        patience: validations without a gain until it stops; 0: never.
        speaker: the persona who answers the fixed prompts.
    """

    def __init__(
        self,
        pupil: Pupil,
        tuning: Tuning,
        record: Record,
        best_path: Path,
        measure: Callable[[], dict[str, float]] | None,
        *,
        every: int,
        last: int,
        patience: int = 0,
        speaker: str | None = None,
    ) -> None:
        self._pupil, self._tuning, self._record, self._best_path = pupil, tuning, record, best_path
        self._measure, self._every, self._last = measure, every, last
        self._patience, self._speaker = patience, speaker
        self.best = Best()
        self._trained = 0

    def before(self, progress: float) -> None:
        """Unfreeze what is due."""
        self._trained = self._tuning.at(progress)

    def after(self, step: Step) -> bool:
        """Write the step down; validate when due, and stop when nothing gets better any more."""
        if is_first():
            self._record.step(step, self._trained)
        due = step.number % self._every == 0 or step.number == self._last
        if not due or self._measure is None:
            return False
        figures = self._measure()
        if is_first():
            samples = list(self._pupil.replies([(text, self._speaker) for text in PROMPTS], sample=False))
            self._record.validation(step.number, figures, samples)
        if figures["nats"] < self.best.nats:
            self.best = Best(step.number, figures["nats"])
            if is_first():
                save_private(self._best_path, self._pupil.model.state_dict())
        else:
            self.best.since += 1
        return self.best.since >= self._patience > 0

    def remember(self) -> dict[str, Any]:
        """Return the best so far."""
        return asdict(self.best)

    def recall(self, remembered: dict[str, Any], spent: Spent) -> None:
        """Go on from there; what was written after it is written again."""
        self.best = Best(**remembered)
        if is_first():
            self._record.rewind(spent.steps)

    def restore_best(self) -> None:
        """Give the model the weights of its best validation, where there was one."""
        together()
        if self.best.step:
            saved = torch.load(self._best_path, map_location=self._pupil.model.device, weights_only=True)
            self._pupil.model.load_state_dict(saved)

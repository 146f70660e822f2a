"""Training a causal language model on conversations: batches, loss, and how replies end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from chatbot.models.checkpoint import quiet_transformers
from chatbot.models.format import Sequenced, TrainableFormat
from training.batches import Batches, joined
from training.dialogues import Conversation
from training.loop import Report, Spent, fit, mixed_precision, process

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

WARMUP = 0.02  # share of the steps

# An auxiliary loss of a batch, by its number and where replies are, worked out after the model has read it.
AuxiliaryLoss = Callable[[int, torch.Tensor], torch.Tensor]


class _Epoch(NamedTuple):
    ids: Batches
    reply: Batches
    about: list[str | None]


class Curriculum:
    """Batches of conversations, epoch after epoch: ids, and where the replies are in them."""

    def __init__(
        self,
        form: TrainableFormat,
        epochs: Sequence[Sequence[Conversation]],
        *,
        longest: int,
        batch_tokens: int,
    ) -> None:
        self.pad = int(form.tokenizer.pad_token_id or 0)
        self._epochs: list[_Epoch] = []
        read: list[tuple[Sequenced, str | None]] = []
        for seed, conversations in enumerate(epochs):
            if seed == 0 or conversations is not epochs[seed - 1]:
                read = []
                for c in conversations:
                    pieces = list(
                        form.sequences(
                            c.turns, longest, style=c.style, speaker=c.speaker, examples=c.examples
                        )
                    )
                    if c.opening is not None and pieces:
                        pieces[-1] = _opened(pieces[-1], c.opening)
                    read += [(piece, c.about if piece is pieces[-1] else None) for piece in pieces]
            ids, starts = joined(np.array(piece.ids, dtype=np.int32) for piece, _ in read)
            reply, _ = joined(np.array(piece.reply) for piece, _ in read)
            self._epochs.append(
                _Epoch(
                    Batches(ids, starts, batch_tokens=batch_tokens, pad=self.pad, seed=seed),
                    Batches(reply, starts, batch_tokens=batch_tokens, pad=0, seed=seed),
                    [about for _, about in read],
                )
            )

    def __len__(self) -> int:
        """Return how many batches there are in all epochs."""
        return sum(len(epoch.ids) for epoch in self._epochs)

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids, int64, and reply, bool, both ``(conversations, longest)``."""
        epoch, step = self._at(step)
        return epoch.ids[step], epoch.reply[step].bool()

    def rows(self, step: int) -> list[int]:
        """Return which pieces of their epoch are in a batch; a short conversation is one piece."""
        epoch, step = self._at(step)
        return [int(row) for row in epoch.ids.rows[step]]

    def about(self, step: int) -> list[str | None]:
        """Return what was said last in each conversation of a batch, as our data has it."""
        epoch, step = self._at(step)
        return [epoch.about[row] for row in epoch.ids.rows[step]]

    @property
    def utterances(self) -> set[str]:
        """Everything that was said last in a conversation, as our data has it."""
        return {about for epoch in self._epochs for about in epoch.about if about is not None}

    def _at(self, step: int) -> tuple[_Epoch, int]:
        for epoch in self._epochs:
            if step < len(epoch.ids):
                return epoch, step
            step -= len(epoch.ids)
        raise IndexError(step)


def _opened(piece: Sequenced, tokens: int) -> Sequenced:
    """Return a piece that ends after so many tokens of its last reply."""
    begins = next(
        (n for n in range(len(piece.reply) - 1, 0, -1) if piece.reply[n] and not piece.reply[n - 1]), 0
    )
    return Sequenced(piece.ids[: begins + tokens], piece.reply[: begins + tokens])


class Reading:
    """Batches of plain text, once through it; every word of it is learnt."""

    def __init__(self, batches: Batches) -> None:
        self.pad, self._batches = batches.pad, batches

    def __len__(self) -> int:
        """Return how many batches there are."""
        return len(self._batches)

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids, int64, and where text stands in them, bool, both ``(lines, longest)``."""
        ids = self._batches[step]
        return ids, ids != self.pad


class Plan:
    """The steps of a run: which batches each takes, and how much of them is learnt.

    Every process knows the whole plan, so that the weights of the parts need no talk between them.

    Args:
        course: what there is to learn.
        steps: how many steps, at most once through the course; all of it by default.
        accumulate: batches a step and process.
        lm_weight: what a token that is not the reply's counts beside one that is: the auxiliary objective
            of Radford et al. (2018), 1 learns the whole text.
        seed: of the dropout.
        auxiliary: what else is to be learnt from each batch.
    """

    def __init__(
        self,
        course: Curriculum | Reading,
        *,
        steps: int | None = None,
        accumulate: int = 1,
        lm_weight: float = 0.0,
        seed: int = 0,
        auxiliary: AuxiliaryLoss | None = None,
    ) -> None:
        self._course, self._lm_weight, self._seed, self._auxiliary = course, lm_weight, seed, auxiliary
        self._rank, self._world = process()
        self.parts_a_step = accumulate * self._world
        whole = -(-len(course) // self.parts_a_step)
        self.steps = min(steps or whole, whole)

    def parts(self, step: int, model: PreTrainedModel) -> Iterator[tuple[torch.Tensor, int]]:
        """Yield this process's parts of a step's loss, in nats a token, and their real tokens."""
        numbers = range(step * self.parts_a_step, min((step + 1) * self.parts_a_step, len(self._course)))
        batches = [self._course[number] for number in numbers]
        weights = [self._weights(ids, reply) for ids, reply in batches]
        total = max(sum(float(weight.sum()) for weight in weights), 1.0)
        device = next(model.parameters()).device
        for number, (ids, reply), weight in zip(numbers, batches, weights, strict=True):
            if number % self._world == self._rank:
                torch.manual_seed(self._seed + number)  # dropout comes from the batch alone
                learnt = weight > 0
                costs = token_costs(model, ids.to(device), learnt.to(device))
                loss = (costs * weight[learnt].to(device)).sum() / total
                if self._auxiliary:
                    loss = loss + self._auxiliary(number, reply) / len(numbers)
                yield loss, int((ids != self._course.pad).sum())

    def _weights(self, ids: torch.Tensor, reply: torch.Tensor) -> torch.Tensor:
        """Return what each token counts, ``(conversations, longest)``; the first follows nothing."""
        weights = torch.where(reply, 1.0, self._lm_weight * (ids != self._course.pad))
        weights[:, 0] = 0
        return weights


def token_costs(
    model: PreTrainedModel, ids: torch.Tensor, learnt: torch.Tensor, chance: int | None = None
) -> torch.Tensor:
    """Return what every id where ``learnt`` is true costs after those before it, in nats, float32 ``(n,)``.

    Both are ``(batch, length)``, padded on the right, where causal attention never looks. With
    ``chance`` every second sequence is moved to a random place, seeded by it, so that short lines
    train every position.
    """
    batch, length = ids.shape
    moved: dict[str, torch.Tensor] = {}
    if chance is not None:
        generator = torch.Generator().manual_seed(chance)
        room = max(model.config.n_positions - length, 0)
        offset = torch.randint(0, room + 1, (batch, 1), generator=generator)
        offset *= torch.randint(0, 2, (batch, 1), generator=generator)
        moved["position_ids"] = (torch.arange(length - 1) + offset).to(ids.device)
    places = learnt[:, 1:]
    with mixed_precision(ids.device.type), _head_at(model, places):
        scores = model(input_ids=ids[:, :-1], use_cache=False, **moved).logits
    return F.cross_entropy(scores.float(), ids[:, 1:][places], reduction="none")


@contextmanager
def _head_at(model: PreTrainedModel, places: torch.Tensor) -> Iterator[None]:
    """Run the vocabulary head where something is learnt alone: it is a third of a small model's work."""
    head: Any = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda module, states: (states[0][places],))
    try:
        yield
    finally:
        hook.remove()


def train_on(
    course: Curriculum,
    model: PreTrainedModel,
    optimizers: Sequence[torch.optim.Optimizer],
    state: Path,
    *,
    whole: bool = False,
    identity: str = "",
    report: Report | None = None,
    auxiliary: AuxiliaryLoss | None = None,
) -> Spent:
    """Train once through ``course``, on the replies or on the ``whole`` text.

    A state is taken up only where it began from these weights, with this ``identity`` and length. An
    ``auxiliary`` loss may be a module around the model, whose weights are trained and saved with it.
    """
    plan = Plan(course, lm_weight=1.0 if whole else 0.0, auxiliary=auxiliary)
    trained = auxiliary if isinstance(auxiliary, torch.nn.Module) else model
    with quiet_transformers():
        return fit(
            trained, lambda step: plan.parts(step, model), optimizers, state,
            steps=plan.steps, warmup=WARMUP, save_every=5, report=report,
            identity=f"{fingerprint(model)} {identity} {plan.steps}",
        )  # fmt: skip


def fingerprint(model: torch.nn.Module) -> str:
    """Identify a model by its weights."""
    digest = hashlib.sha256()
    for parameter in model.parameters():
        digest.update(parameter.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def settle_generation(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    stop_ids: Iterable[int],
    temperature: float = 0.7,
) -> None:
    """Make plain ``generate`` stop where our replies end, and not at twenty tokens."""
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=temperature,
        top_p=0.9,
        max_new_tokens=64,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=sorted(stop_ids),
        pad_token_id=tokenizer.pad_token_id,
    )

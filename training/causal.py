"""Training a causal language model on conversations: batches, loss, and how replies end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from chatbot.models.checkpoint import quiet_transformers
from chatbot.models.format import MarkerFormat
from training.batches import Batches, joined
from training.dialogues import Conversation
from training.loop import Spent, fit

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

WARMUP = 0.02  # share of the steps


class Curriculum:
    """Batches of conversations, epoch after epoch: ids, and where the replies are in them."""

    def __init__(
        self,
        form: MarkerFormat,
        epochs: Sequence[Sequence[Conversation]],
        *,
        longest: int,
        batch_tokens: int,
    ) -> None:
        self.pad = int(form.tokenizer.pad_token_id or 0)
        self._epochs: list[tuple[Batches, Batches]] = []
        for seed, conversations in enumerate(epochs):
            parts = [form.sequence(c.turns, style=c.style, speaker=c.speaker) for c in conversations]
            ids, starts = joined(np.array(part.ids[:longest], dtype=np.int32) for part in parts)
            reply, _ = joined(np.array(part.reply[:longest]) for part in parts)
            self._epochs.append(
                (
                    Batches(ids, starts, batch_tokens=batch_tokens, pad=self.pad, seed=seed),
                    Batches(reply, starts, batch_tokens=batch_tokens, pad=0, seed=seed),
                )
            )

    def __len__(self) -> int:
        """Return how many batches there are in all epochs."""
        return sum(len(ids) for ids, _ in self._epochs)

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids, int64, and reply, bool, both ``(conversations, longest)``."""
        for ids, reply in self._epochs:
            if step < len(ids):
                return ids[step], reply[step].bool()
            step -= len(ids)
        raise IndexError(step)


def train_on(
    course: Curriculum,
    model: PreTrainedModel,
    optimizers: Sequence[torch.optim.Optimizer],
    state: Path,
    *,
    whole: bool = False,
    steps: int | None = None,
    identity: str = "",
    report: Callable[[int, int], None] | None = None,
) -> Spent:
    """Train once through ``course``, or ``steps`` steps of it; on the replies, or on the ``whole`` text.

    A state is taken up only where it began from these weights, with this ``identity`` and length.
    """
    device = next(model.parameters()).device

    def losses_of(step: int) -> Iterator[tuple[torch.Tensor, int]]:
        ids, reply = (tensor.to(device) for tensor in course[step])
        yield next_token_loss(model, ids, (ids != course.pad) if whole else reply), ids.numel()

    count = min(steps or len(course), len(course))
    with quiet_transformers():
        return fit(
            model, losses_of, optimizers, state,
            steps=count, warmup=WARMUP, save_every=5, identity=f"{_fingerprint(model)} {identity} {count}",
            report=report,
        )  # fmt: skip


def _fingerprint(model: PreTrainedModel) -> str:
    digest = hashlib.sha256()
    for parameter in model.parameters():
        digest.update(parameter.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def settle_generation(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, temperature: float = 0.7
) -> None:
    """Make plain ``generate`` stop where our replies end, and not at twenty tokens."""
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=temperature,
        top_p=0.9,
        max_new_tokens=64,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=sorted(MarkerFormat(tokenizer).stop_ids),
        pad_token_id=tokenizer.pad_token_id,
    )


def next_token_loss(
    model: PreTrainedModel, ids: torch.Tensor, learn: torch.Tensor, chance: int | None = None
) -> torch.Tensor:
    """Return the mean cross-entropy of every id where ``learn`` is true, in nats.

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
    scores = model(input_ids=ids[:, :-1], **moved).logits
    counts = learn[:, 1:]
    return F.cross_entropy(scores[counts].float(), ids[:, 1:][counts])

"""Masked language modelling (Devlin et al. 2019, arXiv:1810.04805): how encoders read plain text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch.nn import functional as F

from chatbot.errors import UsageError
from training.trainer import CountsTokens, on_one_device

RATE = 0.15  # share of the places to be guessed


def masked_lm_loss(
    model: Any, ids: torch.Tensor, generator: torch.Generator, *, rate: float, mask: int, specials: int
) -> torch.Tensor:
    """Return the mean of :func:`masked_costs`, which takes the same; 0 where nothing was drawn."""
    costs = masked_costs(model, ids, generator, rate=rate, mask=mask, specials=specials)
    return costs.mean() if len(costs) else costs.sum()


def masked_costs(
    model: Any, ids: torch.Tensor, generator: torch.Generator, *, rate: float, mask: int, specials: int
) -> torch.Tensor:
    """Mask ``ids`` (80 % mask, 10 % random, 10 % kept) and return what each place costs, in nats, ``(n,)``.

    The vocabulary head runs on the masked places only; over all of them it would cost more
    than a small encoder itself.

    Args:
        model: a ``BertForMaskedLM``, or another whose head is a part of its own (see :func:`head_of`).
        ids: int64 ``(batch, length)``, padded with the configuration's ``pad_token_id``.
        generator: where all chance comes from, on the device of ``ids``.
        rate: share of the places that are to be guessed.
        mask: id of the mask token.
        specials: ids below this are special and never guessed.
    """
    draw = torch.rand(ids.shape, generator=generator, device=ids.device)
    chosen = (draw < rate) & (ids >= specials)
    how = torch.rand(ids.shape, generator=generator, device=ids.device)
    size = model.config.vocab_size
    random_ids = torch.randint(specials, size, ids.shape, generator=generator, device=ids.device)
    inputs = torch.where(chosen & (how < 0.8), mask, ids)
    inputs = torch.where(chosen & (how >= 0.9), random_ids, inputs)
    seen = (ids != model.config.pad_token_id).long()
    states = model.base_model(inputs, attention_mask=seen).last_hidden_state[chosen]
    return F.cross_entropy(head_of(model)(states).float(), ids[chosen], reduction="none")


def head_of(model: Any) -> Any:
    """Return what turns the states of a masked language model into scores, as BERT and RoBERTa have it.

    Raises:
        UsageError: the model has none that stands alone.
    """
    head = getattr(model, "cls", None) or getattr(model, "lm_head", None)
    if head is None:
        raise UsageError(
            f"--pretrain: {type(model).__name__}은(는) 글을 미리 읽힐 수 없어요. "
            "BERT나 RoBERTa 바탕을 쓰거나 --pretrain을 빼 주세요."
        )
    return head


def open_masked(source: Path | str) -> Any:
    """Open a checkpoint as a masked language model in float32; a head it lacks is drawn at random.

    Raises:
        UsageError: it cannot be one.
    """
    from transformers import AutoModelForMaskedLM

    try:
        return AutoModelForMaskedLM.from_pretrained(source, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--pretrain: {source}에는 글을 미리 읽힐 수 없어요({type(error).__name__}). "
            "BERT나 RoBERTa 바탕을 쓰거나 --pretrain을 빼 주세요."
        ) from error


class MaskedTrainer(CountsTokens):
    """Trains on ids with other places masked every time; the places come from the step alone."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> torch.Tensor:
        """Return the loss of a batch."""
        ids = inputs["input_ids"]
        self.state.num_input_tokens_seen += int(inputs["attention_mask"].sum())
        generator = torch.Generator(ids.device).manual_seed(self.args.seed + self.state.global_step)
        # The trainer's own mixed precision is around the model's ``forward``, which is not what is called.
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self.args.bf16):
            return masked_lm_loss(model, ids, generator, **_masking(cast(Any, self.processing_class)))


def masked_cost(
    model: Any, tokenizer: Any, lines: Sequence[str], longest: int, *, batch: int, seed: int
) -> dict[str, float]:
    """Return what guessing masked places of ``lines`` costs: nats a place, and the perplexity.

    With the same ``seed`` the same places are masked, so that two models compare.

    Args:
        model: a masked language model.
        tokenizer: its tokenizer.
        lines: plain text.
        longest: ids of a line at most, the rest is cut off.
        batch: lines at once.
        seed: what the places are drawn from.
    """
    generator = torch.Generator(model.device).manual_seed(seed)
    nats, places = 0.0, 0
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(lines), batch):
            read = tokenizer(
                list(lines[start : start + batch]),
                truncation=True, max_length=longest, padding=True, return_tensors="pt",
            )  # fmt: skip
            ids = read["input_ids"].to(model.device)
            costs = masked_costs(model, ids, generator, **_masking(tokenizer))
            nats += float(costs.double().sum())
            places += len(costs)
    model.train()
    mean = nats / max(places, 1)
    return {"nats": mean, "perplexity": math.exp(min(mean, 50.0))}


def _masking(tokenizer: Any) -> dict[str, Any]:
    """Return how text is masked, as :func:`masked_costs` takes it."""
    # The mask itself, which some have at the end of the vocabulary, does not stand in any text.
    others = [number for number in tokenizer.all_special_ids if number != tokenizer.mask_token_id]
    return {"rate": RATE, "mask": tokenizer.mask_token_id, "specials": max(others) + 1}


def masked_trainer(
    model: Any, tokenizer: Any, lines: Sequence[str], longest: int, *, batch: int, rate: float,
    common: dict[str, Any],
) -> MaskedTrainer:  # fmt: skip
    """Return a trainer that lets ``model`` read ``lines`` once, one a sequence of ``longest`` ids at most.

    Args:
        model: a masked language model.
        tokenizer: its tokenizer.
        lines: plain text.
        longest: ids of a line at most, the rest is cut off.
        batch: lines a step.
        rate: peak learning rate.
        common: what :func:`training.trainer.common_arguments` returns.
    """
    from datasets import Dataset
    from transformers import DataCollatorWithPadding, TrainingArguments

    head_of(model)
    ids = tokenizer(list(lines), truncation=True, max_length=longest)["input_ids"]
    return MaskedTrainer(
        model=model,
        args=on_one_device(
            TrainingArguments(
                **common, num_train_epochs=1, per_device_train_batch_size=batch, learning_rate=rate,
                warmup_steps=0.1, save_steps=10**9,
            )
        ),
        train_dataset=Dataset.from_dict({"input_ids": ids}),
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
    )  # fmt: skip


def take_over(inner: Any, read: Path) -> None:
    """Give an encoder the weights of the masked language model of its kind saved in ``read``, in place."""
    weights = open_masked(read).base_model.state_dict()
    inner.load_state_dict(weights, strict=False)  # a pooler, which nobody trains, is not in it

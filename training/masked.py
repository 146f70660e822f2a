"""Masked language modelling (Devlin et al. 2019, arXiv:1810.04805): how encoders read plain text."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F


def masked_lm_loss(
    model: Any, ids: torch.Tensor, generator: torch.Generator, *, rate: float, mask: int, specials: int
) -> torch.Tensor:
    """Mask ``ids`` (80 % mask, 10 % random, 10 % kept) and return the mean cross-entropy, in nats.

    The vocabulary head runs on the masked places only; over all of them it would cost more
    than a small encoder itself.

    Args:
        model: a ``BertForMaskedLM``.
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
    states = model.bert(inputs, attention_mask=seen).last_hidden_state[chosen]
    return F.cross_entropy(model.cls(states), ids[chosen])

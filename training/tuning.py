"""Which weights a fine-tuning trains: all, the top blocks, more and more of them, or low-rank additions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import nn

from chatbot.errors import UsageError

Tune = Literal["full", "freeze", "gradual", "lora"]
TUNES: tuple[Tune, ...] = get_args(Tune)

LORA_RANK = 16
_UNFROZEN_BY = 2 / 3  # of the steps: from there on gradual unfreezing trains everything


class Tuning:
    """Freezes and unfreezes the weights of a model as training goes on.

    Args:
        model: the model whose ``parameters`` are trained; with ``"lora"`` use :func:`with_lora` first.
        tune: what to train.
        layers: how many of the top blocks ``"freeze"`` trains.
        unused: a part that takes no part in the loss and so is never trained.

    Raises:
        UsageError: there are not so many blocks.
    """

    def __init__(
        self, model: nn.Module, tune: Tune, layers: int = 2, unused: nn.Module | None = None
    ) -> None:
        self.model, self.tune, self.layers, self._unused = model, tune, layers, unused
        self._blocks = blocks(model)
        if tune == "freeze" and not 1 <= layers <= len(self._blocks):
            raise UsageError(
                f"--layers {layers}: 이 모델의 블록은 {len(self._blocks)}개예요. 그 안에서 골라 주세요."
            )
        # Low-rank additions come frozen around themselves; nothing of that changes on the way.
        self._lora = [p for p in model.parameters() if p.requires_grad] if tune == "lora" else []

    def at(self, progress: float) -> int:
        """Set what is trained at ``progress`` in 0..1; return how many numbers that is."""
        if self.tune == "lora":
            return count(self._lora)
        if self.tune == "full":
            trained: Iterable[nn.Module] = [self.model]
        elif self.tune == "freeze":
            trained = self._blocks[-self.layers :]
        else:
            trained = self._unfrozen(progress)
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        for module in trained:
            for parameter in module.parameters():
                parameter.requires_grad_(True)
        if self._unused is not None:
            self._unused.requires_grad_(False)
        return count(p for p in self.model.parameters() if p.requires_grad)

    def _unfrozen(self, progress: float) -> Sequence[nn.Module]:
        """Return the blocks that gradual unfreezing trains by now (Howard and Ruder 2018, arXiv:1801.06146).

        The last stage is the whole model, its embeddings included.
        """
        stage = int(progress / _UNFROZEN_BY * (len(self._blocks) + 1))
        return self._blocks[-(stage + 1) :] if stage < len(self._blocks) else [self.model]


def blocks(model: nn.Module) -> list[nn.Module]:
    """Return the transformer blocks of any model, bottom first: its longest list of like modules."""
    lists = [
        list(m) for m in model.modules() if isinstance(m, nn.ModuleList) and len({type(b) for b in m}) == 1
    ]
    return max(lists, key=len, default=[])


def time_and_memory(seconds: float, weights: int, trained: int) -> str:
    """Return, in Korean, what a training takes: its time, and the memory that weights ask for."""
    megabytes = (4 * weights + 12 * trained) / 1e6  # weights; gradients and two moments of what is trained
    memory = f"{megabytes / 1000:.1f}GB" if megabytes >= 1000 else f"{megabytes:.0f}MB"
    return f"{max(1, round(seconds / 60)):,}분쯤 걸리고 가중치에 메모리 {memory}쯤을 써요."


def count(parameters: Iterable[torch.Tensor]) -> int:
    """Return how many numbers are in parameters."""
    return sum(parameter.numel() for parameter in parameters)


def with_lora(model: Any, new_tokens: Sequence[int], rank: int = LORA_RANK) -> Any:
    """Return the model with low-rank additions (Hu et al. 2021, arXiv:2106.09685) beside every projection.

    Everything else is frozen but the embeddings of ``new_tokens``, which nobody has trained yet; a tied
    head stays tied to them.
    """
    from peft import LoraConfig, get_peft_model

    embeddings = next(
        name for name, module in model.named_modules() if module is model.get_input_embeddings()
    )
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        trainable_token_indices={embeddings.rpartition(".")[2]: list(new_tokens)} if new_tokens else None,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)

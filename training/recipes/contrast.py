"""What the encoder's and the reranker's recipes share: contrasts of texts that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from chatbot.models.checkpoint import describe, new_checkpoint
from training.recipes.steps import open_to_all
from training.trainer import common_arguments, last_checkpoint, on_one_device

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_PROXIES = "proxies.pt"
_PROXY_RATE = 3e-3  # learning rate of the vectors that stand for sets: each is met but a few times


def export_encoder(trained: Path, out: Path, kind: str) -> None:
    """Write what ships to ``out``: a float16 sentence-transformers checkpoint and an int8 ONNX graph."""
    from sentence_transformers import SentenceTransformer

    from training.onnx_export import export_int8

    model = SentenceTransformer(str(trained), device="cpu")
    with new_checkpoint(out, kind) as part:
        export_int8(model, part)
        model.half().save_pretrained(str(part), create_model_card=False)
        describe(part, kind, {}, "")  # the card says the rest
    open_to_all(out)


class ProxySoftmax(torch.nn.Module):
    """Softmax over one learnt vector per set of texts: which set is this text of?

    Every other set is a negative at every step, not only those that a batch happens to hold (proxies,
    Movshovitz-Attias et al. 2017, arXiv:1703.07464; on the unit sphere as NormFace, Wang et al. 2017,
    arXiv:1704.06369). The vectors start as the means of their texts, taken at the first step.

    Args:
        model: what is trained.
        texts: the texts, each with the number of its set, from 0 on.
        scale: of the cosines.
    """

    def __init__(self, model: SentenceTransformer, texts: Sequence[tuple[str, int]], scale: float) -> None:
        super().__init__()
        self.model, self.scale = model, scale
        self._texts = texts
        sets = 1 + max(number for _, number in texts)
        width = model.get_embedding_dimension() or 0
        self.proxies = torch.nn.Parameter(torch.zeros(sets, width, device=model.device))

    def forward(
        self, sentence_features: Sequence[dict[str, torch.Tensor]], labels: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss of a batch of texts, ``labels`` the numbers of their sets."""
        if self._texts:
            self._count()
        vectors = self.model(sentence_features[0])["sentence_embedding"]
        cosines = vectors @ torch.nn.functional.normalize(self.proxies, dim=1).T
        return torch.nn.functional.cross_entropy(self.scale * cosines, labels)

    def save(self, folder: Path) -> None:
        """Write the vectors beside the model's checkpoint in ``folder``, whole or not at all."""
        part = folder / f"{_PROXIES}.part"
        torch.save(self.proxies.data, part)
        part.replace(folder / _PROXIES)

    def load(self, folder: Path) -> None:
        """Go on with the vectors of a checkpoint; one that was cut off before they were written has none."""
        with suppress(OSError):
            saved = torch.load(folder / _PROXIES, weights_only=True, map_location=self.proxies.device)
            self.proxies.data.copy_(saved)
            self._texts = ()

    def _count(self) -> None:
        said, numbers = zip(*self._texts, strict=True)
        vectors = self.model.encode(
            list(said), batch_size=256, show_progress_bar=False, convert_to_tensor=True
        )
        with torch.no_grad():
            sums = torch.zeros_like(self.proxies).index_add_(
                0, torch.tensor(numbers, device=self.proxies.device), vectors.to(self.proxies)
            )
            self.proxies.copy_(torch.nn.functional.normalize(sums, dim=1))
        self.model.train()
        self._texts = ()


class _SavesProxies(TrainerCallback):
    """Has the vectors of a :class:`ProxySoftmax` in every checkpoint: the trainer saves the model alone."""

    def __init__(self, loss: ProxySoftmax) -> None:
        self._loss = loss

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Add them to the checkpoint that was just written."""
        self._loss.save(Path(args.output_dir or ".") / f"checkpoint-{state.global_step}")


def train_by_contrast(
    model: SentenceTransformer,
    pairs: Sequence[tuple[str, str]],
    scored: Sequence[tuple[str, str, float]],
    state: Path,
    *,
    labelled: Sequence[tuple[str, int]] = (),
    device: str,
    seed: int,
    batch: int,
    learning_rate: float,
    scale: float,
    save_every: int,
) -> int:
    """Train ``model`` once through all, in place, and return the steps it took.

    Of ``pairs`` the second is to be found among a batch's (multiple negatives ranking, Henderson et al.
    2017, arXiv:1705.00652, cosines times ``scale``); texts of ``labelled`` are told apart by the number of
    their set (:class:`ProxySoftmax`); those of ``scored`` are to be the nearer the higher the score (CoSENT,
    Su 2022). A checkpoint in ``state`` is gone on with; one is saved there every ``save_every`` steps and
    removed, with the folder that ``state`` lies in, at the end.
    """
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import CoSENTLoss, MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.training_args import (
        BatchSamplers,
        MultiDatasetBatchSamplers,
    )

    losses: dict[str, torch.nn.Module] = {
        "pairs": MultipleNegativesRankingLoss(model, scale=scale),
        "scored": CoSENTLoss(model),
    }
    saved = last_checkpoint(state)
    callbacks: list[TrainerCallback] = []
    if labelled:
        losses["labelled"] = sets = ProxySoftmax(model, list(dict.fromkeys(labelled)), scale)
        callbacks.append(_SavesProxies(sets))
        if saved:
            sets.load(saved)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=on_one_device(
            SentenceTransformerTrainingArguments(
                **{**common_arguments(state, device, seed), "disable_tqdm": False, "logging_steps": 50},
                num_train_epochs=1,
                per_device_train_batch_size=batch,
                learning_rate=learning_rate,
                learning_rate_mapping={"proxies": _PROXY_RATE} if labelled else {},
                warmup_steps=0.1,
                batch_sampler=BatchSamplers.NO_DUPLICATES,
                multi_dataset_batch_sampler=MultiDatasetBatchSamplers.PROPORTIONAL,
                save_steps=save_every,
            )
        ),
        train_dataset={
            name: Dataset.from_dict(dict(zip(columns, zip(*rows, strict=True), strict=True)))
            for name, columns, rows in (
                ("pairs", ("anchor", "positive"), pairs),
                ("labelled", ("sentence", "label"), labelled),
                ("scored", ("sentence1", "sentence2", "score"), scored),
            )
            if rows
        },
        loss=losses,
        callbacks=callbacks,
    )
    done = trainer.train(resume_from_checkpoint=str(saved) if saved else None)
    rmtree(state.parent)
    return done.global_step

"""What the encoder's and the reranker's recipes share: contrasts of texts that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING

from chatbot.models.checkpoint import describe, new_checkpoint
from training.recipes.steps import open_to_all
from training.trainer import common_arguments, last_checkpoint

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


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


def train_by_contrast(
    model: SentenceTransformer,
    pairs: Sequence[tuple[str, str]],
    scored: Sequence[tuple[str, str, float]],
    state: Path,
    *,
    device: str,
    seed: int,
    batch: int,
    learning_rate: float,
    scale: float,
    save_every: int,
) -> int:
    """Train ``model`` once through all, in place, and return the steps it took.

    Of ``pairs`` the second is to be found among a batch's (multiple negatives ranking, Henderson et al.
    2017, arXiv:1705.00652, cosines times ``scale``); those of ``scored`` are to be the nearer the higher the
    score (CoSENT, Su 2022). A checkpoint in ``state`` is gone on with; one is saved there every
    ``save_every`` steps and removed, with the folder that ``state`` lies in, at the end.
    """
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import CoSENTLoss, MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.training_args import (
        BatchSamplers,
        MultiDatasetBatchSamplers,
    )

    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            **{**common_arguments(state, device, seed), "disable_tqdm": False, "logging_steps": 50},
            num_train_epochs=1,
            per_device_train_batch_size=batch,
            learning_rate=learning_rate,
            warmup_steps=0.1,
            batch_sampler=BatchSamplers.NO_DUPLICATES,
            multi_dataset_batch_sampler=MultiDatasetBatchSamplers.PROPORTIONAL,
            save_steps=save_every,
        ),
        train_dataset={
            "pairs": Dataset.from_dict({"anchor": [a for a, _ in pairs], "positive": [b for _, b in pairs]}),
            "scored": Dataset.from_dict(
                {
                    "sentence1": [a for a, _, _ in scored],
                    "sentence2": [b for _, b, _ in scored],
                    "score": [score for _, _, score in scored],
                }
            ),
        },
        loss={"pairs": MultipleNegativesRankingLoss(model, scale=scale), "scored": CoSENTLoss(model)},
    )
    saved = last_checkpoint(state)
    done = trainer.train(resume_from_checkpoint=str(saved) if saved else None)
    rmtree(state.parent)
    return done.global_step

"""What the encoder's and the reranker's recipes share: contrasts of texts that belong together."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING

import numpy as np

from chatbot.models.checkpoint import describe, new_checkpoint
from training.recipes.steps import open_to_all
from training.trainer import common_arguments, last_checkpoint

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_TOGETHER = 1024  # texts whose neighbours are sought at a time
_REPRESENTATIVES = 6  # texts of a set that may be another's negative


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


def with_near_others(
    model: SentenceTransformer,
    pairs: Sequence[tuple[str, str]],
    sets: Sequence[Sequence[str]],
    count: int,
    rng: random.Random,
) -> list[tuple[str, str, str]]:
    """Return pairs from some sets, each with a text of another set that the model finds near it.

    It is one of the ``count`` nearest to the first: a hard negative. Looked for among the sets that the pairs
    come from, of each set the first few texts.
    """
    owner = {text: number for number, texts in enumerate(sets) for text in texts}
    asked = list(dict.fromkeys(anchor for anchor, _ in pairs))
    drawn = dict.fromkeys(owner[anchor] for anchor in asked)
    texts = [text for number in drawn for text in sets[number][:_REPRESENTATIVES]]
    owners = np.array([owner[text] for text in texts])
    unique = list(dict.fromkeys([*asked, *texts]))
    vectors = model.encode(unique, batch_size=256, show_progress_bar=False, convert_to_numpy=True)
    row = {text: number for number, text in enumerate(unique)}
    others = vectors[[row[text] for text in texts]]
    near: dict[str, np.ndarray] = {}
    for start in range(0, len(asked), _TOGETHER):
        part = asked[start : start + _TOGETHER]
        cosines = vectors[[row[text] for text in part]] @ others.T
        cosines[np.array([owner[text] for text in part])[:, None] == owners] = -1.0
        nearest = np.argpartition(-cosines, min(count, len(texts) - 1), axis=1)[:, :count]
        near |= dict(zip(part, nearest, strict=True))
    return [(anchor, positive, texts[rng.choice(near[anchor])]) for anchor, positive in pairs]


def train_by_contrast(
    model: SentenceTransformer,
    pairs: Sequence[tuple[str, str]],
    scored: Sequence[tuple[str, str, float]],
    state: Path,
    *,
    contrasted: Sequence[tuple[str, str, str]] = (),
    device: str,
    seed: int,
    batch: int,
    learning_rate: float,
    scale: float,
    save_every: int,
) -> int:
    """Train ``model`` once through all, in place, and return the steps it took.

    Of ``pairs`` the second is to be found among a batch's (multiple negatives ranking, Henderson et al.
    2017, arXiv:1705.00652, cosines times ``scale``), of ``contrasted`` among a batch's second and third;
    those of ``scored`` are to be the nearer the higher the score (CoSENT, Su 2022). A checkpoint in ``state``
    is gone on with; one is saved there every ``save_every`` steps and removed, with the folder that
    ``state`` lies in, at the end.
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
            name: Dataset.from_dict(dict(zip(columns, zip(*rows, strict=True), strict=True)))
            for name, columns, rows in (
                ("pairs", ("anchor", "positive"), pairs),
                ("contrasted", ("anchor", "positive", "negative"), contrasted),
                ("scored", ("sentence1", "sentence2", "score"), scored),
            )
            if rows
        },
        loss={
            "pairs": MultipleNegativesRankingLoss(model, scale=scale),
            "contrasted": MultipleNegativesRankingLoss(model, scale=scale),
            "scored": CoSENTLoss(model),
        },
    )
    saved = last_checkpoint(state)
    done = trainer.train(resume_from_checkpoint=str(saved) if saved else None)
    rmtree(state.parent)
    return done.global_step

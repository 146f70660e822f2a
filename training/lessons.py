"""What an encoder learns from: examples with a loss for each kind, hard negatives, a teacher's vectors."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import TYPE_CHECKING

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    CoSENTLoss,
    EmbedDistillLoss,
    MultipleNegativesRankingLoss,
)
from torch import nn

from training.distil import teacher_examples
from training.pairs import Example, Kind, TrainingData

if TYPE_CHECKING:
    from datasets import Dataset

_CACHED_ABOVE = 128  # texts a batch whose loss is worked out in parts
_PART = 64
_SCALE = 20.0  # of cosines, as in the encoder that ships
# What the columns of each kind of examples are called.
_COLUMNS: dict[Kind, tuple[str, ...]] = {
    "pairs": ("anchor", "positive"),
    "paraphrases": ("anchor", "positive"),
    "intents": ("anchor", "positive"),
    "triplets": ("anchor", "positive", "negative"),
    "scores": ("sentence1", "sentence2", "score"),
}


def lessons(
    model: SentenceTransformer,
    data: TrainingData,
    batch: int,
    hard_negatives: int = 0,
    teacher: SentenceTransformer | None = None,
) -> tuple[dict[str, Dataset], dict[str, nn.Module]]:
    """Return the sets of examples a trainer takes, and the loss of each.

    Args:
        model: what is trained; hard negatives are mined with it as it is.
        data: examples by kind.
        batch: examples a step.
        hard_negatives: how many are mined for each pair.
        teacher: whose vectors of all the texts are learnt besides.
    """
    sets = {str(kind): _dataset_of(kind, examples) for kind, examples in data.train.items()}
    if hard_negatives:
        sets = _with_hard_negatives(sets, model, hard_negatives)
    losses = {name: _loss(name, model, batch) for name in sets}
    if teacher:
        width = int(model.get_embedding_dimension() or 0)
        sets["teacher"] = teacher_examples(teacher, data.texts(), width)
        losses["teacher"] = EmbedDistillLoss(model, distance_metric="cosine")
    return sets, losses


def _dataset_of(kind: Kind, examples: Sequence[Example]) -> Dataset:
    from datasets import Dataset

    columns = zip(*examples, strict=True)
    return Dataset.from_dict(
        {name: list(column) for name, column in zip(_COLUMNS[kind], columns, strict=True)}
    )


def _loss(name: str, model: SentenceTransformer, batch: int) -> nn.Module:
    """Return the loss of a kind of examples.

    Multiple negatives ranking (Henderson et al. 2017, arXiv:1705.00652), in parts for big batches (Gao et
    al. 2021, arXiv:2101.06983); for scores CoSENT (Su 2022).
    """
    if name == "scores":
        return CoSENTLoss(model)
    if batch > _CACHED_ABOVE:
        return CachedMultipleNegativesRankingLoss(model, scale=_SCALE, mini_batch_size=_PART)
    return MultipleNegativesRankingLoss(model, scale=_SCALE)


def _with_hard_negatives(
    sets: dict[str, Dataset], model: SentenceTransformer, negatives: int
) -> dict[str, Dataset]:
    """Give pairs the texts nearest to their anchors that are wrong; pairs without any stay as they are.

    Not so intents, whose nearest texts are other wordings of the same.
    """
    from sentence_transformers.util import mine_hard_negatives

    found: dict[str, Dataset] = {}
    for kind, rows in sets.items():
        found[kind] = rows
        if kind not in ("pairs", "paraphrases"):
            continue
        with redirect_stderr(io.StringIO()):  # bars that cannot be switched off
            mined = mine_hard_negatives(
                rows, model, num_negatives=negatives, relative_margin=0.05, output_format="n-tuple",
                batch_size=_PART, verbose=False,
            )  # fmt: skip
        if len(mined):
            known = set(zip(mined["anchor"], mined["positive"], strict=True))
            left = [
                n
                for n, pair in enumerate(zip(rows["anchor"], rows["positive"], strict=True))
                if pair not in known
            ]
            found[f"{kind}_mined"] = mined
            found[kind] = rows.select(left)
            if not left:
                del found[kind]
    return found

"""Making a small encoder out of a big one: some of its blocks, taught to give its vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from chatbot.errors import UsageError
from training.tuning import blocks

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer


def keep_blocks(model: Any, layers: int) -> None:
    """Leave ``layers`` of a transformer's blocks, evenly spread, and forget the others, in place.

    That is how DistilBERT starts (Sanh et al. 2019, arXiv:1910.01108).

    Args:
        model: a transformers model with a ``config``.
        layers: how many blocks stay.

    Raises:
        UsageError: there are not so many.
    """
    every = blocks(model)
    if not 1 <= layers <= len(every):
        raise UsageError(
            f"--student-layers {layers}: 이 모델의 블록은 {len(every)}개예요. 그 안에서 골라 주세요."
        )
    owner = next(
        module for module in model.modules() if isinstance(module, nn.ModuleList) and list(module) == every
    )
    chosen = np.linspace(len(every) - 1, 0, layers).round().astype(int)[::-1]  # the last always stays
    kept = [every[number] for number in chosen]
    del owner[:]
    owner.extend(kept)
    model.config.num_hidden_layers = layers


def teacher_examples(teacher: SentenceTransformer, texts: Sequence[str], width: int) -> Dataset:
    """Return texts with the vectors a student of ``width`` dimensions is to give them, as ``label``.

    Where the student is narrower it gets the teacher's vectors in their principal directions, which keep
    cosines best; where it is wider, zeros beside them.
    """
    from datasets import Dataset

    vectors = teacher.encode(
        list(texts), convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False
    ).astype(np.float32)
    if vectors.shape[1] > width:
        _, directions = np.linalg.eigh(vectors.T @ vectors)  # ascending
        vectors = vectors @ directions[:, ::-1][:, :width]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
    vectors = np.pad(vectors, ((0, 0), (0, width - vectors.shape[1])))
    return Dataset.from_dict({"text": list(texts), "label": vectors})

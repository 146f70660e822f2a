"""Sets of wordings, those of an intent or a situation, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chatbot.knowledge import Entry
from chatbot.models.encoder import Encoder, Vectors


class Sets(NamedTuple):
    """Entries by their answers: those with the same are one set.

    ``embeddings`` ``(n, width)`` are of the entries' questions, ``of`` ``(n,)`` is the number of each one's
    set. By that number ``sources`` names a set, ``first`` is the row of its first entry, ``sizes`` counts its
    entries and ``means`` ``(sets, width)`` is their mean embedding, of unit length.
    """

    embeddings: Vectors
    of: npt.NDArray[np.intp]
    sources: npt.NDArray[Any]
    first: npt.NDArray[np.intp]
    sizes: npt.NDArray[np.intp]
    means: Vectors


def sets_of(entries: Sequence[Entry], encoder: Encoder) -> Sets:
    """Return the sets that entries make, as an encoder sees their questions."""
    sources, first, of, sizes = np.unique(
        [entry.answers.source for entry in entries],
        return_index=True, return_inverse=True, return_counts=True,
    )  # fmt: skip
    embeddings = encoder.encode([entry.question for entry in entries])
    means = np.zeros((len(sources), embeddings.shape[1]), dtype=np.float32)
    np.add.at(means, of, embeddings)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    return Sets(embeddings, of, sources, first, sizes, means)

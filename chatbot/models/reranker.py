"""Reranking: how well a reply follows what was said before.

Two texts are compared that need not look alike, a context and a reply to it. An encoder of its own, taught on
what follows what, puts them near each other (Henderson et al. 2017, arXiv:1705.00652).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chatbot.dialogue import Turn
from chatbot.models.checkpoint import read_description
from chatbot.models.encoder import encode_each, find_encoder, load_encoder
from chatbot.resources import data_dir
from chatbot.text import one_line

_CONTEXT = 3  # turns that are read, the last one included


def shipped_reranker() -> Path:
    """Return the folder of the reranker that ships."""
    return data_dir() / "models" / "reranker"


def context_text(turns: Sequence[Turn]) -> str:
    """Return the last turns as the one text that a reply is judged by, in training and in talk alike.

    The last turn stands first: of what is too long the end is cut off.
    """
    return " | ".join(one_line(turn.text) for turn in reversed(turns[-_CONTEXT:]))


class Reranker:
    """Judges replies by an encoder of what follows what.

    ``decision`` is how its scores are weighed against others', where that was fitted; see
    :class:`chatbot.backends.hybrid.Decision`.

    Args:
        name_or_path: a folder, a trained encoder's name or a hub id; the shipped reranker by default.
        device: where it runs; the shipped one always on the CPU.

    Raises:
        EncoderError: nothing loadable there.
        UsageError: no such device.
    """

    def __init__(self, name_or_path: str | Path | None = None, device: str = "auto") -> None:
        if name_or_path is None:
            name_or_path, device = shipped_reranker(), "cpu"  # small: what ships is its int8 graph alone
        self._encoder = load_encoder(name_or_path, device)
        self.name, self.notes = self._encoder.name, self._encoder.notes
        folder = find_encoder(name_or_path)
        self.decision: dict[str, Any] = read_description(folder).get("decision", {}) if folder else {}

    def score(self, contexts: Sequence[str], replies: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the cosine of every context and its reply, float32 ``(n,)`` in -1..1."""
        texts = list(dict.fromkeys([*contexts, *map(one_line, replies)]))
        if not texts:
            return np.empty(0, dtype=np.float32)
        row = {text: number for number, text in enumerate(texts)}
        vectors = encode_each(self._encoder, texts)
        left = vectors[[row[context] for context in contexts]]
        right = vectors[[row[one_line(reply)] for reply in replies]]
        return np.einsum("nd,nd->n", left, right)

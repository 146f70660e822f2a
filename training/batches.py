"""Token ids on disk and in batches: tokenise once, then read batches of like length for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

_CHUNK = 10_000  # lines tokenised at a time


def tokenised_lines(
    work: Path, lines: Callable[[], list[str]], longest: int, around: tuple[list[int], list[int]] = ([], [])
) -> tuple[np.ndarray, np.ndarray]:
    """Return text as one uint16 array of ids, and int64 ``(n + 1)`` line starts.

    ``work`` holds the tokenizer and keeps the result, so that ``lines`` is called once only. A line
    is cut at ``longest`` ids, those that the tokenizer adds included; ``around`` are ids to put
    before and after it.
    """
    before, after = around
    vocabulary = work / "tokenizer" / "tokenizer.json"
    made_with = hashlib.sha256(vocabulary.read_bytes()).hexdigest()[:8]  # ids mean nothing to another
    ids_path, starts_path = work / f"ids-{made_with}.npy", work / f"starts-{made_with}.npy"
    if not starts_path.exists():
        tokenizer = Tokenizer.from_file(str(vocabulary))
        tokenizer.enable_truncation(longest)
        texts = lines()
        ids: list[np.ndarray] = []
        for start in range(0, len(texts), _CHUNK):
            encodings = tokenizer.encode_batch(texts[start : start + _CHUNK])
            ids += [np.array([*before, *encoding.ids, *after], dtype=np.uint16) for encoding in encodings]
        flat, starts = joined(ids)
        np.save(ids_path, flat)
        np.save(starts_path, starts)
    return np.load(ids_path), np.load(starts_path)


def joined(sequences: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return sequences as one array, and where each starts (int64 ``(n + 1)``)."""
    every = list(sequences)
    return np.concatenate(every), np.cumsum([0] + [len(sequence) for sequence in every])


class Batches:
    """Batches of whole sequences of like length, in an order fixed by the seed, round and round.

    With their padding they have at most ``batch_tokens`` places, unless one sequence alone has more.

    A line is a sequence of its own: packed end to end, eight unrelated sentences drown each
    other in the uniform attention that training starts from, and nothing is learnt for long.
    """

    def __init__(
        self, ids: np.ndarray, starts: np.ndarray, *, batch_tokens: int, pad: int, seed: int
    ) -> None:
        self.ids, self.starts, self.pad = ids, starts, pad
        rng = np.random.default_rng(seed)
        lengths = np.diff(starts)
        order = rng.permutation(len(lengths))
        order = order[np.argsort(lengths[order], kind="stable")]
        cuts, first = [], 0
        for row, length in enumerate(lengths[order].tolist()):
            if row > first and (row + 1 - first) * length > batch_tokens:  # the longest of its batch so far
                cuts.append(row)
                first = row
        self.rows = np.split(order, cuts)
        rng.shuffle(self.rows)

    def __len__(self) -> int:
        """Return how many batches go through everything once."""
        return len(self.rows)

    def __getitem__(self, step: int) -> torch.Tensor:
        """Return batch ``step`` as int64 ``(sequences, longest)``, padded on the right."""
        rows = self.rows[step % len(self.rows)]
        lines = [self.ids[self.starts[r] : self.starts[r + 1]] for r in rows]
        batch = np.full((len(lines), max(map(len, lines))), self.pad, dtype=np.int64)
        for i, line in enumerate(lines):
            batch[i, : len(line)] = line
        return torch.from_numpy(batch)

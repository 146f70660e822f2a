"""An interpolated Kneser-Ney character model: the yardstick a small GPT must beat.

Kneser and Ney 1995, in the interpolated form of Chen and Goodman (1999), one discount per order
estimated as n1 / (n1 + 2 n2). Counts are numpy arrays over ranked n-grams, so twenty million
characters take a minute.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

# What a character that the model has never seen costs, here and in GPT's figures.
UNKNOWN_BITS = 20.0
_BEGIN, _END, _FIRST = 0, 1, 2


@dataclass(frozen=True)
class _Order:
    """The n-grams of one order: keys (context rank times alphabet plus character), and their counts."""

    keys: np.ndarray
    counts: np.ndarray
    totals: np.ndarray  # by context
    types: np.ndarray  # by context
    discount: float


class KneserNey:
    """Probabilities of characters given the ones before them, within a line.

    Args:
        lines: the training text. A line begins with nothing known and ends with an end symbol.
        order: longest n-gram, 5 by default.
    """

    def __init__(self, lines: Iterable[str], order: int = 5) -> None:
        lines = list(lines)
        self.order = order
        alphabet = sorted({character for line in lines for character in line})
        self._code = {character: i for i, character in enumerate(alphabet, start=_FIRST)}
        self._size = len(alphabet) + _FIRST
        text = self._text(lines)
        predicted = text != _BEGIN
        ranks = [text]  # ranks[n - 1][t]: which n-gram ends at t
        keys = [np.arange(self._size)]
        for _ in range(1, order):
            before = np.concatenate([[0], ranks[-1][:-1]])
            unique, rank = np.unique(before * self._size + text, return_inverse=True)
            keys.append(unique)
            ranks.append(rank)
        self._orders = [self._count(n, keys, ranks, predicted, text) for n in range(1, order + 1)]

    def bits(self, lines: Sequence[str]) -> tuple[float, int]:
        """Return the bits that ``lines`` cost in all, line ends included, and their characters.

        A character never seen in training costs :data:`UNKNOWN_BITS`.
        """
        text = self._text(lines)
        probability = self._probabilities(text)
        scored = (text != _BEGIN) & (text != self._size)
        unknown = int((text == self._size).sum())
        bits = -np.log2(probability[scored]).sum() + UNKNOWN_BITS * unknown
        return float(bits), sum(map(len, lines))

    def distribution(self, context: str) -> dict[str, float]:
        """Return the probability of every character, and of the end (``""``), after a line's start."""
        symbols = [*self._code, ""]
        found = {}
        for symbol in symbols:
            codes = [_BEGIN] * (self.order - 1) + [self._code[c] for c in context]
            codes.append(self._code[symbol] if symbol else _END)
            found[symbol] = float(self._probabilities(np.array(codes))[-1])
        return found

    def _text(self, lines: Sequence[str]) -> np.ndarray:
        """Return lines as one array of codes, each behind as many begin symbols as a context holds."""
        start = [_BEGIN] * (self.order - 1)
        codes = [
            code for line in lines for code in (*start, *(self._code.get(c, self._size) for c in line), _END)
        ]
        return np.array(codes, dtype=np.int64)

    def _count(
        self, n: int, keys: list[np.ndarray], ranks: list[np.ndarray], predicted: np.ndarray, text: np.ndarray
    ) -> _Order:
        rank, size = ranks[n - 1], len(keys[n - 1])
        if n == self.order:
            counts = np.bincount(rank[predicted], minlength=size)
        else:
            # How many different characters stand before the n-gram, not how often it occurs;
            # a line's first n-gram has nothing before it and keeps its count.
            _, places = np.unique(ranks[n][predicted], return_index=True)
            counts = np.bincount(rank[np.flatnonzero(predicted)[places]], minlength=size)
            first = np.zeros(len(text), dtype=bool)
            first[n - 1 :] = text[: len(text) - n + 1] == _BEGIN
            raw = np.bincount(rank[predicted & first], minlength=size)
            counts = np.where(raw > 0, raw, counts)
        contexts = keys[n - 1] // self._size if n > 1 else np.zeros(size, dtype=np.int64)
        once, twice = int((counts == 1).sum()), int((counts == 2).sum())
        held = len(keys[n - 2]) if n > 1 else 1
        return _Order(
            keys[n - 1],
            counts,
            np.bincount(contexts, counts, minlength=held),
            np.bincount(contexts[counts > 0], minlength=held),
            once / (once + 2 * twice) if once and twice else 0.5,
        )

    def _probabilities(self, text: np.ndarray) -> np.ndarray:
        """Return the probability of every symbol given those before it, float64, same length."""
        probability = np.full(len(text), 1 / (self._size - 1))  # every symbol but the begin
        known = text < self._size
        rank = np.where(known, text, -1)  # of the n-gram that ends here, -1 where never seen
        context = np.zeros(len(text), dtype=np.int64)
        for n, order in enumerate(self._orders, start=1):
            if n > 1:
                context = np.concatenate([[-1], rank[:-1]])
                wanted = np.where((context >= 0) & known, context * self._size + text, -1)
                place = np.minimum(np.searchsorted(order.keys, wanted), len(order.keys) - 1)
                rank = np.where(order.keys[place] == wanted, place, -1)
            at = np.maximum(context, 0)
            total, types = order.totals[at], order.types[at]
            seen = (context >= 0) & (total > 0)
            count = np.where(rank >= 0, order.counts[np.maximum(rank, 0)], 0)
            total = np.where(seen, total, 1)
            own = np.maximum(count - order.discount, 0) / total
            rest = order.discount * types / total
            probability = np.where(seen, own + rest * probability, probability)
        return probability


def bits_per_character(bits: float, characters: int) -> float:
    """Return ``bits / characters``, not a number where there is nothing."""
    return bits / characters if characters else math.nan

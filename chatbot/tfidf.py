"""TF-IDF over character n-grams, searched through an inverted index.

The weights are those of scikit-learn's ``TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3),
sublinear_tf=True)`` (a test holds the two together); written out here because importing
scikit-learn takes longer than a whole first reply.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from chatbot.resources import write_private

_SPACES = re.compile(r"\s\s+")
_DAMPED = 1 + np.log(np.maximum(np.arange(256, dtype=np.float32), 1))  # what a count is worth
_ARRAYS = ("starts", "steps", "counts", "idf")


def char_ngrams(text: str, longest: int = 3) -> list[str]:
    """Return the 1- to ``longest``-grams of each word padded by a space, as scikit-learn's ``char_wb``."""
    grams: list[str] = []
    for word in _SPACES.sub(" ", text.lower()).split():
        padded = f" {word} "
        grams += padded
        for n in range(2, longest + 1):
            grams += [padded[i : i + n] for i in range(len(padded) - n + 1)] if len(padded) > n else [padded]
    return grams


class Tfidf:
    """The weighted n-grams of a list of texts.

    Attributes:
        terms: n-gram -> column.
        idf: float32 ``(columns,)``.
        starts, rows, counts: the matrix by column: the texts that hold n-gram ``c`` are
            ``rows[starts[c]:starts[c + 1]]``, so many times each, 255 at most.
        weights: float32, as long as ``rows``: of each text a vector of unit length. Worked out from the
            counts, which are nearly all 1 and so take a twentieth of the room in a package.
        size: how many texts there are.
    """

    def __init__(
        self,
        terms: dict[str, int],
        idf: npt.NDArray[np.float32],
        starts: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int32],
        counts: npt.NDArray[np.uint8],
        size: int,
    ) -> None:
        self.terms, self.idf, self.starts, self.rows, self.counts = terms, idf, starts, rows, counts
        self.size = size
        raw = _DAMPED[counts] * np.repeat(idf, np.diff(starts))
        lengths = np.sqrt(np.bincount(rows, raw * raw, minlength=size))
        self.weights = (raw / lengths[rows]).astype(np.float32)

    @classmethod
    def fit(cls, texts: Sequence[str]) -> Tfidf:
        """Learn the n-grams and their rarity from ``texts``, and index them."""
        counts = [Counter(char_ngrams(text)) for text in texts]
        seen_in = Counter(gram for count in counts for gram in count)
        terms = {gram: column for column, gram in enumerate(sorted(seen_in))}
        frequency = np.array([seen_in[gram] for gram in terms], dtype=np.float64)
        idf = (np.log((1 + len(texts)) / (1 + frequency)) + 1).astype(np.float32)
        return cls._index(terms, idf, counts)

    def over(self, texts: Sequence[str]) -> Tfidf:
        """Index other texts with the n-grams and rarities learnt here."""
        return self._index(self.terms, self.idf, [Counter(char_ngrams(text)) for text in texts])

    @classmethod
    def _index(cls, terms: dict[str, int], idf: npt.NDArray[np.float32], counts: list[Counter[str]]) -> Tfidf:
        known = [{terms[gram]: n for gram, n in count.items() if gram in terms} for count in counts]
        columns = np.array([column for text in known for column in text], dtype=np.int64)
        rows = np.repeat(np.arange(len(known), dtype=np.int32), [len(text) for text in known])
        times = np.minimum([n for text in known for n in text.values()], 255).astype(np.uint8)
        order = np.argsort(columns, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=len(terms)))]).astype(np.int64)
        return cls(terms, idf, starts, rows[order], times[order], len(counts))

    @staticmethod
    def _weigh(terms: dict[str, int], idf: npt.NDArray[np.float32], count: Counter[str]) -> dict[int, float]:
        vector = {
            terms[gram]: (1 + math.log(n)) * float(idf[terms[gram]])
            for gram, n in count.items()
            if gram in terms
        }
        length = math.sqrt(sum(w * w for w in vector.values()))
        return {column: w / length for column, w in vector.items()} if length else {}

    def similarities(self, text: str) -> npt.NDArray[np.float32]:
        """Return the cosine of ``text`` with every indexed text, float32 ``(size,)``."""
        scores = np.zeros(self.size, dtype=np.float32)
        for column, weight in self._weigh(self.terms, self.idf, Counter(char_ngrams(text))).items():
            place = slice(self.starts[column], self.starts[column + 1])
            scores[self.rows[place]] += np.float32(weight) * self.weights[place]
        return scores

    def squared_sums(self, member: npt.NDArray[np.int32], sets: int) -> npt.NDArray[np.float64]:
        """Return the squared length of the sum of each set's vectors, float64 ``(sets,)``.

        ``member`` is the set of each text, ``(size,)``.
        """
        columns = np.repeat(np.arange(len(self.terms)), np.diff(self.starts))
        places, place = np.unique(
            member[self.rows].astype(np.int64) * len(self.terms) + columns, return_inverse=True
        )
        sums = np.bincount(place, self.weights)
        squared = np.bincount(places // max(len(self.terms), 1), sums * sums, minlength=sets)
        return squared.astype(np.float64)

    def save(self, folder: Path, prefix: str) -> None:
        """Write the arrays, and the n-grams once per folder."""
        # From one row to the next it is a short way: small numbers pack well.
        steps = np.diff(self.rows, prepend=np.int32(0))
        arrays: tuple[npt.NDArray, ...] = (self.starts, steps, self.counts, self.idf)
        for name, array in zip(_ARRAYS, arrays, strict=True):
            np.save(folder / f"{prefix}-{name}.npy", array)
        write_private(folder / "terms.json", json.dumps(list(self.terms), ensure_ascii=False))

    @classmethod
    def load(cls, folder: Path, prefix: str, size: int, terms: dict[str, int]) -> Tfidf:
        """Open what :meth:`save` wrote."""
        starts, steps, counts, idf = (mapped(folder / f"{prefix}-{name}.npy") for name in _ARRAYS)
        return cls(terms, idf, starts, np.cumsum(steps, dtype=np.int32), counts, size)


def mapped(path: Path) -> npt.NDArray:
    """Open a saved array memory-mapped, as a plain array: every slice of numpy's own class costs more."""
    return np.asarray(np.load(path, mmap_mode="r"))


def load_terms(folder: Path) -> dict[str, int]:
    """Read the n-grams that :meth:`Tfidf.save` wrote."""
    return {
        gram: column for column, gram in enumerate(json.loads((folder / "terms.json").read_text("utf-8")))
    }

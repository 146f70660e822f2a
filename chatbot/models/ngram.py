"""Small classifiers of utterances: linear models over character n-grams and pairs of words.

Linear models over n-grams are hard to beat where texts are short and examples few (Joulin et al.
2017, arXiv:1607.01759), run in a tenth of a millisecond, and need no encoder, so that every backend
is guarded alike. ``python -m training.recipes.classifiers`` makes the ones that ship.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from chatbot.resources import data_dir
from chatbot.text import normalise
from chatbot.tfidf import char_ngrams

# 죽 고 싶 어: words apart, syllable by syllable.
_LETTER_SPACED = re.compile(r"(?<!\S)(?:\S\s+){2,}\S(?!\S)")
LONGEST_GRAM = 4
BUCKETS = 1 << 15  # where nothing else is said
_STEPS = 127  # that the largest weight of a label is saved in; the others are whole numbers of them
_RARITY_STEPS = 16  # to one


def features(
    text: str, rarity: npt.NDArray[np.floating] | None = None, buckets: int = BUCKETS
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return the buckets of the n-grams of ``text`` and their weights, a vector of length 1.

    ``rarity`` is the inverse document frequency of each bucket, ``(buckets,)``.
    """
    text = _LETTER_SPACED.sub(lambda match: "".join(match.group().split()), normalise(text))
    grams = char_ngrams(text, LONGEST_GRAM) + _word_pairs(text)
    counts = Counter(zlib.crc32(gram.encode()) % buckets for gram in grams)
    columns = np.array(list(counts), dtype=np.int64)
    weights = np.array([1 + math.log(n) for n in counts.values()], dtype=np.float32)
    if rarity is not None:
        weights = weights * rarity[columns].astype(np.float32)
    return columns, weights / max(float(np.linalg.norm(weights)), 1e-9)


def _word_pairs(text: str) -> list[str]:
    """Return each word's beginning with those of the next two: what 없으면 편할 says lies in both words."""
    words = [word[:2] for word in text.lower().split()]
    return [f"{a}_{b}" for i, a in enumerate(words) for b in words[i + 1 : i + 3]]


class NgramClassifier:
    """Tells how likely an utterance belongs to each of its labels.

    Args:
        labels: what it tells apart; the first is the ordinary case.
        weights: ``(labels, buckets)``.
        bias: ``(labels,)``.
        rarity: inverse document frequencies, ``(buckets,)``.
        decision: numbers that whoever asks decides by, such as a threshold.
    """

    def __init__(
        self,
        labels: Sequence[str],
        weights: npt.NDArray[np.floating],
        bias: npt.NDArray[np.floating],
        rarity: npt.NDArray[np.floating],
        decision: Mapping[str, float],
    ) -> None:
        self.labels, self.decision = tuple(labels), dict(decision)
        self.weights, self.bias = weights.astype(np.float32), bias.astype(np.float32)
        self.rarity = rarity.astype(np.float32)

    def judge(self, text: str) -> tuple[float, str]:
        """Return the log-odds of any label but the first, and the likeliest of those."""
        columns, values = features(text, self.rarity, len(self.rarity))
        scores = (self.weights[:, columns] @ values + self.bias).astype(np.float64)
        return float(np.logaddexp.reduce(scores[1:]) - scores[0]), self.labels[1 + int(scores[1:].argmax())]

    def save(self, path: Path) -> None:
        """Write everything, the weights in so few steps that they pack well."""
        step = np.maximum(np.abs(self.weights).max(axis=1, keepdims=True), 1e-9) / _STEPS
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            path,
            labels=np.array(self.labels),
            weights=(np.round(self.weights / step) * step).astype(np.float16),
            bias=self.bias,
            rarity=(np.round(self.rarity * _RARITY_STEPS) / _RARITY_STEPS).astype(np.float16),
            decision_names=np.array(list(self.decision)),
            decision=np.array(list(self.decision.values()), dtype=np.float64),
        )

    @classmethod
    def load(cls, path: Path) -> NgramClassifier | None:
        """Read what :meth:`save` wrote; ``None`` where it is missing or damaged."""
        try:
            with np.load(path) as arrays:
                decision = dict(
                    zip(arrays["decision_names"].tolist(), arrays["decision"].tolist(), strict=True)
                )
                labels = arrays["labels"].tolist()
                return cls(labels, arrays["weights"], arrays["bias"], arrays["rarity"], decision)
        except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile):
            return None


def classifier_path(name: str) -> Path:
    """Return the file of a classifier that ships: ``crisis``, ``groups`` or ``unknown``."""
    return data_dir() / "models" / "classifiers" / f"{name}.npz"


@cache
def shipped_classifier(name: str) -> NgramClassifier | None:
    """Return a classifier that ships; ``None`` where its file is missing or damaged."""
    return NgramClassifier.load(classifier_path(name))

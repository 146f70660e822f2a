"""A small classifier of people in need: a linear model over the character n-grams of an utterance.

Linear models over n-grams are hard to beat where texts are short and examples few (Joulin et al.
2017, arXiv:1607.01759), run in a tenth of a millisecond, and need no encoder, so that every backend
is guarded alike. ``python -m training.safety`` makes the weights.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from chatbot.resources import data_dir
from chatbot.text import normalise
from chatbot.tfidf import char_ngrams

Danger = Literal["suicide", "self-harm", "violence", "abuse"]
DANGERS: tuple[Danger, ...] = get_args(Danger)
# 죽 고 싶 어: words apart, syllable by syllable.
_LETTER_SPACED = re.compile(r"(?<!\S)(?:\S\s+){2,}\S(?!\S)")
LONGEST_GRAM = 4
BUCKETS = 1 << 15


def features(
    text: str, rarity: npt.NDArray[np.floating] | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return the buckets of the n-grams of ``text`` and their weights, a vector of length 1.

    ``rarity`` is the inverse document frequency of each bucket, ``(BUCKETS,)``.
    """
    text = _LETTER_SPACED.sub(lambda match: "".join(match.group().split()), normalise(text))
    grams = char_ngrams(text, LONGEST_GRAM)
    counts = Counter(zlib.crc32(gram.encode()) % BUCKETS for gram in grams)
    columns = np.array(list(counts), dtype=np.int64)
    weights = np.array([1 + math.log(n) for n in counts.values()], dtype=np.float32)
    if rarity is not None:
        weights = weights * rarity[columns].astype(np.float32)
    return columns, weights / max(float(np.linalg.norm(weights)), 1e-9)


class CrisisClassifier:
    """Tells how likely an utterance speaks of a danger, and of which.

    Args:
        weights: ``(1 + len(DANGERS), BUCKETS)``; the first row stands for no danger.
        bias: ``(1 + len(DANGERS),)``.
        rarity: inverse document frequencies, ``(BUCKETS,)``.
        threshold: log-odds of danger from which on there is an alarm.
        evidence: what is added to the log-odds where a pattern of ``safety`` has matched.
    """

    def __init__(
        self,
        weights: npt.NDArray[np.floating],
        bias: npt.NDArray[np.floating],
        rarity: npt.NDArray[np.floating],
        threshold: float,
        evidence: float,
    ) -> None:
        self.weights, self.bias = weights.astype(np.float32), bias.astype(np.float32)
        self.rarity = rarity.astype(np.float32)
        self.threshold, self.evidence = threshold, evidence

    def judge(self, text: str) -> tuple[float, Danger]:
        """Return the log-odds of any danger and the likeliest one."""
        columns, values = features(text, self.rarity)
        scores = (self.weights[:, columns] @ values + self.bias).astype(np.float64)
        danger = np.logaddexp.reduce(scores[1:])
        return float(danger - scores[0]), DANGERS[int(scores[1:].argmax())]

    def save(self, folder: Path) -> None:
        """Write the weights as float16."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            folder / "crisis.npz",
            weights=self.weights.astype(np.float16),
            bias=self.bias,
            rarity=self.rarity.astype(np.float16),
            decision=np.array([self.threshold, self.evidence]),
        )


@cache
def shipped_classifier() -> CrisisClassifier | None:
    """Return the classifier that ships; ``None`` where its file is missing or damaged."""
    try:
        with np.load(data_dir() / "models" / "safety" / "crisis.npz") as arrays:
            return CrisisClassifier(
                arrays["weights"], arrays["bias"], arrays["rarity"], *map(float, arrays["decision"])
            )
    except (OSError, ValueError, KeyError, TypeError):
        return None

"""Figures that several backends share: chrF, percentiles of time, how right the speech-level detector is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from chatbot.errors import ChatbotError
from chatbot.style import speech_level
from chatbot.text import normalise
from training.corpora import read_jsonl


def chrf(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return the chrF of a corpus, 0..100, each text against its own references.

    Popović 2015, https://aclanthology.org/W15-3049; sacrebleu's defaults: 6 characters, beta 2.
    """
    from sacrebleu.metrics import CHRF

    streams: Any = [list(stream) for stream in zip_longest(*references)]
    return float(CHRF().corpus_score(texts, streams).score)


def latency(seconds: Sequence[float]) -> dict[str, float]:
    """Return median and 95th percentile in milliseconds."""
    milliseconds = 1000 * np.array(seconds)
    return {
        "median": float(np.median(milliseconds)),
        "p95": float(np.percentile(milliseconds, 95)),
    }


def style_accuracy(path: Path) -> dict[str, Any]:
    """Return the share of sentences whose speech level is told rightly, of all and of each class.

    The file is JSON Lines in StyleKQC's layout, gzipped or not: lists ``formal`` and ``informal``. A
    sentence of which the detector says nothing counts as wrong.

    Raises:
        ChatbotError: the file cannot be read or has no such sentences.
    """
    from sklearn.metrics import accuracy_score, recall_score

    labels = {"formal": "polite", "informal": "casual"}
    try:
        rows = [
            (level, normalise(text))
            for row in read_jsonl(path)
            for name, level in labels.items()
            for text in row[name]
        ]
    except (OSError, EOFError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ChatbotError(
            f"--styles {path}: 읽을 수 없어요({error}). formal, informal 목록이 있는지 확인해 주세요."
        ) from error
    wanted = [level for level, _ in rows]
    if set(wanted) != set(labels.values()):
        raise ChatbotError(
            f"--styles {path}: formal, informal 문장이 모두 있어야 해요. 파일을 확인해 주세요."
        )
    found = [speech_level(text) or "none" for _, text in rows]
    by_class = recall_score(wanted, found, labels=list(labels.values()), average=None)
    return {
        "file": path.name,
        "sentences": len(rows),
        "accuracy": float(accuracy_score(wanted, found)),
        **{level: float(share) for level, share in zip(labels.values(), by_class, strict=True)},
    }

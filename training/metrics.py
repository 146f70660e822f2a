"""How right the speech-level detector is. What is measured of replies is in chatbot/measures.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chatbot.errors import ChatbotError
from chatbot.style import speech_level
from chatbot.text import normalise
from training.corpora import read_jsonl


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
            f"--styles {path}: 읽을 수 없어요. formal, informal 목록이 있는지 확인해 주세요."
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

"""Clauses of an utterance, told by the connective endings that close them: 비는 오는데 / 우산이 없어.

By the surface alone: a noun that ends like a verb (최고, 광고) parts what belongs together, for which the
runs of several clauses make up.
"""

from __future__ import annotations

import re

_CLOSES = re.compile(
    r"[가-힣](?:데|(?<!에)서|지만|니까|더니|면서|다가|길래|려고|느라|고|자마자|바람에|는지|며|도록|라|요)$|[.!?…]$"
)
_SYLLABLE = re.compile("[가-힣]")
_SHORTEST = 5  # syllables that can be about something
_MOST = 6  # clauses; of more, those said last


def clauses(text: str) -> list[str]:
    """Return the clauses of ``text``, in order; joined by spaces they are its words."""
    parted: list[str] = []
    words: list[str] = []
    for word in text.split():
        words.append(word)
        if _CLOSES.search(word) and _syllables(" ".join(words)) >= _SHORTEST:
            parted.append(" ".join(words))
            words = []
    return [*parted, " ".join(words)] if words else parted


def runs_of_clauses(text: str) -> list[str]:
    """Return every run of clauses but the whole that is long enough to be about something."""
    parted = clauses(text)[-_MOST:]
    runs = [
        " ".join(parted[start:end])
        for start in range(len(parted))
        for end in range(start + 1, len(parted) + 1)
        if end - start < len(parted)
    ]
    return [run for run in runs if _syllables(run) >= _SHORTEST]


def _syllables(text: str) -> int:
    return len(_SYLLABLE.findall(text))

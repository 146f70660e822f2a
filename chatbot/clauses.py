"""Clauses of an utterance, told by the connective endings that close them: 비는 오는데 / 우산이 없어.

By the surface alone: a noun that ends like a verb (최고, 광고) parts what belongs together, for which the
runs of several clauses make up.
"""

from __future__ import annotations

import re

_CLOSES = re.compile(
    r"[가-힣](?:데|(?<!에)(?<!한테)(?<!혼자)서|지만|니까|더니|면서|다가|길래|려고|느라|고|자마자|바람에|는지|며|도록|라|요)"
    r"[,~ㅋㅎㅠㅜ]*$|[.!?…,~]$"
)
_MARKS = ",~…ㅋㅎㅠㅜ "  # not of what is looked up
_SYLLABLE = re.compile("[가-힣]")
_SHORTEST = 5  # syllables that can be about something
_MOST = 6  # clauses; of more, those said last
_RUN = 3  # clauses that are looked up together


def clauses(text: str) -> list[str]:
    """Return the clauses of ``text``, in order; joined by spaces they are its words."""
    parted: list[str] = []
    words: list[str] = []
    syllables = 0
    for word in text.split():
        words.append(word)
        syllables += _syllables(word)
        if syllables >= _SHORTEST and _CLOSES.search(word):
            parted.append(" ".join(words))
            words, syllables = [], 0
    return [*parted, " ".join(words)] if words else parted


def runs_of_clauses(text: str) -> list[str]:
    """Return the runs of one to three clauses, but the whole, that are long enough to be about something."""
    parted = clauses(text)[-_MOST:]
    runs = [
        " ".join(parted[start:end]).strip(_MARKS)
        for start in range(len(parted))
        for end in range(start + 1, min(start + _RUN, len(parted)) + 1)
        if end - start < len(parted)
    ]
    return [run for run in runs if _syllables(run) >= _SHORTEST]


def _syllables(text: str) -> int:
    return len(_SYLLABLE.findall(text))

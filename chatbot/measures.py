"""Figures of replies that comparing and evaluating share: time, length, variety, speech level, likeness."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from chatbot.dialogue import Conversation, Reply, Turn
from chatbot.style import Style, reply_style, speech_level
from chatbot.text import same_words

if TYPE_CHECKING:
    from chatbot.comparison import Round


@dataclass(frozen=True)
class Measures:
    """What one contender's answers come to; shares lie in 0..1, ``None``: nothing to measure.

    ``seconds`` are of the answers that were timed; ``latency_ms`` and ``tokens_per_second`` follow from
    them. ``polite`` and ``casual`` are shares of the answers that end so, ``style_match`` the share of
    those that show a speech level and whose level is the one wanted. ``chrf`` (0..100) and ``exact`` are
    over the ``references`` answers that have one.
    """

    answers: int
    seconds: tuple[float, ...]
    latency_ms: dict[str, float] | None
    tokens_per_second: float | None
    characters: tuple[int, ...]
    words: tuple[int, ...]
    distinct_1: float | None
    distinct_2: float | None
    polite: float | None
    casual: float | None
    style_match: float | None
    references: int
    chrf: float | None
    exact: float | None


def measure(label: str, rounds: Sequence[Round]) -> Measures:
    """Return the figures of the contender ``label``, over the rounds it answered."""
    answered = [(asked, asked.replies[label]) for asked in rounds if label in asked.replies]
    texts = [reply.text for _, reply in answered]
    words = [text.split() for text in texts]
    seconds = tuple(reply.seconds for _, reply in answered if reply.seconds is not None)
    wanted = [_wanted_style(asked, label) for asked, _ in answered]
    shown = [speech_level(text) for text in texts]
    pairs = [(reply.text, asked.reference) for asked, reply in answered if asked.reference]
    return Measures(
        answers=len(answered),
        seconds=seconds,
        latency_ms=latency(seconds) if seconds else None,
        tokens_per_second=tokens_per_second([reply for _, reply in answered]),
        characters=tuple(map(len, texts)),
        words=tuple(map(len, words)),
        distinct_1=distinct(words, 1),
        distinct_2=distinct(words, 2),
        polite=share(level == "polite" for level in shown),
        casual=share(level == "casual" for level in shown),
        style_match=style_match(wanted, shown),
        references=len(pairs),
        chrf=chrf([text for text, _ in pairs], [[right] for _, right in pairs]) if pairs else None,
        exact=share(same_words(text) == same_words(right) for text, right in pairs),
    )


def measure_all(labels: Iterable[str], rounds: Sequence[Round]) -> Mapping[str, Measures]:
    """Return the figures of every contender, by label."""
    return {label: measure(label, rounds) for label in labels}


def share(hits: Iterable[bool]) -> float | None:
    """Return the share of hits, ``None`` of nothing."""
    every = list(hits)
    return sum(every) / len(every) if every else None


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


def tokens_per_second(replies: Sequence[Reply]) -> float | None:
    """Return the tokens generated a second, over the replies that count tokens and were timed."""
    timed = [(r.tokens, r.seconds) for r in replies if r.tokens and r.seconds]
    return sum(tokens for tokens, _ in timed) / sum(seconds for _, seconds in timed) if timed else None


def distinct(texts: Sequence[Sequence[str]], n: int) -> float | None:
    """Return the share of distinct word n-grams among all of them (Li et al. 2016, arXiv:1510.03055)."""
    grams = list(chain.from_iterable(zip(*(words[i:] for i in range(n)), strict=False) for words in texts))
    return len(set(grams)) / len(grams) if grams else None


def style_match(wanted: Sequence[Style | None], shown: Sequence[Style | None]) -> float | None:
    """Return the share of replies in the speech level wanted, of those that show one."""
    return share(want == level for want, level in zip(wanted, shown, strict=True) if level)


def _wanted_style(asked: Round, label: str) -> Style:
    before = asked.before.get(label, Conversation())
    return reply_style(Conversation(turns=[*before.turns, Turn("user", asked.question)], style=before.style))

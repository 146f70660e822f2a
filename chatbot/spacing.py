"""Spaces that a hurried typist leaves out, put back: 오늘너무피곤해 is 오늘 너무 피곤해.

Every word has a price, the logarithm of how rare it is in what ships, and what is no such word
costs by the syllable; of all ways to cut a run of Hangul the cheapest is taken, found by dynamic programming
(Viterbi 1967). A morphological analyser would do more, and be one more model to carry.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Container, Iterable
from functools import cache
from itertools import chain

from chatbot.knowledge import load_knowledge, load_listening

_SYLLABLES = re.compile("[가-힣]+")
_LONG = re.compile("[가-힣]{6,}")  # syllables together that may be several words
_LONGEST_WORD = 12  # syllables
_STRANGE = 6.0  # nats for a syllable of what is no word, found on dev wordings
_STRANGE_WORD = 1.0  # and for each such piece
_NEVER = 1e6
_ENDED = 2.0  # nats for an ending or a particle behind a word that is known
# They never begin a word, though people who type in haste may have written them so.
_BOUND = (
    "이에요|예요|이야|이었|었|였|인데|이라|라고|라서|라는|려고|더라|고요|거든|네요|군요|대요|래요|에요|니다|습니|"
    "에서|에게|까지|부터|한테|처럼|밖에|이나|으로|길래"
)
_BEGINS_BOUND = re.compile(_BOUND)
_STEM = re.compile(f"(.{{2,}}?)(?:(?:{_BOUND}).*|[가이은는을를도만의로와과랑에야요])")


class Spacing:
    """Knows words by texts that are spaced as they should be."""

    def __init__(self, texts: Iterable[str]) -> None:
        words = Counter(word for text in texts for word in _SYLLABLES.findall(text))
        self._rarest = math.log(max(words.total(), 1))
        self._costs = {word: self._rarest - math.log(times) for word, times in words.items()}

    def restore(self, text: str, whole: Container[str] = ()) -> str:
        """Return ``text`` with its long runs of Hangul cut into words, but for those that are one."""
        return _LONG.sub(lambda run: run[0] if run[0] in whole else " ".join(self._words(run[0])), text)

    def _words(self, run: str) -> list[str]:
        costs, starts = [0.0], [0]
        for end in range(1, len(run) + 1):
            cost, start = min(
                (costs[start] + self._cost(run[start:end], begins=start == 0, ends=end == len(run)), start)
                for start in range(max(0, end - _LONGEST_WORD), end)
            )
            costs.append(cost)
            starts.append(start)
        words, end = [], len(run)
        while end:
            words.append(run[starts[end] : end])
            end = starts[end]
        return words[::-1]

    def _cost(self, word: str, begins: bool, ends: bool) -> float:
        """Return the price of a word at its place: what only goes on or ends another is no word there."""
        if not begins and (_BEGINS_BOUND.match(word) or (ends and len(word) == 1)):
            return _NEVER
        if word in self._costs:
            return self._costs[word]
        stem = _STEM.fullmatch(word)
        if stem and stem[1] in self._costs:
            return self._costs[stem[1]] + _ENDED
        return self._rarest + _STRANGE_WORD + _STRANGE * len(word)


def long_runs(text: str) -> list[str]:
    """Return the runs of Hangul in a text that may be several words."""
    return _LONG.findall(text)


@cache
def shipped_spacing() -> Spacing:
    """Return what the questions and the listener's lines that ship know of words; takes half a second."""
    entries = chain(load_knowledge().entries, load_listening().entries)
    return Spacing(entry.question for entry in entries)

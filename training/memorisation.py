"""Does a model say its training data by heart? Sampled replies are searched for private lines of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from chatbot.privacy import find
from chatbot.text import squeeze

SAMPLES = 1_000
LONG = 12  # syllables from which a line is no everyday phrase
RARE = 2  # times in the training data up to which a line belongs to somebody
_SYLLABLE = re.compile("[가-힣]")
Q = TypeVar("Q")  # however a question is put


@dataclass
class Memorised:
    """What came out by heart: strings that masking recognises, and rare long lines, with how often.

    Lines are reduced to their letters and digits.
    """

    replies: int = 0
    personal: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)


def memorised(
    sample: Callable[[Sequence[Q]], Iterable[str]],
    questions: Sequence[Q],
    answers: Iterable[str],
    samples: int = SAMPLES,
) -> Memorised:
    """Sample replies to training questions and count what of the training data they repeat.

    Args:
        sample: answers questions, in their order.
        questions: what the training data asks; each is asked about equally often.
        answers: what was trained on as replies.
        samples: how many replies.
    """
    seen = Counter(squeeze(line) for answer in answers for line in answer.split("\n"))
    rare = {key for key, times in seen.items() if times <= RARE and len(_SYLLABLE.findall(key)) >= LONG}
    by_start: dict[str, list[str]] = {}
    for line in rare:
        by_start.setdefault(line[:LONG], []).append(line)
    found = Memorised()
    asked = [questions[n * len(questions) // samples] for n in range(samples)] if questions else []
    for reply in sample(asked):
        found.replies += 1
        for item in find(reply):
            found.personal[reply[item.start : item.end]] += 1
        found.lines.update(_said(squeeze(reply), by_start))
    return found


def _said(reply: str, by_start: dict[str, list[str]]) -> set[str]:
    """Return the known lines that stand anywhere in a reply, all reduced to letters and digits."""
    return {
        line
        for at in range(len(reply) - LONG + 1)
        for line in by_start.get(reply[at : at + LONG], ())
        if reply.startswith(line, at)
    }

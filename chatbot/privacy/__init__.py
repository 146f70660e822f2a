"""Finding and masking personal data in Korean text, whole or while it is being written.

Text is folded first: digits of any script, full-width signs, dashes and blanks become ASCII, invisible
characters go, Hangul in pieces is put together. Then the rows of ``RULES`` look at it one after the other,
each at what those above it left, so the surest kinds come first. A number without a shape or a check digit
of its own (bank account, passport, verification code) counts only near a word that says what it is.

What stays: numbers spelled out (``공일공``), names nobody asked for, public numbers (112, 1588-1234, 080),
plain links, and the first word of an address unless it is one of the 17 provinces and metropolitan cities.
Replies appear syllable by syllable, and nothing tells in time that a street is about to be named:
``은하로 27, 2동 302호`` becomes ``은하로 [주소]``, ``강남구 테헤란로 152`` becomes ``강남구 [주소]``.
A street with only a number needs a word such as 주소, because ``버스로 30`` looks the same. What has the full
shape of a registration number, a card, a plate or a flat (``2동 302호``) is masked wherever it stands.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from chatbot.privacy.folding import fold
from chatbot.privacy.names import name_expression
from chatbot.privacy.rules import DIGIT, RULES, Kind, Rule, Section, open_from

__all__ = ["LABELS", "Found", "Kind", "Masker", "StreamMasker", "find", "mask"]

LABELS: dict[Kind, str] = {
    "phone": "[전화번호]",
    "landline": "[전화번호]",
    "resident": "[주민번호]",
    "foreigner": "[외국인번호]",
    "passport": "[여권번호]",
    "licence": "[면허번호]",
    "account": "[계좌번호]",
    "card": "[카드번호]",
    "business": "[사업자번호]",
    "email": "[이메일]",
    "address": "[주소]",
    "plate": "[차량번호]",
    "url": "[주소링크]",
    "code": "[인증번호]",
    "name": "[이름]",
}

# A label word stands at most so many characters before a number, or after it.
_BEFORE, _AFTER = 20, 10
# No pattern looks further than this beyond its own end.
_AHEAD = 4
# What a stream remembers of what it has shown: room for label words and for a pattern's look back.
_MEMORY = 80


class Found(NamedTuple):
    """Personal data: what it is and where it stands in the text as given."""

    kind: Kind
    start: int
    end: int


def find(text: str) -> list[Found]:
    """Return the personal data in ``text``, in order, not overlapping."""
    return _find(text, RULES) if _WORTH_READING.search(text) else []


def mask(text: str) -> str:
    """Replace personal data by a label such as ``[전화번호]``; everything else stays as it is.

    Short public numbers (119, 1388, 1577-0199) and dates (2024-05-01, 24-05-01) stay.
    """
    return _masked(text, _find(text, RULES)) if _WORTH_READING.search(text) else text


class Masker:
    """Masks text after text, names of people included, and counts what it masked.

    Args:
        names: people to hide. In a name of three syllables the given name is hidden, too, where a vocative,
            a particle or a title shows that somebody is meant: 다빈아, 다빈이가, 다빈 씨. A name that is a
            common word (하늘) counts only in forms the word does not have: 하늘아, 하늘이가, 하늘 씨.
        names_only: nothing else is hidden.
    """

    def __init__(self, names: Iterable[str] = (), names_only: bool = False) -> None:
        self.counts: Counter[Kind] = Counter()
        self._rules = () if names_only else RULES
        pattern = name_expression(names)
        self._names = (Section(re.compile(pattern), (Rule("name", pattern),)),) if pattern else ()

    def __call__(self, text: str) -> str:
        """Return ``text`` masked."""
        sections = self._rules + self._names if _WORTH_READING.search(text) else self._names
        found = _find(text, sections) if sections else []
        self.counts.update(item.kind for item in found)
        return _masked(text, found)


class StreamMasker:
    """Masks text that arrives in pieces, as :func:`mask` would the whole.

    Held back is only what may still become personal data: a number or a Latin word at the end, a number
    that a word to come may label, what follows a place name.
    """

    def __init__(self) -> None:
        self._shown = ""  # the end of it, folded, as context
        self._held = ""

    def feed(self, piece: str) -> str:
        """Take the next piece; return the text that is now safe to show, maybe empty."""
        self._held += piece
        return self._release(last=False)

    def flush(self) -> str:
        """Return what was held back, masked; the stream has ended."""
        return self._release(last=True)

    def _release(self, last: bool) -> str:
        folded, places = fold(self._held)
        begin, text = len(self._shown), self._shown + folded
        if not last and "\u1100" <= self._held[-1:] <= "\u11a7":
            text = text[:-1]  # a syllable in pieces, not yet whole: 조 may become 종
        settled = len(text) if last else open_from(text)
        found, undecided = _scan(text, RULES, settled) if _WORTH_READING.search(text) else ([], [])
        cut = len(text) if last else min([settled, *(start for start in undecided if start >= begin)])
        for _, start, end in reversed(found):
            if start < cut and (end > cut or (end > len(text) - _AHEAD and not last)):
                cut = start
        cut = max(cut, begin)
        done = [Found(kind, start - begin, end - begin) for kind, start, end in found if begin <= start < cut]
        size = (
            len(self._held)
            if cut - begin == len(folded)
            else places[cut - begin][0]
            if places
            else cut - begin
        )
        ready, self._held = self._held[:size], self._held[size:]
        # a memory that began within a number would see another number
        known = max(0, cut - _MEMORY)
        known = next((end for _, start, end in found if start < known < end), known)
        self._shown = text[known:cut]
        return _masked(ready, _placed(done, places))


# Most messages hold none of these, and end here.
_WORTH_READING = re.compile(r"[\d@/wW＠／]")
_HIDDEN = "\ufffc"


def _find(text: str, sections: tuple[Section, ...]) -> list[Found]:
    folded, places = fold(text)
    return _placed(_scan(folded, sections, len(folded))[0], places)


def _scan(text: str, sections: tuple[Section, ...], settled: int) -> tuple[list[Found], list[int]]:
    """Search folded text that may still change from ``settled`` on.

    Returns:
        What is found, and where numbers stand that a word after ``settled`` may label.
    """
    found: list[Found] = []
    undecided = []
    for needs, rules in sections:
        if not needs.search(text):
            continue
        for rule in rules:
            spans: list[tuple[int, int]] = []
            match = rule.pattern.search(text)
            while match:
                start, end = match.span()
                good = not rule.check or rule.check(match.group())
                if good and rule.near:
                    before = text[max(0, start - _BEFORE) : start] + "\0"
                    good = bool(rule.near.search(before))
                    if not good:
                        good = bool(rule.near.search(before + text[end : end + _AFTER]))
                        if end + _AFTER > settled:
                            undecided.append(start)
                if good:
                    spans.append((start, end))
                # Within what is none of the kind may stand one that is; a link is judged as a whole.
                match = rule.pattern.search(text, end if good or rule.kind == "url" else start + 1)
            if rule.kind:
                found += [Found(rule.kind, start, end) for start, end in spans]
            if spans:
                text = _hide(text, spans, digits_only=rule.kind is None)
                if not needs.search(text):
                    break
    return sorted(found, key=lambda item: item.start), undecided


def _hide(text: str, spans: list[tuple[int, int]], digits_only: bool) -> str:
    """Return ``text``, as long as before, with nothing left in ``spans`` for other rules to see."""
    parts, at = [], 0
    for start, end in spans:
        hidden = DIGIT.sub(_HIDDEN, text[start:end]) if digits_only else _HIDDEN * (end - start)
        parts += [text[at:start], hidden]
        at = end
    return "".join(parts) + text[at:]


def _masked(text: str, found: list[Found]) -> str:
    parts, at = [], 0
    for kind, start, end in found:
        parts += [text[at:start], LABELS[kind]]
        at = end
    return "".join(parts) + text[at:]


def _placed(found: list[Found], places: list[tuple[int, int]] | None) -> list[Found]:
    """Translate places in folded text to places in the text as given."""
    if places is None:
        return found
    return [Found(kind, places[start][0], places[end - 1][1]) for kind, start, end in found]

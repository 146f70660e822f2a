"""Masking of personal data in text: telephone, resident, card and account numbers, e-mail."""

from __future__ import annotations

import re

# Order matters: the more specific pattern first, so that a resident number is not half an account.
_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("[이메일]", re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII)),
    ("[주민번호]", re.compile(r"(?<!\d)\d{6}\s?-?\s?[1-8]\d{6}(?!\d)")),
    ("[카드번호]", re.compile(r"(?<!\d)\d{4}(?:[ -]?\d{4}){3}(?!\d)")),
    ("[전화번호]", re.compile(r"(?<!\d)(?:\+82[ -]?|0)1[016789][ .-]?\d{3,4}[ .-]?\d{4}(?!\d)")),
    ("[전화번호]", re.compile(r"(?<!\d)0(?:2|[3-6]\d|70|50\d)[ .)-]?\d{3,4}[ .-]?\d{4}(?!\d)")),
    (
        "[계좌번호]",
        re.compile(r"(?<!\d)(?=(?:-?\d){10})\d{2,6}-\d{2,6}-\d{2,8}(?:-\d{1,5})?(?!\d)"),
    ),
)
# The end of a text that a pattern above may still go on from: a number, or a word with an @ to come.
_OPEN_END = re.compile(r"(?:[\d+][\d .()+-]*|[\w.+@-]*)$", re.ASCII)


def mask(text: str) -> str:
    """Replace personal data by a label such as ``[전화번호]``.

    Short public numbers (119, 1388, 1577-0199) and dates (2024-05-01, 24-05-01) stay as they are.
    """
    for label, pattern in _PATTERNS:
        text = pattern.sub(label, text)
    return text


class StreamMasker:
    """Masks text that arrives in pieces: holds back only what may still become a number."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """Take the next piece; return the text that is now safe to show, maybe empty."""
        text = self._held + piece
        match = _OPEN_END.search(text)
        cut = match.start() if match else len(text)
        self._held = text[cut:]
        return mask(text[:cut])

    def flush(self) -> str:
        """Return what was held back, masked; the stream has ended."""
        text, self._held = mask(self._held), ""
        return text

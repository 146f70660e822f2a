"""Korean text as it comes in and goes out: normal form and control characters."""

from __future__ import annotations

import contextlib
import re
import unicodedata
from functools import cache

# Terminal control: C0 except tab and newline, DEL, C1, the marks that reverse or hide text, and
# halves of surrogate pairs, which no file can hold.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


def normalise(text: str) -> str:
    """Return ``text`` in NFC without terminal control codes, stripped at both ends.

    NFC because macOS hands over decomposed Hangul; never NFKC, which fuses ``ㅋㅠ`` into one
    syllable (Unicode Standard Annex #15).
    """
    if text.isprintable() and unicodedata.is_normalized("NFC", text):  # nearly every line: so at no cost
        return text.strip()
    return printable(unicodedata.normalize("NFC", text.replace("\r\n", "\n"))).strip()


def printable(text: str) -> str:
    """Remove escape sequences and control characters, so that text cannot drive the terminal."""
    return _CONTROL.sub("", _ESCAPE.sub("", text))


def one_line(text: str) -> str:
    """Fold all white space, for places where one reply is one line."""
    return " ".join(text.split())


def squeeze(text: str) -> str:
    """Reduce text to its letters and digits, lower-cased: spacing and punctuation do not count."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFC", text))).casefold()


def same_words(text: str) -> str:
    """Return what two spellings of one text share, its :func:`squeeze`; ``??`` is itself."""
    return squeeze(text) or text


def compatibility_jamo(text: str) -> str:
    """Turn conjoining jamo (U+1100 and on) that stand alone back into the ones people type.

    Models whose tokenizer applies NFKC write ``ㅋ`` as U+110F; shown as it is, a terminal would draw
    an empty place or join it to its neighbour.
    """
    return text.translate(_compatibility())


@cache
def _compatibility() -> dict[int, str]:
    """Map U+1100.. to U+3131.. by name: HANGUL CHOSEONG KIYEOK to HANGUL LETTER KIYEOK."""
    table: dict[int, str] = {}
    for code in (*range(0x1100, 0x1113), *range(0x1161, 0x1176), *range(0x11A8, 0x11C3)):
        name = unicodedata.name(chr(code)).rsplit(" ", 1)[1]
        with contextlib.suppress(KeyError):
            table[code] = unicodedata.lookup(f"HANGUL LETTER {name}")
    return table

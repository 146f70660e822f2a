"""Text as the patterns of personal data see it: signs and digits in ASCII, nothing invisible."""

from __future__ import annotations

import re
import unicodedata

_SIGNS = {**dict.fromkeys("·‧∙⋅・･•−∼ㅡー", "-"), **dict.fromkeys("∗⁎●○◯", "*"), "。": "."}
_FILLERS = "\u115f\u1160\u3164\uffa0"


class _Folding(dict[int, str]):
    """One character to what patterns see of it, by its Unicode category; filled as characters come."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        category = unicodedata.category(char)
        folded = _SIGNS.get(char, char)
        if category == "Nd":
            folded = str(unicodedata.decimal(char))
        elif 0xFF01 <= code <= 0xFF5E:
            folded = chr(code - 0xFEE0)  # full-width forms stand in the order of ASCII
        elif category == "Pd":
            folded = "-"
        elif char.isspace() and char != "\n":
            folded = " "
        elif category in ("Cf", "Mn", "Me") or char in _FILLERS:
            folded = ""  # joiners, direction marks, variation selectors, keycaps
        self[code] = folded
        return folded


_FOLDING = _Folding()
_PLAIN = re.compile("[\n -~가-힣ㄱ-ㅠㅢ-ㆎ]*")
_PIECES = re.compile("[\u1100-\u1112][\u1161-\u1175][\u11a8-\u11c2]?")
_CHARACTER = re.compile(f"{_PIECES.pattern}|.", re.DOTALL)


def fold(text: str) -> tuple[str, list[tuple[int, int]] | None]:
    """Return folded text and, where characters moved, the span of each in the text as given."""
    if _PLAIN.fullmatch(text):
        return text, None
    folded = text.translate(_FOLDING)
    if len(folded) == len(text) and not _PIECES.search(text):
        return folded, None
    kept, places = [], []
    for match in _CHARACTER.finditer(text):
        char = unicodedata.normalize("NFC", match.group()) if len(match.group()) > 1 else match.group()
        char = char.translate(_FOLDING)
        if char:
            kept.append(char)
            places.append(match.span())
    return "".join(kept), places

"""What the tests of tables and generic JSON share: generated texts, and times."""

from __future__ import annotations

import unicodedata
from datetime import datetime

from hypothesis import strategies as st

_COMMON = "가힣ㅋㅠㅏabZ09 .,!?~\"'`\\/<>&[]{}():;@#|*_\t\n😀👩‍💻\u200b\u2028\u0085\x0b\x0c\u3000é"
# No lone surrogates: no file can hold them. No control characters but those of text: a small file full
# of them is taken for no text at all. A carriage return is read as the line break it stands for.
_CHARACTERS = st.one_of(st.sampled_from(_COMMON), st.characters(exclude_categories=["Cs", "Cc"]))


def texts(*lookalikes: str) -> st.SearchStrategy[str]:
    """Generate what a person can write, ``lookalikes`` among it: not blank, no line break at the end."""
    pieces = st.lists(st.one_of(_CHARACTERS, st.sampled_from(lookalikes or " ")), min_size=1, max_size=20)
    normal = pieces.map(lambda found: unicodedata.normalize("NFC", "".join(found)).rstrip("\r\n"))
    return normal.filter(lambda text: text.strip() != "")


def names(*lookalikes: str) -> st.SearchStrategy[str]:
    """Generate names: no app lets one break a line."""
    return texts(*lookalikes).map(lambda name: name.replace("\n", " ")).filter(lambda n: n.strip() != "")


TIMES = st.datetimes(datetime(2010, 1, 1), datetime(2037, 12, 31)).map(lambda t: t.replace(microsecond=0))

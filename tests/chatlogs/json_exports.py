"""What the tests of the JSON formats share: reading back, damage, generated messages."""

from __future__ import annotations

import json
import tempfile
import unicodedata
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from chatbot.chatlogs import Message, open_exports

JUNK: tuple[Any, ...] = (None, True, -7, 10**18, 1e300, "", "???", [[{}]], {"a": [None]})

# No lone surrogates: no exporter can write them.
_CHARACTERS = st.one_of(
    st.sampled_from("가힣ㅋㅠㅏabZ09 .,!?~\"'`\\/<>&[]{}():;@#|*_\t\n😀👩‍💻\u200b\u2028\u3000é"),
    st.characters(exclude_categories=["Cs"]),
)


def texts(alphabet: st.SearchStrategy[str] = _CHARACTERS) -> st.SearchStrategy[str]:
    """Generate what a person can write: not blank, in NFC, no line break at the end."""
    normal = st.text(alphabet, min_size=1, max_size=40).map(lambda text: unicodedata.normalize("NFC", text))
    return normal.map(lambda text: text.rstrip("\r\n")).filter(lambda text: text.strip() != "")


def conversations(
    alphabet: st.SearchStrategy[str] = _CHARACTERS,
) -> st.SearchStrategy[list[Message]]:
    """Generate messages of two people, oldest first."""
    times = st.datetimes(datetime(2011, 1, 1), datetime(2037, 12, 31)).map(lambda t: t.replace(microsecond=0))
    names = st.lists(texts(alphabet), min_size=2, max_size=2, unique=True)

    def of(people: list[str]) -> st.SearchStrategy[list[Message]]:
        message = st.builds(Message, times, st.sampled_from(people), texts(alphabet), st.just(0))
        return st.lists(message, min_size=1, max_size=8).map(lambda found: sorted(found, key=lambda m: m[0]))

    return names.flatmap(of)


def read_back(
    data: bytes, name: str = "대화.dat", format_name: str = "auto"
) -> tuple[str, list[Message], dict[str, int]]:
    """Return the format found, the messages, and what was left out."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        (export,) = open_exports(path, format_name)
        messages = list(export.messages())
        return export.format.name, messages, dict(export.dropped)


def as_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode()


def damaged(value: Any) -> Iterator[Any]:
    """Yield the value with one thing inside gone or turned into junk, for each thing."""
    yield from JUNK
    if isinstance(value, dict):
        for key in value:
            yield {k: v for k, v in value.items() if k != key}
            for inner in damaged(value[key]):
                yield {**value, key: inner}
    elif isinstance(value, list):
        for n, item in enumerate(value):
            for inner in damaged(item):
                yield [*value[:n], inner, *value[n + 1 :]]


def assert_sound(messages: list[Message]) -> None:
    """Fail unless each message is one: whatever was wrong in the file, none of it may get in."""
    for time, speaker, text, _ in messages:
        assert time is None or isinstance(time, datetime)
        assert isinstance(speaker, str) and speaker.strip()
        assert isinstance(text, str) and text.strip()

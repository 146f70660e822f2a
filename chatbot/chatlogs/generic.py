"""What tables and JSON of no messenger have in common: names of columns and keys, roles, times."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import datetime

from chatbot.chatlogs.message import Dropped, Message, make_message, seoul_time

# Under which names a question and its answer stand together.
_PAIRS = (
    ("instruction", "output"),
    ("instruction", "response"),
    ("question", "answer"),
    ("q", "a"),
    ("질문", "답변"),
    ("질문", "답"),
    ("input", "output"),
    ("user_input", "completion"),
    ("prompt", "response"),
    ("prompt", "completion"),
    ("user", "bot"),
    ("user", "assistant"),
)
SPEAKERS = (
    *("speaker", "name", "user", "author", "sender", "nickname", "username"),
    *("이름", "보낸 사람", "보낸사람", "작성자", "화자"),
)
ROLES = ("role", "from")
TEXTS = ("text", "message", "content", "value", "내용", "메시지")
TIMES = ("timestamp", "datetime", "time", "date", "created_at", "일시", "시간", "날짜")

_ROLE_NAMES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant"}
_NO_PERSON = {"system", "developer", "tool", "function", "function_call", "observation"}

_CLOCK = (
    r"(?P<half>오전|오후|[AaPp]\.?[Mm]\.?)?\s*(?P<hour>\d{1,2}):(?P<minute>\d{2})"
    r"(?::(?P<second>\d{2})(?:[.,]\d+)?)?\s*(?P<after>[AaPp]\.?[Mm]\.?)?"
    r"\s*(?:[A-Z]{1,4}|[+-]\d{2}(?::?\d{2})?)?"
)
_WEEKDAY = r"(?:\s*\(?[월화수목금토일](?:요일)?\)?)?"
_TIME_FORMS = [
    re.compile(rf"{day}{_WEEKDAY}(?:(?:T|,?\s+){_CLOCK})?")
    for day in (
        r"(?P<year>\d{4})[-./]\s?(?P<month>\d{1,2})[-./]\s?(?P<day>\d{1,2})\.?",
        r"(?P<year>\d{4})년\s?(?P<month>\d{1,2})월\s?(?P<day>\d{1,2})일",
        r"(?P<year>(?:19|20)\d{2})(?P<month>\d{2})(?P<day>\d{2})",
        r"(?P<month>0?[1-9]|1[0-2])/(?P<day>\d{1,2})/(?P<year>\d{4}|\d{2})",
        r"(?P<day>1[3-9]|2\d|3[01])/(?P<month>\d{1,2})/(?P<year>\d{4}|\d{2})",
        r"(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4})",
    )
]
_EPOCH = re.compile(r"\d{9,17}(?:\.\d+)?", re.ASCII)
# From here on a number counts milliseconds, or microseconds.
_MILLISECONDS, _MICROSECONDS = 10**11, 10**14


def pair_keys(names: Collection[str]) -> tuple[tuple[str, ...], str] | None:
    """Return the names of a question's pieces and of its answer among ``names``, in lower case."""
    for question, answer in _PAIRS:
        if question in names and answer in names:
            more = ("input",) if question == "instruction" and "input" in names else ()
            return (question, *more), answer
    return None


def pair_messages(pieces: list[str], answer: str, part: int, dropped: Dropped) -> Iterator[Message]:
    """Yield a question of one or more pieces and its answer; neither where a side is empty."""
    question = "\n".join(piece for piece in pieces if piece.strip())
    if not question or not answer.strip():
        dropped["empty"] += 1
        return
    for speaker, text in (("user", question), ("assistant", answer)):
        if (message := make_message(None, speaker, text, dropped, part)) is not None:
            yield message


def role_speaker(role: str) -> str | None:
    """Return the speaker a role stands for, ``None`` where it is no person's (a system prompt)."""
    lower = role.strip().lower()
    if lower in _NO_PERSON:
        return None
    return lower if lower in ("user", "assistant") else _ROLE_NAMES.get(lower, role)


def common_time(value: object) -> datetime | None:
    """Return the wall-clock time of a date in a common form or of a number since 1970.

    ``5/1/2024`` and ``5/1/24`` are read month first, ``13/5/2024`` and ``1.5.2024`` day first.

    Returns:
        ``None`` where there is no value.

    Raises:
        ValueError: it is no time.
    """
    if value is None:
        return None
    if isinstance(value, str):
        value = value.strip()
        if not value:
            return None
        if not _EPOCH.fullmatch(value):
            return _written_time(value)
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ValueError("no time")
    if value >= _MICROSECONDS:
        value //= 1_000_000
    elif value >= _MILLISECONDS:
        value //= 1000
    time = seoul_time(value)
    if time is None:
        raise ValueError("no time")
    return time


def _written_time(text: str) -> datetime:
    match = next((match for form in _TIME_FORMS if (match := form.fullmatch(text))), None)
    if match is None:
        raise ValueError("no date")
    year, month, day, hour, minute, second = (
        int(match[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")
    )
    if year < 100:
        year += 2000
    half = match["half"] or match["after"]
    if half:
        hour = hour % 12 + (12 if half[0] in "Pp" or half == "오후" else 0)
    return datetime(year, month, day, hour, minute, second)

"""What every chat export is read into: messages, and a count of what was left out."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from chatbot.errors import ChatbotError

if TYPE_CHECKING:
    from chatbot.chatlogs.source import Sample, Source


class ExportError(ChatbotError):
    """An export cannot be read; the message names the file and the remedy."""


class Message(NamedTuple):
    """One message: wall-clock time as the file has it, the speaker's name there, the exact text.

    ``part`` numbers from 1 the rooms or dialogues of a file that holds several: no session spans two.
    """

    time: datetime | None
    speaker: str
    text: str
    part: int = 0


# Why something in an export is not a message; a reader counts each under one of these.
Reason = Literal["media", "system", "deleted", "empty", "bot", "forwarded", "broken"]
REASONS: tuple[Reason, ...] = get_args(Reason)
Dropped = Counter[Reason]


@dataclass(frozen=True)
class ExportFormat:
    """A format the importer knows; a module in ``formats`` lists its own in ``FORMATS``.

    Args:
        name: what ``--format`` and ``--json`` call it.
        title: what a person calls it, in Korean.
        recognise: how much a sample looks like this format: complete records found in it, a fraction
            for a header alone, 0 for no. The most wins.
        read: yields the messages in constant memory where the format allows it, and counts what it
            leaves out in ``dropped``.
        me: names under which such an export writes its owner.
    """

    name: str
    title: str
    recognise: Callable[[Sample], float]
    read: Callable[[Source, Dropped], Iterator[Message]]
    me: tuple[str, ...] = ()


def make_message(
    time: datetime | None, speaker: str, text: str, dropped: Dropped, part: int = 0
) -> Message | None:
    """Return a message in NFC without blank lines at its end; ``None``, counted, where nothing is left."""
    text = unicodedata.normalize("NFC", text).rstrip("\r\n")
    if not text or text.isspace():
        dropped["empty"] += 1
        return None
    return Message(time, _composed(speaker), text, part)


@lru_cache(maxsize=1024)
def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


_SEOUL = timedelta(hours=9)  # no daylight saving time since 1988
_EPOCH = datetime(1970, 1, 1)
_ISO = re.compile(r"(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2})(?::(\d{2}))?")


def iso_time(text: object) -> datetime | None:
    """Return the wall-clock time that an ISO 8601 text begins with, fraction and offset cut off."""
    match = _ISO.match(text) if isinstance(text, str) else None
    try:
        return datetime(*(int(part or 0) for part in match.groups())) if match else None  # type: ignore[arg-type]
    except ValueError:
        return None


def seoul_time(seconds: object) -> datetime | None:
    """Return the wall-clock time in Seoul of seconds since 1970 in UTC, the fraction cut off."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 2**34:
        return None
    return _EPOCH + _SEOUL + timedelta(seconds=int(seconds))

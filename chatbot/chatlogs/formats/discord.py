"""Discord channels as DiscordChatExporter writes them: JSON and CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from chatbot.chatlogs.message import Dropped, ExportError, ExportFormat, Message, iso_time, make_message
from chatbot.chatlogs.source import Sample, Source
from chatbot.chatlogs.words import MONTHS

_PEOPLE_WRITE = ("Default", "Reply")
_MEDIA = ("attachments", "embeds", "stickers", "poll")

_COLUMNS = ("AuthorID", "Author", "Date", "Content")
# What the exporter makes up for an event; a CSV has no other sign of one.
_EVENT = re.compile(
    r"Added .+ to the group\.|Added a recipient\.|Removed .+ from the group\.|Removed a recipient\."
    r"|Left the group\.|Started a call that lasted [\d,.]+ minutes\.|Changed the channel name(?:: .+|\.)"
    r"|Changed the channel icon\.|Pinned a message\.|Started a thread\.|Joined the server\."
)
# Dates that older versions wrote: by the machine's own custom, or 01-May-24 08:02 PM.
_HALF = r"오전|오후|[AaPp]\.?[Mm]\.?"
_CLOCK = rf"(?:({_HALF}) )?(\d{{1,2}}):(\d\d)(?::(\d\d))?(?:[ \u202f]({_HALF}))?"
_SLASHES = re.compile(rf"(\d{{1,2}})/(\d{{1,2}})/(\d{{4}}),? {_CLOCK}", re.ASCII)
_HYPHENS = re.compile(rf"(\d{{4}})-(\d\d)-(\d\d) {_CLOCK}", re.ASCII)
_MONTH_NAME = re.compile(rf"(\d\d)-([A-Z][a-z]{{2}})-(\d\d) {_CLOCK}", re.ASCII)


def _recognise_json(sample: Sample) -> float:
    shape = sample.shape
    messages = shape.get("messages")
    if isinstance(shape.get("guild"), dict) and isinstance(shape.get("channel"), dict):
        return 1000.0
    return 1000.0 if isinstance(messages, list) and any(map(_is_record, messages)) else 0.0


def _is_record(value: Any) -> bool:
    author = value.get("author") if isinstance(value, dict) else None
    return isinstance(author, dict) and "isBot" in author and "content" in value


def _read_json(source: Source, dropped: Dropped) -> Iterator[Message]:
    for record in source.json_items("messages.item"):
        message = _read_record(record, dropped)
        if message is not None:
            yield message


def _read_record(record: Any, dropped: Dropped) -> Message | None:
    author = record.get("author") if isinstance(record, dict) else None
    if not isinstance(author, dict):
        dropped["broken"] += 1
        return None
    kind, content = record.get("type"), record.get("content")
    time, speaker = iso_time(record.get("timestamp")), _read_speaker(author)
    if not isinstance(kind, (str, int)) or not isinstance(content, str) or time is None or speaker is None:
        dropped["broken"] += 1
    elif kind not in _PEOPLE_WRITE:
        dropped["system"] += 1
    elif author.get("isBot"):
        dropped["bot"] += 1
    elif record.get("forwardedMessage"):
        dropped["forwarded"] += 1
    elif not content.strip() and any(record.get(key) for key in _MEDIA):
        dropped["media"] += 1
    else:
        return make_message(time, speaker, content, dropped)
    return None


def _read_speaker(author: dict[str, Any]) -> str | None:
    for key in ("nickname", "name"):
        name = author.get(key)
        if isinstance(name, str) and name.strip():
            return name
    return None


def _recognise_csv(sample: Sample) -> float:
    return 1000.0 if sample.lines and _delimiter(sample.lines[0]) else 0.0


def _delimiter(header: str) -> str | None:
    """Return what separates the columns (a spreadsheet may have changed it), if they are Discord's."""
    for delimiter in (",", ";", "\t"):
        if set(_COLUMNS) <= {cell.strip(' "') for cell in header.split(delimiter)}:
            return delimiter
    return None


def _read_csv(source: Source, dropped: Dropped) -> Iterator[Message]:
    day_first = _is_day_first(source)
    for row in _rows(source):
        message = _read_row(row, day_first, dropped)
        if message is not None:
            yield message


def _rows(source: Source) -> Iterator[dict[str, str] | None]:
    """Yield the rows by column name; ``None`` for one that has more or fewer cells than the header."""
    first_line = "".join(source.sample.lines[:1])
    with source.open_text() as text:
        rows = csv.reader(text, delimiter=_delimiter(first_line) or ",")
        try:
            header = [cell.strip(' "') for cell in next(rows, [])]
            if not set(_COLUMNS) <= set(header):
                raise ExportError(
                    f"{source}: 디스코드 CSV의 첫 줄이 없어요. 내보낸 그대로의 파일을 골라 주세요."
                )
            for row in rows:
                if row:
                    yield dict(zip(header, row, strict=True)) if len(row) == len(header) else None
        except csv.Error as error:
            raise ExportError(f"{source}: CSV의 따옴표가 깨졌어요. 대화를 다시 내보내 주세요.") from error


def _is_day_first(source: Source) -> bool:
    """Tell whether 5/2/2024 is the 5th of February: some first number of the file is no month."""
    for row in _rows(source):
        match = _SLASHES.fullmatch(row["Date"]) if row else None
        if match and int(match.group(1)) > 12:
            return True
        if row and match is None:
            return False
    return False


def _read_row(row: dict[str, str] | None, day_first: bool, dropped: Dropped) -> Message | None:
    time = _read_date(row["Date"], day_first) if row else None
    if row is None or time is None or not row["Author"].strip():
        dropped["broken"] += 1
        return None
    content = row["Content"].replace("\r\n", "\n")
    if _EVENT.fullmatch(content):
        dropped["system"] += 1
    elif not content.strip() and row.get("Attachments", "").strip():
        dropped["media"] += 1
    else:
        return make_message(time, row["Author"], content, dropped)
    return None


def _read_date(text: str, day_first: bool) -> datetime | None:
    try:
        if match := _SLASHES.fullmatch(text):
            month, day = (int(match.group(n)) for n in ((2, 1) if day_first else (1, 2)))
            year = int(match.group(3))
        elif match := _HYPHENS.fullmatch(text):
            year, month, day = (int(match.group(n)) for n in (1, 2, 3))
        elif match := _MONTH_NAME.fullmatch(text):
            year, month, day = 2000 + int(match.group(3)), MONTHS[match.group(2)], int(match.group(1))
        else:
            return iso_time(text)
        return datetime(year, month, day, _hour(match), int(match.group(6)), int(match.group(7) or 0))
    except (ValueError, KeyError):
        return None


def _hour(match: re.Match[str]) -> int:
    half, hour = match.group(4) or match.group(8), int(match.group(5))
    return hour if half is None else hour % 12 + (12 if half == "오후" or half[0] in "Pp" else 0)


FORMATS = (
    ExportFormat("discord-json", "디스코드 JSON", _recognise_json, _read_json),
    ExportFormat("discord-csv", "디스코드 CSV", _recognise_csv, _read_csv),
)

"""JSON of no messenger, a value a line or one document: dialogues, questions with answers, messages.

What ``chatbot import --json`` prints and the files of our own datasets are among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal

from chatbot.chatlogs.generic import (
    ROLES,
    SPEAKERS,
    TEXTS,
    TIMES,
    common_time,
    pair_keys,
    pair_messages,
    role_speaker,
)
from chatbot.chatlogs.message import Dropped, ExportFormat, Message, Reason, make_message
from chatbot.chatlogs.source import Sample, Source, json_line

_DIALOGUES = ("messages", "conversations", "conversation", "contents")
_TEXTS = (*TEXTS, "parts")
_MOST_PARTS = 1 << 31
# Half of a character beyond U+FFFF, which no file can hold.
_LONE_HALF = re.compile("[\ud800-\udfff]")

Kind = Literal["pairs", "messages", "empty"]


def _recognise(kind: Kind, sample: Sample) -> float:
    lines = [line for line in sample.lines if line.strip()]
    if not lines:
        return 0.0
    if _is_document(lines):
        top = sample.shape.get("")
        kinds = [_kind(record) for record in (top if isinstance(top, list) else [sample.shape])]
    else:
        kinds = [_kind(json_line(line)) for line in lines]
        if not _opens(lines[0]) and kinds.count(None) > len(kinds) / 2:
            return 0.0  # JSON that people pasted into a chat
    pairs, messages = kinds.count("pairs"), kinds.count("messages")
    if not pairs and not messages:
        return 0.5 if kind == "messages" and "empty" in kinds else 0.0
    return 1.0 if kind == ("pairs" if pairs > messages else "messages") else 0.0


def _is_document(lines: Sequence[str]) -> bool:
    """Tell whether lines that are not blank are those of one document, not a value each."""
    if not _opens(lines[0]):
        return False
    values = [json_line(line) for line in lines]
    if isinstance(values[0], dict) or (values[0] is not None and len(lines) > 1):
        return False
    # no document has whole values in lines that follow one another: a comma would part them
    return not any(isinstance(a, (dict, list)) and isinstance(b, (dict, list)) for a, b in pairwise(values))


def _opens(line: str) -> bool:
    return line.lstrip().startswith(("{", "["))


def _kind(value: Any) -> Kind | None:
    """Return what a record holds; ``None`` for nothing we know."""
    record = _lower(value)
    turns = _turns(record)
    if turns is not None:
        if any(_is_message(_lower(turn)) for turn in turns):
            return "messages"
        return None if turns else "empty"
    if not isinstance(record, dict):
        return None
    return "pairs" if pair_keys(record) else "messages" if _is_message(record) else None


def _lower(value: Any) -> Any:
    """Return an object with its keys in lower case, anything else as it is."""
    return {key.lower(): item for key, item in value.items()} if isinstance(value, dict) else value


def _turns(record: Any) -> list[Any] | None:
    """Return the list of messages that a dialogue has, or is."""
    if isinstance(record, dict):
        return next((record[key] for key in _DIALOGUES if isinstance(record.get(key), list)), None)
    return record if isinstance(record, list) else None


def _is_message(record: Any) -> bool:
    if not isinstance(record, dict):
        return False
    return any(key in record for key in (*SPEAKERS, *ROLES)) and any(key in record for key in _TEXTS)


def _read(source: Source, dropped: Dropped) -> Iterator[Message]:
    part = 1  # 0 is for messages that stand by themselves
    for value in _values(source, dropped):
        record = _lower(value)
        turns = _turns(record)
        if turns is not None:
            read = (_read_message(_lower(turn), part, dropped) for turn in turns)
            messages = [message for message in read if message is not None]
        elif isinstance(record, dict) and (keys := pair_keys(record)):
            messages = _read_pair([record[key] for key in keys[0]], record[keys[1]], part, dropped)
        else:
            message = _read_message(record, _part(record), dropped)
            if message is not None:
                yield message
            continue
        yield from messages
        part += bool(messages)


def _values(source: Source, dropped: Dropped) -> Iterator[Any]:
    """Yield the records of a file of lines or of a document."""
    first = next(filter(str.strip, source.lines()), "")  # the sample may have cut it
    others = [line for line in source.sample.lines if line.strip()][1:]
    if _is_document([first, *others]):
        yield from source.json_items(_prefix(source.sample.shape))
        return
    for line in source.lines():
        value = json_line(line)
        if value is not None:
            yield value
        else:
            dropped["broken" if line.strip() else "empty"] += 1


def _prefix(shape: dict[str, Any]) -> str:
    """Return under which prefix a document has its records: a list, a dialogue or a single record."""
    if "" in shape:
        return "item"
    known = (key for key in shape if key.lower() in _DIALOGUES and isinstance(shape[key], list))
    return "".join(f"{key}.item" for key in list(known)[:1])


def _read_pair(pieces: list[Any], answer: Any, part: int, dropped: Dropped) -> list[Message]:
    texts = ["" if piece is None else _clean(piece) for piece in (*pieces, answer)]
    whole = [text for text in texts if text is not None]
    if len(whole) < len(texts):
        dropped["broken"] += 1
        return []
    return list(pair_messages(whole[:-1], whole[-1], part, dropped))


def _read_message(record: Any, part: int, dropped: Dropped) -> Message | None:
    if not isinstance(record, dict):
        dropped["broken"] += 1
        return None
    role = _name(record, ROLES)
    role_name = role_speaker(role)
    if role_name is None:
        dropped["system"] += 1
        return None
    speaker = _name(record, SPEAKERS) or role_name
    text, reason = _text(record)
    try:
        time = common_time(_time_value(record))
    except ValueError:
        reason = "broken"
    if not speaker:
        reason = "broken"
    if reason is not None:
        dropped[reason] += 1
        return None
    return make_message(time, speaker, text, dropped, part)


def _name(record: dict[str, Any], keys: Sequence[str]) -> str:
    """Return the first name under one of the keys, a number where people have numbers."""
    for key in keys:
        name = record.get(key)
        if isinstance(name, int) and not isinstance(name, bool):
            return str(name)
        if isinstance(name, str) and name.strip():
            return _LONE_HALF.sub("\ufffd", name)
    return ""


def _text(record: dict[str, Any]) -> tuple[str, Reason | None]:
    """Return the text of a message, and why there is none."""
    present = [record[key] for key in _TEXTS if key in record]
    if not present:
        return "", "broken"
    value = next((value for value in present if value is not None), "")
    if not isinstance(value, list):
        text = _clean(value)
        return ("", "broken") if text is None else (text, None)
    if not all(isinstance(piece, (str, dict)) for piece in value):
        return "", "broken"
    texts = [_clean(piece.get("text") if isinstance(piece, dict) else piece) for piece in value]
    known = [text for text in texts if text is not None]
    return "".join(known), "media" if value and not known else None


def _clean(value: Any) -> str | None:
    """Return a text with one kind of line break and whole characters; ``None`` for anything else."""
    if not isinstance(value, str):
        return None
    return _LONE_HALF.sub("\ufffd", value.replace("\r\n", "\n").replace("\r", "\n"))


def _time_value(record: dict[str, Any]) -> Any:
    date, clock = record.get("date"), record.get("time")
    if isinstance(date, str) and isinstance(clock, str):
        return f"{date} {clock}"
    return next((record[key] for key in TIMES if record.get(key) is not None), None)


def _part(record: Any) -> int:
    """Return the number of the dialogue, as our own datasets have it."""
    part = record.get("part") if isinstance(record, dict) else None
    return part if isinstance(part, int) and 0 < part < _MOST_PARTS else 0


FORMATS = (
    ExportFormat("pairs-json", "질문·답 JSON", partial(_recognise, "pairs"), _read),
    ExportFormat("messages-json", "메시지 JSON", partial(_recognise, "messages"), _read),
)

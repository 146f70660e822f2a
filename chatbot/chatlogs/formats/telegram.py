"""Telegram Desktop's ``result.json``: one chat, or a full export that holds one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chatbot.chatlogs.message import Dropped, ExportError, ExportFormat, Message, iso_time, make_message
from chatbot.chatlogs.source import Sample, Source

_CHAT_TYPES = (
    "saved_messages",
    "replies",
    "personal_chat",
    "bot_chat",
    "private_group",
    "private_supergroup",
    "public_supergroup",
    "private_channel",
    "public_channel",
)
# A full export keeps the chats that its owner left in a list of their own.
_LISTS = ("chats.list.item", "left_chats.list.item")
_MESSAGE_TYPES = tuple(f"{chat}.messages.item.type" for chat in _LISTS)
_MEDIA = (
    "photo",
    "file",
    "media_type",
    "poll",
    "location_information",
    "place_name",
    "contact_information",
    "game_title",
    "invoice_information",
)


def _recognise(sample: Sample) -> float:
    shape = sample.shape
    if any(isinstance(shape.get(key), dict) and "list" in shape[key] for key in ("chats", "left_chats")):
        return 1000.0
    # Thousands of contacts come before the chats: too many for the sample to reach these.
    personal = shape.get("personal_information")
    if isinstance(personal, dict) and "user_id" in personal:
        return 1000.0
    messages = shape.get("messages")
    if not isinstance(messages, list):
        return 0.0
    known = shape.get("type") in _CHAT_TYPES or any(map(_is_record, messages))
    return 1000.0 if known else 0.0


def _is_record(value: Any) -> bool:
    if not isinstance(value, dict) or value.get("type") not in ("message", "service"):
        return False
    return "text" in value and ("from_id" in value or "actor_id" in value or "date_unixtime" in value)


def _read(source: Source, dropped: Dropped) -> Iterator[Message]:
    if "messages" in source.sample.shape:
        chats: tuple[str, ...] = ("",)
    else:
        _require_one_chat(source)
        chats = tuple(f"{chat}." for chat in _LISTS)
    for chat in chats:
        for record in source.json_items(f"{chat}messages.item"):
            message = _read_message(record, dropped)
            if message is not None:
                yield message


def _require_one_chat(source: Source) -> None:
    """Raise if people wrote in more than one chat: the messages of several are no conversation."""
    found = 0
    written_in = False
    for prefix, event, value in source.json_events():
        if prefix in _LISTS and event == "start_map":
            written_in = False
        elif prefix in _MESSAGE_TYPES and value == "message" and not written_in:
            written_in = True
            found += 1
    if found > 1:
        raise ExportError(
            f"{source}: 대화방이 {found}개 들어 있어요. 텔레그램에서 대화방 하나를 골라 내보내 주세요."
        )


def _read_message(record: Any, dropped: Dropped) -> Message | None:
    kind = record.get("type") if isinstance(record, dict) else None
    if kind == "service":
        dropped["system"] += 1
        return None
    if kind == "unsupported":  # media that this Telegram Desktop did not know yet
        dropped["media"] += 1
        return None
    time, speaker, text = (
        (iso_time(record.get("date")), _read_speaker(record), _read_text(record.get("text")))
        if kind == "message"
        else (None, None, None)
    )
    if time is None or speaker is None or text is None:
        dropped["broken"] += 1
        return None
    if "forwarded_from" in record:  # null where the account it came from is gone
        dropped["forwarded"] += 1
        return None
    if not text.strip() and any(key in record for key in _MEDIA):
        dropped["media"] += 1
        return None
    return make_message(time, speaker, text, dropped)


def _read_speaker(record: dict[str, Any]) -> str | None:
    """Return the sender's name; a deleted account has none but still an id of its own."""
    name, id_ = record.get("from"), record.get("from_id")
    if isinstance(name, str) and name.strip():
        return name
    # the first versions wrote the id as a number
    return str(id_) if isinstance(id_, (str, int)) and str(id_).strip() else None


def _read_text(value: Any) -> str | None:
    """Return a text that is one string or comes in parts (links, bold print, mentions)."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return None
    parts = [part.get("text") if isinstance(part, dict) else part for part in value]
    texts = [part for part in parts if isinstance(part, str)]
    return "".join(texts) if len(texts) == len(parts) else None


FORMATS = (ExportFormat("telegram", "텔레그램", _recognise, _read),)

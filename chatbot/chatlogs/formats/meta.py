"""Instagram and Facebook Messenger: the ``message_1.json`` of a data download, alike but for details."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from chatbot.chatlogs.message import Dropped, ExportFormat, Message, Reason, make_message, seoul_time
from chatbot.chatlogs.source import Sample, Source

_FILES = ("photos", "videos", "audio_files", "gifs", "files")
_MEDIA = (*_FILES, "sticker", "share", "media")
_FACEBOOK_KEYS = ("type", "bumped_message_metadata", "is_taken_down")

# Texts that the apps write, after the name of who did it: the sender, or the owner of the export.
_SENT = re.compile(
    r"(?:sent|shared) (?:an?|\d+) (?:attachment|link|photo|video|voice message|sticker|GIF|file"
    r"|(?:live )?location|post|story|reel)s?\.|(?:첨부 파일|사진|동영상|링크|음성 메시지)[을를] 보냈습니다\."
)
_CALL = r"(?:(?:video|audio|voice) )?(?:call|chat)"
_DID = re.compile(
    r"(?:(?:un)?pinned|unsent|deleted) a message\.|created (?:the|this) group\.|left the group\."
    rf"|(?:joined|started|ended|missed|left) (?:an?|the|your) {_CALL}(?: (?:from|with) .+)?\."
    r"|named the group .+|removed the group name\.|changed the group (?:photo|name)(?: to .+)?\."
    r"|changed the (?:chat )?(?:theme|colou?rs?)(?: to .+)?\."
    r"|(?:set|cleared) (?:the|his|her|their|your|my) (?:own )?nickname(?: for .+| to .+)?\."
    r"|set the (?:emoji|quick reaction) to .+|(?:added|removed) .+ (?:to|from) the group\."
    r"|turned (?:on|off) (?:translations|vanish mode|disappearing messages)\b.*|waved at .+"
    r"|그룹을 (?:만들었습니다|나갔습니다)\.|그룹 이름을 .+(?:변경|지정)했습니다\."
)
# Texts that stand alone.
_NOTICE = re.compile(
    rf"Liked a message|Reacted .+ to (?:your|.+'s) message|.+ missed your {_CALL}\."
    r"|You are now connected on Messenger\.?|(?:Video|Audio|Voice) (?:call|chat) ended\.?"
    rf"|(?:The {_CALL}|Call) ended\.?"
    r"|메시지를 좋아합니다\.?|(?:회원님의 )?메시지에 .+(?:반응을 남겼|공감했|공감을 표시했)습니다\.?"
)


class _Fields(NamedTuple):
    """What a record says, whichever of the two layouts it is in; ``None`` for what is missing."""

    sender: Any
    seconds: Any
    text: Any


def _is_thread(shape: dict[str, Any]) -> bool:
    messages = shape.get("messages")
    if not isinstance(shape.get("participants"), list) or not isinstance(messages, list):
        return False
    return (
        "thread_path" in shape
        or "threadName" in shape
        or any(isinstance(m, dict) and ("sender_name" in m or "senderName" in m) for m in messages)
    )


def _is_instagram(shape: dict[str, Any]) -> bool:
    """Tell by the folder of an attachment, else by keys that only one of the two writes."""
    messages = [m for m in shape["messages"] if isinstance(m, dict)]
    folders = {str(uri).partition("/")[0] for message in messages for uri in _uris(message)}
    if "your_instagram_activity" in folders or "your_facebook_activity" in folders:
        return "your_instagram_activity" in folders
    if "thread_type" in shape or any(key in m for m in messages for key in _FACEBOOK_KEYS):
        return False
    return any("is_geoblocked_for_viewer" in message for message in messages)


def _uris(message: dict[str, Any]) -> Iterator[Any]:
    for key in _FILES:
        files = message.get(key)
        for file in files if isinstance(files, list) else ():
            if isinstance(file, dict):
                yield file.get("uri")


def _recognise_instagram(sample: Sample) -> float:
    return 1000.0 if _is_thread(sample.shape) and _is_instagram(sample.shape) else 0.0


def _recognise_messenger(sample: Sample) -> float:
    return 1000.0 if _is_thread(sample.shape) and not _is_instagram(sample.shape) else 0.0


def _read(source: Source, dropped: Dropped) -> Iterator[Message]:
    """Yield the oldest first. The file has the newest first, and holds so few that they fit in memory."""
    found: list[tuple[float, int, Message]] = []
    for position, record in enumerate(source.json_items("messages.item")):
        fields = _read_fields(record)
        message = _read_message(record, fields, dropped)
        if message is not None:
            found.append((fields.seconds, -position, message))
    for _, _, message in sorted(found):
        yield message


def _read_fields(record: Any) -> _Fields:
    if not isinstance(record, dict):
        return _Fields(None, None, None)
    if "senderName" in record:  # downloaded from an encrypted chat
        sender, milliseconds, text = (record.get(key) for key in ("senderName", "timestamp", "text"))
    else:
        milliseconds = record.get("timestamp_ms")
        sender, text = (_repaired(record.get(key)) for key in ("sender_name", "content"))
    # 0 stands for no time
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, (int, float)) or milliseconds <= 0:
        return _Fields(sender, None, text)
    return _Fields(sender, milliseconds / 1000, text)


def _repaired(value: Any) -> Any:
    """Return a text whose UTF-8 bytes were written as one character each as it was; others as they are."""
    try:
        return value.encode("latin-1").decode("utf-8") if isinstance(value, str) else value
    except UnicodeError:
        return value


def _read_message(record: Any, fields: _Fields, dropped: Dropped) -> Message | None:
    sender, seconds, text = fields
    time = seoul_time(seconds)
    text = "" if text is None else text
    if time is None or not isinstance(sender, str) or not sender.strip() or not isinstance(text, str):
        dropped["broken"] += 1
        return None
    reason = _left_out(record, sender, text)
    if reason:
        dropped[reason] += 1
        return None
    return make_message(time, sender, text, dropped)


def _left_out(record: dict[str, Any], sender: str, text: str) -> Reason | None:
    """Return why a record is nothing that a person wrote. Only a whole text counts."""
    if record.get("is_unsent") or record.get("isUnsent"):
        return "deleted"
    if record.get("type") in ("Subscribe", "Unsubscribe", "Call") or "call_duration" in record:
        return "system"
    text = text.strip()
    if not text:
        return "media" if any(record.get(key) for key in _MEDIA) else None
    if "\n" in text:
        return None
    if _NOTICE.fullmatch(text):
        return "system"
    for name in ("You", "회원님", sender, sender.split()[0]):
        for subject in (f"{name} ", f"{name}님이 ", f"{name}이 "):
            if text.startswith(subject):
                done = text.removeprefix(subject)
                if _SENT.fullmatch(done):
                    return "media"
                if _DID.fullmatch(done):
                    return "system"
    return None


FORMATS = (
    ExportFormat("instagram", "인스타그램", _recognise_instagram, _read),
    ExportFormat("messenger", "페이스북 메신저", _recognise_messenger, _read),
)

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings

from chatbot.chatlogs import ExportError, Message
from tests.chatlogs.json_exports import as_json, assert_sound, conversations, damaged, read_back

SINGLE: dict[str, Any] = {
    "name": "윤서",
    "type": "personal_chat",
    "id": 4711,
    "messages": [
        {
            "id": 1,
            "type": "service",
            "date": "2024-05-01T20:00:00",
            "date_unixtime": "1714561200",
            "actor": "윤서",
            "actor_id": "user100",
            "action": "joined_telegram",
            "text": "",
            "text_entities": [],
        },
        {
            "id": 2,
            "type": "message",
            "date": "2024-05-01T20:01:02",
            "date_unixtime": "1714561262",
            "from": "윤서",
            "from_id": "user100",
            "text": "도서관 자리 있어?\n두 자리면 돼",
            "text_entities": [{"type": "plain", "text": "도서관 자리 있어?\n두 자리면 돼"}],
        },
        {
            "id": 3,
            "type": "message",
            "date": "2024-05-01T20:02:00",
            "edited": "2024-05-01T20:02:30",
            "from": "하람",
            "from_id": "user200",
            "reply_to_message_id": 2,
            "text": [
                "여기 봐 ",
                {"type": "link", "text": "https://example.com/seat"},
                " ",
                {"type": "bold", "text": "2층"},
            ],
            "text_entities": [],
        },
        {
            "id": 4,
            "type": "message",
            "date": "2024-05-01T20:03:00",
            "from": "하람",
            "from_id": "user200",
            "photo": "photos/photo_1.jpg",
            "width": 640,
            "height": 480,
            "text": "",
        },
        {
            "id": 5,
            "type": "message",
            "date": "2024-05-01T20:03:10",
            "from": "하람",
            "from_id": "user200",
            "photo": "photos/photo_2.jpg",
            "text": "창가 자리야",
        },
        {
            "id": 6,
            "type": "message",
            "date": "2024-05-01T20:04:00",
            "from": "윤서",
            "from_id": "user100",
            "forwarded_from": None,
            "text": "남이 쓴 공지",
        },
        {
            "id": 7,
            "type": "message",
            "date": "2024-05-01T20:05:00",
            "from": "윤서",
            "from_id": "user100",
            "via_bot": "@gif",
            "text": "이거 어때",
        },
        {
            "id": 8,
            "type": "message",
            "date": "2024-05-01T20:06:00",
            "from": None,
            "from_id": "user300",
            "text": "탈퇴하기 전에 쓴 글",
        },
        {"id": 9, "type": "unsupported"},
        {
            "id": 10,
            "type": "message",
            "date": "2024-05-01T20:07:00",
            "from": "윤서",
            "from_id": "user100",
            "file": "(File not included. Change data exporting settings to download.)",
            "media_type": "sticker",
            "sticker_emoji": "😀",
            "text": [],
        },
        {"id": 11, "type": "message", "date": "2024-05-01T20:08:00", "from": "윤서", "text": " \n"},
        {"id": 12, "type": "message", "date": "2024-13-01T20:09:00", "from": "윤서", "text": "없는 달"},
        17,
    ],
}
SINGLE_MESSAGES = [
    Message(datetime(2024, 5, 1, 20, 1, 2), "윤서", "도서관 자리 있어?\n두 자리면 돼"),
    Message(datetime(2024, 5, 1, 20, 2), "하람", "여기 봐 https://example.com/seat 2층"),
    Message(datetime(2024, 5, 1, 20, 3, 10), "하람", "창가 자리야"),
    Message(datetime(2024, 5, 1, 20, 5), "윤서", "이거 어때"),
    Message(datetime(2024, 5, 1, 20, 6), "user300", "탈퇴하기 전에 쓴 글"),
]
SINGLE_DROPPED = {"system": 1, "media": 3, "forwarded": 1, "empty": 1, "broken": 2}

QUIET = {"name": "조용한 방", "type": "private_group", "id": 9, "messages": SINGLE["messages"][:1]}
FULL = {
    "about": "Here is the data you requested.",
    "personal_information": {"user_id": 200, "first_name": "하람", "last_name": ""},
    "contacts": {"about": "", "list": [{"user_id": 100, "first_name": "윤서"}]},
    "chats": {"about": "", "list": [QUIET, SINGLE, {"type": "saved_messages", "id": 200, "messages": []}]},
    "left_chats": {"about": "", "list": []},
}

EXAMPLES: dict[str, bytes] = {
    "telegram-chat": as_json(SINGLE),
    "telegram-full": as_json(FULL),
    "telegram-empty": as_json({**SINGLE, "messages": []}),
}


def test_one_chat() -> None:
    assert read_back(EXAMPLES["telegram-chat"]) == ("telegram", SINGLE_MESSAGES, SINGLE_DROPPED)


def test_full_export_with_one_chat() -> None:
    dropped = {**SINGLE_DROPPED, "system": 2}
    assert read_back(EXAMPLES["telegram-full"]) == ("telegram", SINGLE_MESSAGES, dropped)


def test_full_export_whose_only_chat_was_left() -> None:
    export = {**FULL, "chats": {"list": []}, "left_chats": {"list": [SINGLE]}}
    assert read_back(as_json(export)) == ("telegram", SINGLE_MESSAGES, SINGLE_DROPPED)


@pytest.mark.parametrize("other", ["chats", "left_chats"])
def test_full_export_with_two_chats_asks_for_one(other: str) -> None:
    second = {"name": "모임", "type": "private_group", "id": 5, "messages": SINGLE["messages"][1:3]}
    chats = [*FULL["chats"]["list"], second] if other == "chats" else FULL["chats"]["list"]  # type: ignore[index]
    left = [second] if other == "left_chats" else []
    export = {**FULL, "chats": {"about": "", "list": chats}, "left_chats": {"list": left}}
    with pytest.raises(ExportError, match=r"대화방이 2개 들어 있어요.*골라 내보내 주세요"):
        read_back(as_json(export))


def test_empty_export_is_recognised() -> None:
    assert read_back(EXAMPLES["telegram-empty"]) == ("telegram", [], {})


@pytest.mark.parametrize("export", [SINGLE, FULL], ids=["chat", "full"])
def test_keys_in_any_order(export: dict[str, Any]) -> None:
    turned = {key: export[key] for key in reversed(export)}
    assert read_back(as_json(turned))[1] == SINGLE_MESSAGES


def test_full_export_with_thousands_of_contacts_first() -> None:
    contacts = [{"user_id": n, "first_name": "이름", "phone_number": str(n)} for n in range(4000)]
    export = {**FULL, "contacts": {"about": "", "list": contacts}}
    assert read_back(as_json(export))[1] == SINGLE_MESSAGES


def test_control_characters_as_telegram_writes_them() -> None:
    data = as_json({**SINGLE, "messages": SINGLE["messages"][1:2]}).replace(b"\\n", b"\\x0B\\\\x0B")
    (message,) = read_back(data)[1]
    assert message.text == "도서관 자리 있어?\x0b\\x0B두 자리면 돼"


@pytest.mark.parametrize("shift", range(6))
def test_escapes_at_the_edge_of_a_piece(shift: int) -> None:
    # ijson reads pieces of 64 KiB: over many of them an escape is cut in two at every place.
    text = "." * shift + "\x0b" * 30_000 + "\\x41" * 30_000
    time = datetime(2024, 5, 1)
    written = _write([Message(time, "윤서", text)], in_parts=False)
    assert read_back(written.encode())[1] == [Message(time, "윤서", text)]


@pytest.mark.parametrize("name", ["result.json", "KakaoTalk_Chat.csv", "message_1.txt"])
@pytest.mark.parametrize("label", EXAMPLES)
def test_recognised_whatever_the_file_name(label: str, name: str) -> None:
    assert read_back(EXAMPLES[label], name)[0] == "telegram"


@pytest.mark.parametrize("label", EXAMPLES)
def test_cut_off_anywhere(label: str) -> None:
    data = EXAMPLES[label]
    for end in range(0, len(data), 7):
        try:
            assert_sound(read_back(data[:end], format_name="telegram")[1])
        except ExportError as error:
            assert str(error).endswith("요.")


@pytest.mark.parametrize("export", [SINGLE, {**FULL, "chats": {"list": [SINGLE]}}], ids=["chat", "full"])
def test_junk_anywhere(export: dict[str, Any]) -> None:
    for value in damaged(export):
        try:
            assert_sound(read_back(as_json(value), format_name="telegram")[1])
        except ExportError as error:
            assert str(error).endswith("요.")


_ESCAPES = {
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    '"': '\\"',
    "\\": "\\\\",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}


def _quoted(text: str) -> str:
    """Write a string as Telegram Desktop does, which for other control characters is no JSON."""
    escaped = (_ESCAPES.get(c) or (f"\\x{ord(c):02X}" if c < " " else c) for c in text)
    return f'"{"".join(escaped)}"'


def _write(messages: list[Message], in_parts: bool) -> str:
    records = []
    for number, (time, speaker, text, _) in enumerate(messages):
        assert time is not None
        middle = len(text) // 2
        value = (
            f'[{_quoted(text[:middle])}, {{"type": "bold", "text": {_quoted(text[middle:])}}}]'
            if in_parts
            else _quoted(text)
        )
        records.append(
            f'{{"id": {number}, "type": "message", "date": "{time.isoformat()}", "from": {_quoted(speaker)},'
            f' "from_id": "user1", "text": {value}}}'
        )
    return f'{{"name": "방", "type": "personal_chat", "id": 1, "messages": [{",".join(records)}]}}'


@pytest.mark.parametrize("layout", ["telegram-chat", "telegram-chat-parts", "telegram-full"])
@settings(max_examples=50, deadline=None)
@given(messages=conversations())
def test_round_trip(layout: str, messages: list[Message]) -> None:
    written = _write(messages, layout == "telegram-chat-parts")
    if layout == "telegram-full":
        written = f'{{"personal_information": {{"user_id": 1}}, "chats": {{"list": [{written}]}}}}'
    assert read_back(written.encode()) == ("telegram", messages, {})

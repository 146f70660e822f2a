from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings

from chatbot.chatlogs import ExportError, Message
from tests.chatlogs.json_exports import as_json, assert_sound, conversations, damaged, read_back

_EPOCH_IN_SEOUL = datetime(1970, 1, 1, 9)
# 2024-05-01 20:00:00 in Seoul
EIGHT = 1_714_561_200_000


def _mangled(value: Any) -> Any:
    """Write every string as Meta does: each byte of its UTF-8 as a character."""
    if isinstance(value, str):
        return value.encode().decode("latin-1")
    if isinstance(value, dict):
        return {key: _mangled(item) for key, item in value.items()}
    return [_mangled(item) for item in value] if isinstance(value, list) else value


def _as_meta(value: Any) -> bytes:
    return json.dumps(_mangled(value), indent=2).encode()


def _record(second: float, sender: str, content: str | None, **more: Any) -> dict[str, Any]:
    record = {"sender_name": sender, "timestamp_ms": EIGHT + int(second * 1000), "content": content, **more}
    return {key: value for key, value in record.items() if value is not None}


def _instagram(second: float, sender: str, content: str | None, **more: Any) -> dict[str, Any]:
    return _record(second, sender, content, is_geoblocked_for_viewer=False, **more)


PHOTO = [{"uri": "your_instagram_activity/messages/inbox/a/photos/1.jpg", "creation_timestamp": 1}]
INSTAGRAM: dict[str, Any] = {
    "participants": [{"name": "나래"}, {"name": "도윤"}],
    # newest first
    "messages": [
        _instagram(90, "도윤", None),
        _instagram(80, "나래", "무슨 말이야", timestamp_ms=10**17),
        _instagram(70, "나래", "회원님의 메시지에 ❤️ 반응을 남겼습니다"),
        _instagram(60, "도윤", "Reacted ❤️ to your message "),
        _instagram(55, "도윤", "Liked a message"),
        _instagram(50, "도윤", "나는 Liked a message 라고만 떠"),
        _instagram(40, "나래", "나래 sent an attachment.", share={"link": "https://example.com/p/1"}),
        _instagram(
            35, "나래", "이 글 봐 봐", share={"link": "https://example.com/p/2", "share_text": "남의 글"}
        ),
        _instagram(30, "나래", None, photos=PHOTO),
        _instagram(25, "나래", "바다 사진!", photos=PHOTO, reactions=[{"reaction": "❤", "actor": "도윤"}]),
        _instagram(20, "도윤", None, is_unsent=True),
        _instagram(15, "도윤", "도윤 left the group."),
        _instagram(10.5, "도윤", "둘째"),
        _instagram(10.5, "나래", "첫째"),
        _instagram(10, "나래", "어제 어디 갔었어?\n바다? 🌊"),
        {"sender_name": "나래", "content": "언제인지 모를 말"},
        "???",
    ],
    "title": "도윤",
    "is_still_participant": True,
    "thread_path": "inbox/doyun_1234",
    "magic_words": [],
}
INSTAGRAM_MESSAGES = [
    Message(datetime(2024, 5, 1, 20, 0, 10), "나래", "어제 어디 갔었어?\n바다? 🌊"),
    Message(datetime(2024, 5, 1, 20, 0, 10), "나래", "첫째"),
    Message(datetime(2024, 5, 1, 20, 0, 10), "도윤", "둘째"),
    Message(datetime(2024, 5, 1, 20, 0, 25), "나래", "바다 사진!"),
    Message(datetime(2024, 5, 1, 20, 0, 35), "나래", "이 글 봐 봐"),
    Message(datetime(2024, 5, 1, 20, 0, 50), "도윤", "나는 Liked a message 라고만 떠"),
]
INSTAGRAM_DROPPED = {"empty": 1, "broken": 3, "system": 4, "media": 2, "deleted": 1}

MESSENGER: dict[str, Any] = {
    "participants": [{"name": "나래"}, {"name": "Kim Doyun"}],
    "messages": [
        _record(60, "Kim Doyun", "You missed a video call from Kim.", type="Call", call_duration=0),
        _record(50, "Kim Doyun", "Kim set the emoji to 🐣.", type="Generic"),
        _record(40, "Kim Doyun", "Kim Doyun named the group 바다 모임.", type="Generic"),
        _record(30, "나래", None, sticker={"uri": "messages/stickers_used/1.png"}, type="Generic"),
        _record(20, "나래", "Kim left the group. 이라고 떴어", type="Generic"),
        _record(10, "Kim Doyun", "잘 자", type="Generic"),
        _record(0, "나래", "나래님이 그룹을 만들었습니다.", type="Generic"),
    ],
    "title": "바다 모임",
    "is_still_participant": True,
    "thread_type": "RegularGroup",
    "thread_path": "inbox/sea_99",
}
MESSENGER_MESSAGES = [
    Message(datetime(2024, 5, 1, 20, 0, 10), "Kim Doyun", "잘 자"),
    Message(datetime(2024, 5, 1, 20, 0, 20), "나래", "Kim left the group. 이라고 떴어"),
]
MESSENGER_DROPPED = {"system": 4, "media": 1}


def _encrypted(second: int, sender: str, text: str, **more: Any) -> dict[str, Any]:
    return {
        "isUnsent": False,
        "media": [],
        "reactions": [],
        "senderName": sender,
        "text": text,
        "timestamp": EIGHT + second * 1000,
        "type": "text",
        **more,
    }


ENCRYPTED: dict[str, Any] = {
    "participants": ["나래", "도윤"],
    "threadName": "도윤_5",
    "messages": [
        _encrypted(30, "나래", "", media=[{"uri": "./media/1.jpg"}]),
        _encrypted(20, "나래", "", isUnsent=True),
        _encrypted(10, "도윤", "café 갈래?"),
        _encrypted(0, "나래", "심심해"),
    ],
}
ENCRYPTED_MESSAGES = [
    Message(datetime(2024, 5, 1, 20), "나래", "심심해"),
    Message(datetime(2024, 5, 1, 20, 0, 10), "도윤", "café 갈래?"),
]

EXAMPLES: dict[str, bytes] = {
    "instagram": _as_meta(INSTAGRAM),
    "instagram-repaired": as_json(INSTAGRAM),
    "messenger": _as_meta(MESSENGER),
    "messenger-encrypted": as_json(ENCRYPTED),
    "messenger-empty": _as_meta({**MESSENGER, "messages": []}),
}
EXPECTED: dict[str, tuple[list[Message], dict[str, int]]] = {
    "instagram": (INSTAGRAM_MESSAGES, INSTAGRAM_DROPPED),
    "instagram-repaired": (INSTAGRAM_MESSAGES, INSTAGRAM_DROPPED),
    "messenger": (MESSENGER_MESSAGES, MESSENGER_DROPPED),
    "messenger-encrypted": (ENCRYPTED_MESSAGES, {"media": 1, "deleted": 1}),
    "messenger-empty": ([], {}),
}


def _format(label: str) -> str:
    return label.split("-")[0]


@pytest.mark.parametrize("label", EXAMPLES)
def test_example(label: str) -> None:
    assert read_back(EXAMPLES[label]) == (_format(label), *EXPECTED[label])


@pytest.mark.parametrize("label", ["instagram", "messenger"])
def test_attachments_tell_the_two_apart(label: str) -> None:
    app = {"instagram": "instagram", "messenger": "facebook"}[label]
    photos = [{"uri": f"your_{app}_activity/messages/inbox/a/photos/1.jpg"}]
    thread = {**INSTAGRAM, "messages": [_instagram(0, "나래", "바다!", photos=photos)]}
    assert read_back(_as_meta(thread))[0] == label


@pytest.mark.parametrize(
    ("sender", "text", "reason"),
    [
        ("나래", "You sent an attachment.", "media"),
        ("나래", "나래님이 첨부 파일을 보냈습니다.", "media"),
        ("나래", "회원님이 사진을 보냈습니다.", "media"),
        ("나래", "You named the group 바다.", "system"),
        ("나래", "You changed the theme to Ocean.", "system"),
        ("나래", "나래 set your nickname to 나라.", "system"),
        ("나래", "나래 added 도윤 to the group.", "system"),
        ("나래", "나래 started a video chat.", "system"),
        ("나래", "Video chat ended.", "system"),
        ("나래", "The video call ended.", "system"),
        ("나래", "You are now connected on Messenger", "system"),
        ("나래", "메시지를 좋아합니다", "system"),
        ("나래", "Reacted 😂 to 도윤's message", "system"),
        # what people write
        ("나래", "She left the group.", None),
        ("나래", "You sent a lot.", None),
        ("나래", "You missed the call because of me", None),
        ("나래", "You set the table.", None),
        ("나래", "사진을 보냈습니다.", None),
        ("나래", "나래 left the group.\n라고 떴어", None),
        ("나", "나그룹을 나갔습니다.", None),
    ],
)
def test_only_whole_texts_of_the_app_are_left_out(sender: str, text: str, reason: str | None) -> None:
    _, messages, dropped = read_back(_as_meta({**INSTAGRAM, "messages": [_instagram(0, sender, text)]}))
    assert ([m.text for m in messages], dropped) == (([], {reason: 1}) if reason else ([text], {}))


@pytest.mark.parametrize("name", ["message_1.json", "result.json", "Talk_2024.5.1.txt"])
@pytest.mark.parametrize("label", EXAMPLES)
def test_recognised_whatever_the_file_name(label: str, name: str) -> None:
    assert read_back(EXAMPLES[label], name)[0] == _format(label)


def test_keys_in_any_order() -> None:
    turned = {key: INSTAGRAM[key] for key in reversed(INSTAGRAM)}
    assert read_back(_as_meta(turned)) == ("instagram", INSTAGRAM_MESSAGES, INSTAGRAM_DROPPED)


@pytest.mark.parametrize("label", EXAMPLES)
def test_cut_off_anywhere(label: str) -> None:
    data = EXAMPLES[label]
    for end in range(0, len(data), 7):
        try:
            assert_sound(read_back(data[:end], format_name=_format(label))[1])
        except ExportError as error:
            assert str(error).endswith("요.")


@pytest.mark.parametrize(
    "thread",
    [
        {**INSTAGRAM, "messages": [INSTAGRAM["messages"][n] for n in (6, 9, 10)]},
        {**MESSENGER, "messages": MESSENGER["messages"][:4]},
        ENCRYPTED,
    ],
    ids=["instagram", "messenger", "messenger-encrypted"],
)
def test_junk_anywhere(thread: dict[str, Any]) -> None:
    for value in damaged(thread):
        for format_name in ("auto", "instagram"):
            try:
                assert_sound(read_back(as_json(value), format_name=format_name)[1])
            except ExportError as error:
                assert str(error).endswith("요.")


def _write(layout: str, messages: list[Message]) -> bytes:
    records = []
    for time, speaker, text, _ in messages:
        assert time is not None
        milliseconds = int((time - _EPOCH_IN_SEOUL).total_seconds()) * 1000
        if layout == "messenger-encrypted":
            records.append(_encrypted(0, speaker, text, timestamp=milliseconds))
        elif layout == "messenger":
            records.append(_record(0, speaker, text, timestamp_ms=milliseconds, type="Generic"))
        else:
            records.append(_instagram(0, speaker, text, timestamp_ms=milliseconds))
    thread = {"instagram": INSTAGRAM, "messenger": MESSENGER, "messenger-encrypted": ENCRYPTED}[layout]
    export = {**thread, "messages": records[::-1]}
    return as_json(export) if layout == "messenger-encrypted" else _as_meta(export)


@pytest.mark.parametrize("layout", ["instagram", "messenger", "messenger-encrypted"])
@settings(max_examples=50, deadline=None)
@given(messages=conversations())
def test_round_trip(layout: str, messages: list[Message]) -> None:
    assert read_back(_write(layout, messages)) == (_format(layout), messages, {})

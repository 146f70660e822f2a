from __future__ import annotations

import io
import random
import zipfile
from datetime import datetime
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings

from chatbot.chatlogs import ExportError, Message
from tests.chatlogs.json_exports import as_json, assert_sound, conversations, damaged, read_back

_EPOCH_IN_SEOUL = datetime(1970, 1, 1, 9)
# 2024-05-01 20:00:00 in Seoul
EIGHT = 1_714_561_200


def _zip(files: dict[str, Any], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, value in files.items():
            archive.writestr(name, as_json(value))
    return out.getvalue()


def _record(second: int, user: str | None, text: str, **more: Any) -> dict[str, Any]:
    return {"type": "message", "user": user, "text": text, "ts": f"{EIGHT + second}.000200", **more}


USERS = [
    {
        "id": "U1",
        "name": "haneul.p",
        "is_bot": False,
        "profile": {"display_name": "하늘", "real_name": "박하늘"},
    },
    {"id": "U2", "name": "jun", "is_bot": False, "profile": {"display_name": "", "real_name": "이준"}},
    {"id": "U3", "name": "sol"},
    {"id": "U4", "name": "배포봇", "is_bot": True, "profile": {"display_name": "배포봇"}},
]
CHANNELS = [{"id": "C1", "name": "일반"}, {"id": "C2", "name": "점심"}]
FIRST_DAY = [
    _record(0, "U1", "<@U1> has joined the channel", subtype="channel_join"),
    _record(1, "U1", "<@U2> 내일 &lt;회의&gt; 몇 시? R&amp;D팀도 와?\n<!here> 봐 줘"),
    _record(
        2, "U2", "세 시 <https://example.com/r?a=1&amp;b=2|예약> <#C2|점심> <#C2> <mailto:a@example.com>"
    ),
    _record(
        3, "U9", "저는 손님이에요", user_profile={"real_name": "정다온", "display_name": "", "name": "daon"}
    ),
    _record(
        4, "U3", "<@U9> <@U7> <!subteam^S1|@디자인> <!date^1714618900^{date}|5월 2일> <https://example.com>"
    ),
    _record(5, "U1", "", files=[{"id": "F1", "name": "a.png"}]),
    _record(6, "U1", "사진이야", subtype="file_share", files=[{"id": "F1"}]),
    _record(7, "U4", "배포했어요"),
    _record(8, None, "알림", subtype="bot_message", bot_id="B1", username="알림이"),
    _record(9, "USLACKBOT", "This message was deleted.", subtype="tombstone"),
    _record(10, "U2", "This message was deleted.", subtype="tombstone"),
    _record(11, "U2", "", attachments=[{"is_share": True, "text": "남이 쓴 글"}]),
    _record(12, "U2", " "),
    _record(13, "U2", "때가 없음", ts="어제"),
    _record(14, "U2", "먼 뒷날", ts="999999999999.0"),
    42,
]
SECOND_DAY = [_record(86_400, "U2", "다 왔어?", thread_ts="1", subtype="thread_broadcast")]
LUNCH = [_record(-10, "U7", "국밥 어때")]

WORKSPACE = {
    "users.json": USERS,
    "channels.json": CHANNELS,
    "integration_logs.json": [],
    "점심/2024-05-01.json": LUNCH,
    "일반/2024-05-02.json": SECOND_DAY,
    "일반/2024-05-01.json": FIRST_DAY,
    "일반/canvas_in_the_conversation.json": {"id": "F9"},
}
GENERAL = [
    Message(datetime(2024, 5, 1, 20, 0, 1), "하늘", "@이준 내일 <회의> 몇 시? R&D팀도 와?\n@here 봐 줘"),
    Message(datetime(2024, 5, 1, 20, 0, 2), "이준", "세 시 예약 #점심 #점심 a@example.com"),
    Message(datetime(2024, 5, 1, 20, 0, 3), "정다온", "저는 손님이에요"),
    Message(datetime(2024, 5, 1, 20, 0, 4), "sol", "@정다온 @U7 @디자인 5월 2일 https://example.com"),
    Message(datetime(2024, 5, 1, 20, 0, 6), "하늘", "사진이야"),
    Message(datetime(2024, 5, 2, 20), "이준", "다 왔어?"),
]
WORKSPACE_MESSAGES = [
    *(message._replace(part=1) for message in GENERAL),
    Message(datetime(2024, 5, 1, 19, 59, 50), "U7", "국밥 어때", part=2),
]
WORKSPACE_DROPPED = {"system": 1, "media": 1, "bot": 3, "deleted": 1, "forwarded": 1, "empty": 1, "broken": 3}

EXAMPLES: dict[str, bytes] = {
    "slack-zip": _zip(WORKSPACE),
    "slack-zip-in-a-folder": _zip({f"내보내기/{name}": value for name, value in WORKSPACE.items()}),
    "slack-zip-empty": _zip({"users.json": USERS, "channels.json": CHANNELS}),
    "slack-day": as_json(FIRST_DAY),
}


@pytest.mark.parametrize("label", ["slack-zip", "slack-zip-in-a-folder"])
def test_zip(label: str) -> None:
    assert read_back(EXAMPLES[label]) == ("slack", WORKSPACE_MESSAGES, WORKSPACE_DROPPED)


def test_zip_made_on_a_mac() -> None:
    files = {**WORKSPACE, "__MACOSX/일반/2024-05-01.json": "?", "__MACOSX/users.json": "?"}
    assert read_back(_zip(files)) == ("slack", WORKSPACE_MESSAGES, WORKSPACE_DROPPED)


def test_zip_of_direct_messages_alone() -> None:
    files = {
        "dms.json": [{"id": "D1", "members": ["U1", "U2"]}],
        "D1/2024-05-01.json": [_record(0, "U1", "야")],
    }
    assert read_back(_zip(files))[:2] == ("slack", [Message(datetime(2024, 5, 1, 20), "U1", "야", part=1)])


def test_single_day_names_only_whom_its_messages_name() -> None:
    name, messages, dropped = read_back(EXAMPLES["slack-day"])
    assert (name, [message.speaker for message in messages]) == (
        "slack",
        ["U1", "U2", "정다온", "U3", "U1", "U4"],
    )
    assert messages[0].text == "@U2 내일 <회의> 몇 시? R&D팀도 와?\n@here 봐 줘"
    assert messages[1].text == "세 시 예약 #점심 #C2 a@example.com"
    assert dropped == {**WORKSPACE_DROPPED, "bot": 2}


def test_empty_export_is_recognised() -> None:
    assert read_back(EXAMPLES["slack-zip-empty"]) == ("slack", [], {})


def test_a_day_that_is_none() -> None:
    with pytest.raises(ExportError, match="하루치 대화가 아니에요"):
        read_back(_zip({**WORKSPACE, "일반/2024-05-01.json": {"ok": False}}))


def test_locked_zip() -> None:
    data = bytearray(EXAMPLES["slack-zip"])
    # the lock is a bit in the header of each member, before it and in the directory at the end
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(mark, at + 1)
    with pytest.raises(ExportError, match="암호가 걸려 있어요"):
        read_back(bytes(data))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_damaged_zip(compression: int) -> None:
    data = _zip(WORKSPACE, compression)
    chance = random.Random(7)
    for _ in range(300):
        broken = bytearray(data)
        for _ in range(chance.randint(1, 3)):
            broken[chance.randrange(4, len(broken))] = chance.randrange(256)
        try:
            assert_sound(read_back(bytes(broken), format_name="slack")[1])
        except ExportError as error:
            assert str(error).endswith("요.")


@pytest.mark.parametrize("name", ["내 워크스페이스.zip", "result.json", "chat.txt"])
@pytest.mark.parametrize("label", EXAMPLES)
def test_recognised_whatever_the_file_name(label: str, name: str) -> None:
    assert read_back(EXAMPLES[label], name)[0] == "slack"


@pytest.mark.parametrize("label", EXAMPLES)
def test_cut_off_anywhere(label: str) -> None:
    data = EXAMPLES[label]
    for end in range(0, len(data), 7):
        try:
            assert_sound(read_back(data[:end], format_name="slack")[1])
        except ExportError as error:
            assert str(error).endswith("요.")


def test_junk_anywhere_in_a_day() -> None:
    for value in damaged([FIRST_DAY[n] for n in (1, 3, 11)]):
        try:
            assert_sound(read_back(as_json(value), format_name="slack")[1])
        except ExportError as error:
            assert str(error).endswith("요.")


@pytest.mark.parametrize("file", ["users.json", "channels.json"])
def test_junk_anywhere_in_the_lists(file: str) -> None:
    for value in damaged({"users.json": USERS[:2], "channels.json": CHANNELS[:1]}[file]):
        try:
            assert_sound(read_back(_zip({**WORKSPACE, file: value}), format_name="slack")[1])
        except ExportError as error:
            assert str(error).endswith("요.")


def _day(messages: list[Message], ids: dict[str, str]) -> list[dict[str, Any]]:
    records = []
    for time, speaker, text, _ in messages:
        assert time is not None
        escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        stamp = f"{int((time - _EPOCH_IN_SEOUL).total_seconds())}.000100"
        records.append({**_record(0, ids[speaker], escaped), "ts": stamp})
    return records


@pytest.mark.parametrize("layout", ["slack-zip", "slack-day"])
@settings(max_examples=50, deadline=None)
@given(messages=conversations())
def test_round_trip(layout: str, messages: list[Message]) -> None:
    speakers = {message.speaker for message in messages}
    ids = {speaker: f"U{number}" for number, speaker in enumerate(sorted(speakers))}
    room = 0 if layout == "slack-day" else 1
    if layout == "slack-day":
        for record, message in zip(day := _day(messages, ids), messages, strict=True):
            record["user_profile"] = {"display_name": message.speaker}
        data = as_json(day)
    else:
        days = groupby(messages, key=lambda message: f"{message.time:%Y-%m-%d}")
        users = [{"id": id_, "profile": {"real_name": speaker}} for speaker, id_ in ids.items()]
        data = _zip(
            {"users.json": users, **{f"D1/{date}.json": _day(list(group), ids) for date, group in days}}
        )
    assert read_back(data) == ("slack", [message._replace(part=room) for message in messages], {})


def test_a_link_to_nothing_is_its_label() -> None:
    day = [*FIRST_DAY, _record(6, "U1", "안녕 <|하하>")]
    assert read_back(as_json(day))[1][-1].text == "안녕 하하"

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.chatlogs import ExportError, Message
from tests.chatlogs.json_exports import as_json, assert_sound, conversations, damaged, read_back


def _person(name: str, nickname: str | None = None, is_bot: bool = False) -> dict[str, Any]:
    return {
        "id": "77",
        "name": name,
        "discriminator": "0000",
        "nickname": nickname,
        "isBot": is_bot,
        "roles": [],
    }


def _record(
    clock: str, author: dict[str, Any], content: str, kind: str = "Default", **more: Any
) -> dict[str, Any]:
    return {
        "id": "1",
        "type": kind,
        "timestamp": f"2024-05-01T{clock}+09:00",
        "timestampEdited": None,
        "isPinned": False,
        "content": content,
        "author": author,
        "attachments": [],
        "embeds": [],
        "stickers": [],
        "reactions": [],
        **more,
    }


SORA, BOT = _person("sora.k", "소라"), _person("알림이", is_bot=True)
MIRU = _person("miru")
EXPORT: dict[str, Any] = {
    "guild": {"id": "1", "name": "보드게임", "iconUrl": "https://example.com/icon.png"},
    "channel": {"id": "2", "type": "GuildTextChat", "category": "잡담", "name": "일반", "topic": None},
    "dateRange": {"after": None, "before": None},
    "exportedAt": "2024-05-02T09:00:00.1234567+09:00",
    "messages": [
        _record("20:02:11.482", SORA, "오늘 모임 몇 시야?\n나 좀 늦어"),
        _record("20:03:00", MIRU, "여덟 시", "Reply", reference={"messageId": "1", "channelId": "2"}),
        _record("20:03:30", MIRU, "", attachments=[{"id": "3", "url": "a.png", "fileName": "a.png"}]),
        _record(
            "20:03:40", MIRU, "이 판이야", attachments=[{"id": "3", "url": "a.png", "fileName": "a.png"}]
        ),
        _record("20:03:50", MIRU, "", stickers=[{"id": "4", "name": "야호"}]),
        _record("20:04:00", BOT, "여덟 시에 시작합니다"),
        _record("20:05:00", SORA, "Pinned a message.", "ChannelPinnedMessage"),
        _record("20:05:10", SORA, "/주사위", "20"),
        _record("20:06:00", SORA, "", forwardedMessage={"content": "남이 쓴 글", "attachments": []}),
        _record("20:07:00", SORA, "Joined the server."),
        _record("20:08:00", MIRU, ""),
        {**_record("20:09:00", MIRU, "없는 때"), "timestamp": "2024-05-41T20:09:00+09:00"},
        {"id": "9", "type": "Default", "content": 3},
    ],
    "messageCount": 13,
}
EXPORT_MESSAGES = [
    Message(datetime(2024, 5, 1, 20, 2, 11), "소라", "오늘 모임 몇 시야?\n나 좀 늦어"),
    Message(datetime(2024, 5, 1, 20, 3), "miru", "여덟 시"),
    Message(datetime(2024, 5, 1, 20, 3, 40), "miru", "이 판이야"),
    Message(datetime(2024, 5, 1, 20, 7), "소라", "Joined the server."),
]
EXPORT_DROPPED = {"media": 2, "bot": 1, "system": 2, "forwarded": 1, "empty": 1, "broken": 2}

HEADER = "AuthorID,Author,Date,Content,Attachments,Reactions\n"
CSV = (
    HEADER
    + '"1","sora.k","2024-05-01T20:02:11.4820000+09:00","오늘 모임 ""몇 시""야?\n나 좀 늦어","","👍 (1)"\n'
    + '"2","miru#1234","2024-05-01T20:03:00.0000000+09:00","여덟 시, 둘 다 와","",""\n'
    + '"2","miru#1234","2024-05-01T20:03:30.0000000+09:00","","https://example.com/a.png",""\n'
    + '"2","miru#1234","2024-05-01T20:03:40.0000000+09:00","이 판이야","https://example.com/a.png",""\n'
    + '"1","sora.k","2024-05-01T20:05:00.0000000+09:00","Pinned a message.","",""\n'
    + '"1","sora.k","2024-05-01T20:05:10.0000000+09:00","Changed the channel name: 잡담방","",""\n'
    + '"1","sora.k","2024-05-01T20:05:20.0000000+09:00","Started a call that lasted 1,203 minutes.","",""\n'
    + '"2","miru#1234","2024-05-01T20:06:00.0000000+09:00","그는 Pinned a message. 라고 떴대","",""\n'
    + '"2","miru#1234","2024-05-01T20:07:00.0000000+09:00","","",""\n'
    + '"2","miru#1234","어제","언젠지 모를 말","",""\n'
    + '"2","miru#1234"\n'
)
CSV_MESSAGES = [
    Message(datetime(2024, 5, 1, 20, 2, 11), "sora.k", '오늘 모임 "몇 시"야?\n나 좀 늦어'),
    Message(datetime(2024, 5, 1, 20, 3), "miru#1234", "여덟 시, 둘 다 와"),
    Message(datetime(2024, 5, 1, 20, 3, 40), "miru#1234", "이 판이야"),
    Message(datetime(2024, 5, 1, 20, 6), "miru#1234", "그는 Pinned a message. 라고 떴대"),
]
CSV_DROPPED = {"media": 1, "system": 3, "empty": 1, "broken": 2}

EXAMPLES: dict[str, bytes] = {
    "discord-json": as_json(EXPORT),
    "discord-json-empty": as_json({**EXPORT, "messages": [], "messageCount": 0}),
    "discord-csv": CSV.encode(),
    "discord-csv-resaved": b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode(),
    "discord-csv-empty": HEADER.encode(),
}


def _format(label: str) -> str:
    return "-".join(label.split("-")[:2])


def test_json() -> None:
    assert read_back(EXAMPLES["discord-json"]) == ("discord-json", EXPORT_MESSAGES, EXPORT_DROPPED)


@pytest.mark.parametrize("label", ["discord-csv", "discord-csv-resaved"])
def test_csv(label: str) -> None:
    assert read_back(EXAMPLES[label]) == ("discord-csv", CSV_MESSAGES, CSV_DROPPED)


@pytest.mark.parametrize("label", ["discord-json-empty", "discord-csv-empty"])
def test_empty_export_is_recognised(label: str) -> None:
    assert read_back(EXAMPLES[label]) == (_format(label), [], {})


def test_json_keys_in_any_order() -> None:
    assert read_back(as_json({key: EXPORT[key] for key in reversed(EXPORT)}))[1] == EXPORT_MESSAGES


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_csv_saved_by_a_spreadsheet(delimiter: str) -> None:
    data = delimiter.join(["AuthorID", "Author", "Date", "Content"]) + "\n"
    data += delimiter.join(["1", "소라", "2024-05-01 20:02", '"여섯, ""일곱""\n여덟"']) + "\n"
    assert read_back(data.encode())[1] == [Message(datetime(2024, 5, 1, 20, 2), "소라", '여섯, "일곱"\n여덟')]


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("05/02/2024 8:02 PM", datetime(2024, 5, 2, 20, 2)),
        ("5/2/2024 12:02\u202fAM", datetime(2024, 5, 2, 0, 2)),
        ("02-May-24 08:02 PM", datetime(2024, 5, 2, 20, 2)),
        ("2024-05-02 오후 8:02", datetime(2024, 5, 2, 20, 2)),
        ("2024-05-02 20:02:40", datetime(2024, 5, 2, 20, 2, 40)),
        ("2024-05-02 10:02 p.m.", datetime(2024, 5, 2, 22, 2)),
        ("2024-05-02T20:02:40Z", datetime(2024, 5, 2, 20, 2, 40)),
    ],
)
def test_csv_dates_of_older_versions(date: str, expected: datetime) -> None:
    data = f'{HEADER}"1","소라","{date}","안녕","",""\n'
    assert read_back(data.encode())[1] == [Message(expected, "소라", "안녕")]


def test_csv_dates_with_the_day_first() -> None:
    rows = [f'"1","소라","{date}","안녕","",""\n' for date in ("02/05/2024 20:02", "13/05/2024 20:02")]
    times = [message.time for message in read_back((HEADER + "".join(rows)).encode())[1]]
    assert times == [datetime(2024, 5, 2, 20, 2), datetime(2024, 5, 13, 20, 2)]


def test_csv_named_but_not_one() -> None:
    with pytest.raises(ExportError, match="형식이 아니에요"):
        read_back("그냥 글이야\n".encode(), format_name="discord-csv")


@pytest.mark.parametrize("name", ["보드게임 - 일반.json", "result.json", "KakaoTalk_Chat.csv", "chat.txt"])
@pytest.mark.parametrize("label", EXAMPLES)
def test_recognised_whatever_the_file_name(label: str, name: str) -> None:
    assert read_back(EXAMPLES[label], name)[0] == _format(label)


@pytest.mark.parametrize("label", EXAMPLES)
def test_cut_off_anywhere(label: str) -> None:
    data = EXAMPLES[label]
    for end in range(0, len(data), 7):
        try:
            assert_sound(read_back(data[:end], format_name=_format(label))[1])
        except ExportError as error:
            assert str(error).endswith("요.")


def test_json_with_junk_anywhere() -> None:
    for value in damaged({**EXPORT, "messages": [EXPORT["messages"][n] for n in (0, 3, 5, 8)]}):
        try:
            assert_sound(read_back(as_json(value), format_name="discord-json")[1])
        except ExportError as error:
            assert str(error).endswith("요.")


@pytest.mark.parametrize("place", [0, 10, len(HEADER), len(HEADER) + 3, len(HEADER) + 60])
@pytest.mark.parametrize("junk", ['"', ",", "\n", '",', "\r", "\0"])
def test_csv_with_junk(place: int, junk: str) -> None:
    data = CSV[:place] + junk + CSV[place:]
    try:
        assert_sound(read_back(data.encode(), format_name="discord-csv")[1])
    except ExportError as error:
        assert str(error).endswith("요.")


def _json(messages: list[Message]) -> bytes:
    records = []
    for time, speaker, text, _ in messages:
        assert time is not None
        record = _record("", _person("id", speaker), text)
        records.append({**record, "timestamp": f"{time.isoformat()}.25+00:00"})
    return as_json({**EXPORT, "messages": records})


def _csv(messages: list[Message]) -> bytes:
    rows = []
    for time, speaker, text, _ in messages:
        assert time is not None
        cells = ("1", speaker, f"{time.isoformat()}.0000000+09:00", text, "", "")
        rows.append(",".join('"' + cell.replace('"', '""') + '"' for cell in cells) + "\r\n")
    return (HEADER.replace("\n", "\r\n") + "".join(rows)).encode()


# A CSV has a line break as it is and no control characters; \r there is a line end of whoever saved it again.
_NO_CONTROLS = st.one_of(
    st.sampled_from("가ㅋbZ0 .,;\t\n'\"😀-"), st.characters(exclude_categories=["Cs", "Cc"])
)


@pytest.mark.parametrize("layout", ["discord-json"])
@settings(max_examples=50, deadline=None)
@given(messages=conversations())
def test_json_round_trip(layout: str, messages: list[Message]) -> None:
    assert read_back(_json(messages)) == (layout, messages, {})


@pytest.mark.parametrize("layout", ["discord-csv"])
@settings(max_examples=50, deadline=None)
@given(messages=conversations(_NO_CONTROLS))
def test_csv_round_trip(layout: str, messages: list[Message]) -> None:
    assert read_back(_csv(messages)) == (layout, messages, {})

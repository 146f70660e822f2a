from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.chatlogs import ExportError, Message
from chatbot.chatlogs.words import kakaotalk_left_out
from tests.chatlogs.generic_exports import TIMES, names, texts
from tests.chatlogs.json_exports import read_back

FORMAT = "kakaotalk-csv"

EXAMPLES: dict[str, bytes] = {
    "macos": '''\
\ufeffDate,User,Message
2024-05-01 20:02:11,"서다온","저녁 먹었어?"
2024-05-01 20:03:40,"민 ""대장"" 호","첫 줄

셋째 줄, ""따옴표"""
2024-05-01 20:04:00,"서다온","사진"
2024-05-01 20:04:30,"서다온","사진 좀 보내 줘"
2024-05-01 20:05:00,"서다온","서다온 invited 민호 and."
2024-05-01 20:05:30,"유나","유나님이 들어왔습니다."
2024-05-01 20:06:00,"","관리자가 메시지를 가렸습니다."
2024-05-01 20:06:10,"유나","삭제된 메시지입니다."
2024-05-01 20:06:20,"유나"," "
2024-05-01 20:07:00,"유나","서다온님이 나갔습니다."
'''.encode(),
    "quoted header, CRLF, no seconds": (
        '"Date","User","Message"\r\n'
        '"2024-05-01 20:02","서다온","안녕"\r\n'
        '"2024-05-01 20:03","민호","한 줄\r\n두 줄"\r\n'
    ).encode(),
    "saved by Excel, dots, CP949": (
        "Date,User,Message\r\n2024.5.1 20:02,서다온,똠방각하 봤어?\r\n"
        '2024.5.1 9:03,민호,"아니, 아직"\r\n2024.5.1 9:03,민호,그게, 뭔데\r\n'
    ).encode("cp949"),
    "saved by Excel, dashes, semicolons": (
        "Date;User;Message\r\n2024-05-01 20:02;서다온;뭐 해, 지금\r\n2024-05-01 20:03;민호;일\r\n"
    ).encode(),
    "saved by Excel, halves, tabs, UTF-16": (
        "Date\tUser\tMessage\r\n2024/5/1 오전 12:02\t서다온\t자?\r\n2024/5/1 오후 8:02:30\t민호\t아니\r\n"
    ).encode("utf-16"),
    "bad quotes": """\
Date,User,Message
2024-05-01 20:02:11,"서다온","그 "파란" 가방,
어디 뒀어?"
2024-05-01 20:03:00,"민호","몰라
2024-05-01 20:03:30,"","관리자가 메시지를 가렸습니다."
2024-05-01 20:04:00,"민호","찾아볼게,"","관리자가 메시지를 가렸습니다."
2024-05-01 20:05:00,"민호","이렇게 왔더라
2024-05-01 20:03:30,""민호"",""몰라""
끝"
2024-99-01 20:06:00,"민호","없는 날"

행이 아님
2024-05-01 20:06:00,"민호","잘린 """.encode(),
    "header alone": b"Date,User,Message\n",
}
DAY = datetime(2024, 5, 1)
EXPECTED: dict[str, tuple[list[Message], dict[str, int]]] = {
    "macos": (
        [
            Message(DAY.replace(hour=20, minute=2, second=11), "서다온", "저녁 먹었어?"),
            Message(DAY.replace(hour=20, minute=3, second=40), '민 "대장" 호', '첫 줄\n\n셋째 줄, "따옴표"'),
            Message(DAY.replace(hour=20, minute=4, second=30), "서다온", "사진 좀 보내 줘"),
            Message(DAY.replace(hour=20, minute=7), "유나", "서다온님이 나갔습니다."),
        ],
        {"media": 1, "system": 3, "deleted": 1, "empty": 1},
    ),
    "quoted header, CRLF, no seconds": (
        [
            Message(DAY.replace(hour=20, minute=2), "서다온", "안녕"),
            Message(DAY.replace(hour=20, minute=3), "민호", "한 줄\n두 줄"),
        ],
        {},
    ),
    "saved by Excel, dots, CP949": (
        [
            Message(DAY.replace(hour=20, minute=2), "서다온", "똠방각하 봤어?"),
            Message(DAY.replace(hour=9, minute=3), "민호", "아니, 아직"),
            Message(DAY.replace(hour=9, minute=3), "민호", "그게, 뭔데"),
        ],
        {},
    ),
    "saved by Excel, dashes, semicolons": (
        [
            Message(DAY.replace(hour=20, minute=2), "서다온", "뭐 해, 지금"),
            Message(DAY.replace(hour=20, minute=3), "민호", "일"),
        ],
        {},
    ),
    "saved by Excel, halves, tabs, UTF-16": (
        [
            Message(DAY.replace(hour=0, minute=2), "서다온", "자?"),
            Message(DAY.replace(hour=20, minute=2, second=30), "민호", "아니"),
        ],
        {},
    ),
    "bad quotes": (
        [
            Message(DAY.replace(hour=20, minute=2, second=11), "서다온", '그 "파란" 가방,\n어디 뒀어?'),
            Message(DAY.replace(hour=20, minute=3), "민호", "몰라"),
            Message(DAY.replace(hour=20, minute=4), "민호", "찾아볼게"),
            Message(
                DAY.replace(hour=20, minute=5),
                "민호",
                '이렇게 왔더라\n2024-05-01 20:03:30,"민호","몰라"\n끝',
            ),
            Message(DAY.replace(hour=20, minute=6), "민호", "잘린 "),
        ],
        {"system": 2, "broken": 2, "empty": 1},
    ),
    "header alone": ([], {}),
}


@pytest.mark.parametrize("label", EXAMPLES)
def test_an_example_is_read_exactly(label: str) -> None:
    assert read_back(EXAMPLES[label]) == (FORMAT, *EXPECTED[label])


@pytest.mark.parametrize("label", EXAMPLES)
@pytest.mark.parametrize("name", ["KakaoTalk_Chat_방.csv", "대화.txt", "a.json", "이름"])
def test_the_name_of_the_file_does_not_matter(label: str, name: str) -> None:
    assert read_back(EXAMPLES[label], name)[0] == FORMAT


@pytest.mark.parametrize("label", EXAMPLES)
def test_a_truncated_file_gives_messages_or_an_export_error(label: str) -> None:
    for end in range(1, len(EXAMPLES[label]), 5):
        try:
            read_back(EXAMPLES[label][:end])
        except ExportError as error:
            assert "요." in str(error)


@pytest.mark.parametrize(
    "event",
    [
        "민호님이 나갔습니다.",
        "민호님이 유나님을 초대했습니다.",
        "민호님을 내보냈습니다.",
        "민호님이 방장이 되었습니다.",
        "민호 joined this chatroom.",
        "민호 left this chatroom.",
        "민호 has been removed from this chatroom.",
        "민호 invited 유나 and 다온.",
    ],
)
def test_an_event_is_one_only_in_the_name_it_is_about(event: str) -> None:
    file = f'Date,User,Message\n2024-05-01 20:02:11,"민호","{event}"\n2024-05-01 20:02:11,"유나","{event}"\n'
    _, messages, dropped = read_back(file.encode())
    assert messages == [Message(datetime(2024, 5, 1, 20, 2, 11), "유나", event)]
    assert dropped == {"system": 1}


def test_a_quote_that_nobody_closes_takes_no_other_row_along() -> None:
    rows = "".join(f"2024-05-01 20:02,민호,{n}번째\n" for n in range(20_000))
    _, messages, dropped = read_back(f'Date,User,Message\n2024-05-01 20:02,유나,"헐\n{rows}'.encode())
    assert len(messages) == 20_001 and messages[0].text == "헐" and messages[-1].text == "19999번째"
    assert dropped == {}


def test_a_line_longer_than_any_message_is_counted() -> None:
    file = f'Date,User,Message\n2024-05-01 20:02,유나,{"가" * 200_000}\n2024-05-01 20:02,유나,"네"\n'
    _, messages, dropped = read_back(file.encode())
    assert [message.text for message in messages] == ["네"]
    assert dropped == {"broken": 1}


def test_another_header_is_an_export_error_where_the_format_is_forced() -> None:
    with pytest.raises(ExportError, match="형식이 아니에요"):
        read_back("안녕\n".encode(), format_name=FORMAT)


def _app(messages: list[Message]) -> str:
    rows = ["Date,User,Message\n"]
    for time, *cells, _ in messages:
        user, text = (cell.replace('"', '""') for cell in cells)
        rows.append(f'{time},"{user}","{text}"\n')
    return "".join(rows)


def _spreadsheet(delimiter: str) -> Callable[[list[Message]], str]:
    def write(messages: list[Message]) -> str:
        file = io.StringIO()
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["Date", "User", "Message"])
        for time, speaker, text, _ in messages:
            assert time is not None
            stamp = f"{time.year}.{time.month}.{time.day} {time.hour}:{time:%M:%S}"
            writer.writerow([stamp, speaker, text])
        return file.getvalue()

    return write


LAYOUTS = {"app": _app, "spreadsheet": _spreadsheet(","), "semicolons": _spreadsheet(";")}
LOOKALIKES = ('2024-05-01 20:02:11,"민호","응"\n', "\n2024.5.1 20:02,민호,응", '","', '"\n', ',"","', "사진")
# A person who types the app's word for a photo and nothing else cannot be told from a photo.
WORDS = texts(*LOOKALIKES).filter(lambda text: kakaotalk_left_out(text) is None)
MESSAGES = st.lists(st.builds(Message, TIMES, names(*LOOKALIKES), WORDS, st.just(0)), max_size=6)


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=50, deadline=None)
@given(messages=MESSAGES)
def test_what_is_written_is_read_back(layout: str, messages: list[Message]) -> None:
    assert read_back(LAYOUTS[layout](messages).encode()) == (FORMAT, messages, {})

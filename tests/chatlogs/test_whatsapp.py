from __future__ import annotations

import contextlib
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.chatlogs import ExportError, Message, open_exports
from chatbot.chatlogs.formats.whatsapp import FORMATS
from tests.chatlogs.json_exports import assert_sound, read_back

ANDROID, IOS = "whatsapp-android", "whatsapp-ios"

ANDROID_KOREAN = """\
24/5/2 오후 8:01 - 메시지 및 전화는 종단간 암호화되어 안전합니다. 아무도 엿보거나 들을 수 없습니다.
24/5/2 오후 8:01 - 서하늘님이 그룹 이름을 "산책: 저녁반"(으)로 변경했습니다.
24/5/2 오후 8:02 - 서하늘: 오늘 산책 갈 사람?
둘째 줄: 비 오면 취소

넷째 줄
24/5/2 오후 8:03 - 노을: <미디어 파일을 생략한 대화내용>
24/5/2 오후 8:03 - 노을: <미디어 파일 제외됨>
24/5/3 오전 12:00 - 노을: \u200eIMG-20240503-WA0001.jpg (파일 첨부됨)
달이 밝아
24/5/3 오전 12:01 - 노을: DOC-20240503-WA0002.pdf (파일 첨부됨)
산책 지도.pdf
24/5/3 오전 12:01 - 노을: null
24/5/3 오후 12:02 - 서하늘: 삭제한 메시지입니다
24/5/3 오후 12:02 - 노을: 이 메시지는 삭제되었습니다.
24/5/3 오후 12:03 - 노을: 위치: https://maps.google.com/?q=37.5,127.0
24/5/3 오후 12:04 - 노을: 사진 좀 보내 줘
24/5/3 오후 12:05 - 서하늘: 고친 말이야 <This message was edited>
24/5/3 오후 12:06 - 서하늘:\x20
"""
IOS_KOREAN = """\
[2024. 5. 2. 오후 8:01:00] 산책 모임: \u200e메시지와 통화는 종단간 암호화됩니다.
[2024. 5. 2. 오후 8:01:05] \u200e서하늘님이 제목을 “산책: 저녁반”으로 변경했습니다.
[2024. 5. 2. 오후 8:01:10] 서하늘: \u200e서하늘님이 그룹을 만들었습니다
[2024. 5. 2. 오후 8:02:11] 서하늘: 오늘 갈까?
그래
[2024. 5. 2. 오후 8:02:30] \u202a+82\u00a010-0000-0000\u202c: 나도
[2024. 5. 2. 오후 8:02:31] ~\u202f달님: @\u2068서하늘\u2069 기다려
\u200e[2024. 5. 3. 오전 12:00:01] 서하늘: \u200e이미지 생략됨
\u200e[2024. 5. 3. 오전 12:00:02] 서하늘: \u200e<첨부됨: 00000012-PHOTO-2024-05-03.jpg>
\u200e[2024. 5. 3. 오전 12:00:03] 서하늘: 달이 밝아 \u200e<첨부됨: 00000013-PHOTO-2024-05-03.jpg>
\u200e[2024. 5. 3. 오전 12:00:04] 서하늘: 지도.pdf • \u200e2페이지 \u200e문서 생략됨
[2024. 5. 3. 오전 12:00:05] 서하늘: \u200e음성 통화, \u200e3분
[2024. 5. 3. 오전 12:00:06] 서하늘: \u200e이 메시지는 삭제되었습니다.
[2024. 5. 3. 오전 12:00:07] 서하늘: 고친 말 \u200e<이 메시지는 수정되었습니다>
"""

# label -> format, whole file, messages, what was left out
CASES: dict[str, tuple[str, bytes, list[Message], dict[str, int]]] = {
    "Android, Korean, 12 hours": (
        ANDROID,
        ANDROID_KOREAN.encode(),
        [
            Message(
                datetime(2024, 5, 2, 20, 2), "서하늘", "오늘 산책 갈 사람?\n둘째 줄: 비 오면 취소\n\n넷째 줄"
            ),
            Message(datetime(2024, 5, 3, 0, 0), "노을", "달이 밝아"),
            Message(datetime(2024, 5, 3, 12, 4), "노을", "사진 좀 보내 줘"),
            Message(datetime(2024, 5, 3, 12, 5), "서하늘", "고친 말이야"),
        ],
        {"system": 2, "media": 5, "deleted": 2, "empty": 1},
    ),
    "Android, Korean, English half of the day": (
        ANDROID,
        "24/5/2 PM 8:02 - 서하늘: 안녕\n24/5/2 AM 12:03 - 노을: 응\n".encode(),
        [
            Message(datetime(2024, 5, 2, 20, 2), "서하늘", "안녕"),
            Message(datetime(2024, 5, 2, 0, 3), "노을", "응"),
        ],
        {},
    ),
    "Android, Korean, 24 hours": (
        ANDROID,
        (
            "24/5/12 20:01 - 메시지 및 전화는 암호화되어 안전합니다.\n24/5/12 20:02 - 서하늘: 안녕\n"
            "24/5/12 20:03 - 노을: <미디어 파일을 생략한 대화내용>\n"
        ).encode(),
        [Message(datetime(2024, 5, 12, 20, 2), "서하늘", "안녕")],
        {"system": 1, "media": 1},
    ),
    "Android, Korean, long": (
        ANDROID,
        "2024년 5월 2일 오후 8:02 - 서하늘: 안녕\n2024. 5. 2. 오후 8:03 - 노을: 응\n".encode(),
        [
            Message(datetime(2024, 5, 2, 20, 2), "서하늘", "안녕"),
            Message(datetime(2024, 5, 2, 20, 3), "노을", "응"),
        ],
        {},
    ),
    "Android, English, 12 hours": (
        ANDROID,
        (
            "5/2/24, 8:01\u202fPM - Messages and calls are end-to-end encrypted. No one outside of this"
            " chat can read or listen to them.\n"
            '5/2/24, 8:01\u202fPM - Haneul changed the subject from "Walk: day" to "Walk: night"\n'
            "5/2/24, 8:02\u202fPM - Haneul: walk?\n5/2/24, 8:03\u202fPM - Noeul: <Media omitted>\n"
            "5/2/24, 8:04\u202fPM - Noeul: VID-20240502-WA0001.mp4 (file attached)\n"
            "5/2/24, 8:05\u202fPM - Noeul: This message was deleted\n"
            "5/2/24, 8:05\u202fPM - Haneul: You deleted this message.\n"
            "5/2/24, 8:06\u202fPM - Noeul: POLL:\nwhen?\nOPTION: now (1 vote)\n"
            "5/3/24, 12:30\u202fAM - Noeul: see: https://example.com/a\n"
        ).encode(),
        [
            Message(datetime(2024, 5, 2, 20, 2), "Haneul", "walk?"),
            Message(datetime(2024, 5, 3, 0, 30), "Noeul", "see: https://example.com/a"),
        ],
        {"system": 2, "media": 3, "deleted": 2},
    ),
    "Android, English, 24 hours, day first": (
        ANDROID,
        b"02/05/2024, 20:02 - Haneul: hi\n02/05/2024, 20:03 - Noeul: hello\n",
        [
            Message(datetime(2024, 5, 2, 20, 2), "Haneul", "hi"),
            Message(datetime(2024, 5, 2, 20, 3), "Noeul", "hello"),
        ],
        {},
    ),
    "iOS, Korean": (
        IOS,
        IOS_KOREAN.encode(),
        [
            Message(datetime(2024, 5, 2, 20, 2, 11), "서하늘", "오늘 갈까?\n그래"),
            Message(datetime(2024, 5, 2, 20, 2, 30), "+82 10-0000-0000", "나도"),
            Message(datetime(2024, 5, 2, 20, 2, 31), "~ 달님", "@서하늘 기다려"),
            Message(datetime(2024, 5, 3, 0, 0, 3), "서하늘", "달이 밝아"),
            Message(datetime(2024, 5, 3, 0, 0, 7), "서하늘", "고친 말"),
        ],
        {"system": 3, "media": 4, "deleted": 1},
    ),
    "iOS, English": (
        IOS,
        (
            "[5/2/24, 8:01:00\u202fPM] Walkers: \u200eMessages and calls are end-to-end encrypted.\r\n"
            "[5/2/24, 8:01:01\u202fPM] Walkers: You were added\r\n"
            "[5/2/24, 8:02:11\u202fPM] Haneul: first\nsecond\r\n"
            "\u200e[5/2/24, 8:03:00\u202fPM] Noeul: \u200eimage omitted\r\n"
            "\u200e[5/2/24, 8:03:01\u202fPM] Noeul: map.pdf • \u200e2 pages \u200edocument omitted\r\n"
            "\u200e[5/2/24, 8:03:02\u202fPM] Noeul: \u200e<attached: 00000012-PHOTO.jpg>\r\n"
            "[5/2/24, 8:03:03\u202fPM] Noeul: \u200eMissed voice call\r\n"
            "[5/2/24, 8:03:04\u202fPM] Noeul: \u200eThis message was deleted.\r\n"
            "[5/2/24, 8:04:00\u202fPM] Noeul: an image omitted here\r\n"
        ).encode(),
        [
            Message(datetime(2024, 5, 2, 20, 2, 11), "Haneul", "first\nsecond"),
            Message(datetime(2024, 5, 2, 20, 4), "Noeul", "an image omitted here"),
        ],
        {"system": 2, "media": 4, "deleted": 1},
    ),
    "iOS, dots": (
        IOS,
        b"[13.06.2023, 18:08:08] ~ Haneul: hi\n[14.06.2023, 18:08:09] Noeul: hello\n",
        [
            Message(datetime(2023, 6, 13, 18, 8, 8), "~ Haneul", "hi"),
            Message(datetime(2023, 6, 14, 18, 8, 9), "Noeul", "hello"),
        ],
        {},
    ),
    "no message": (
        ANDROID,
        "24/5/2 오후 8:01 - 메시지와 통화는 종단간 암호화되어 안전합니다.\n".encode(),
        [],
        {"system": 1},
    ),
}
EXAMPLES = {label: data for label, (_, data, _, _) in CASES.items()}


@pytest.mark.parametrize("name", ["_chat.txt", "KakaoTalk.csv", "x"])
@pytest.mark.parametrize("label", CASES)
def test_an_example_is_read_exactly(label: str, name: str) -> None:
    format_name, data, messages, dropped = CASES[label]
    assert read_back(data, name) == (format_name, messages, dropped)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp949"])
def test_a_file_saved_again_in_another_encoding(encoding: str) -> None:
    text = "24/5/2 오후 8:02 - 서하늘: 안녕\r\n24/5/2 오후 8:03 - 노을: 응\r\n"
    assert read_back(text.encode(encoding))[1] == read_back(text.encode())[1]


def days_read(*dates: str) -> list[str]:
    lines = (f"{date} 20:{minute:02} - 서하늘: 안녕\n" for minute, date in enumerate(dates))
    return [f"{message.time:%Y-%m-%d}" for message in read_back("".join(lines).encode())[1]]


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (["1/2/24,", "13/2/24,"], ["2024-02-01", "2024-02-13"]),
        (["1/2/24,", "1/13/24,"], ["2024-01-02", "2024-01-13"]),
        (["13/1/24,", "1/2/24,"], ["2024-01-13", "2024-02-01"]),
        (["02/05/2024,"], ["2024-05-02"]),
        (["5/2/24,"], ["2024-05-02"]),
        # time would run backwards the other way round
        (["1/6/24,", "2/5/24,"], ["2024-01-06", "2024-02-05"]),
        (["6/1/24,", "5/2/24,"], ["2024-01-06", "2024-02-05"]),
        # what changes most is the day
        (["1/3/24,", "2/3/24,", "3/3/24,"], ["2024-03-01", "2024-03-02", "2024-03-03"]),
        (["3/1/24,", "3/2/24,", "3/3/24,"], ["2024-03-01", "2024-03-02", "2024-03-03"]),
        (["2024/3/1", "2024/3/2"], ["2024-03-01", "2024-03-02"]),
        # a year before there was WhatsApp is no year
        (["24/5/2,"], ["2024-05-02"]),
        (["24/5/30,", "24/6/1,"], ["2024-05-30", "2024-06-01"]),
        (["24/5/12,", "24/5/13,"], ["2024-05-12", "2024-05-13"]),
        (["24/5/12"], ["2024-05-12"]),
        # one pasted date of another order does not turn a file around
        (
            ["1/13/24,", "1/14/24,", "31/12/23,", "1/15/24,"],
            ["2024-01-13", "2024-01-14", "2024-01-15"],
        ),
    ],
    ids=lambda value: " ".join(value),
)
def test_the_order_of_the_date_is_found_in_the_whole_file(dates: list[str], expected: list[str]) -> None:
    assert days_read(*dates) == expected


def test_korean_words_of_a_24_hour_file_put_the_year_first() -> None:
    notice = "24/5/12, 20:01 - 노을님이 서하늘님을 추가했습니다\n"
    (message,) = read_back(f"{notice}24/5/12, 20:02 - 서하늘: 안녕\n".encode())[1]
    assert message.time == datetime(2024, 5, 12, 20, 2)


def test_a_pasted_line_after_a_bare_line_feed_goes_on() -> None:
    first = "[5/13/24, 8:02:11 PM] 서하늘: 네가 그랬잖아\n[5/12/24, 8:00:00 PM] 노을: 좋아\r\n"
    data = (first + "[5/13/24, 8:02:12 PM] 노을: 아\r\n[5/13/24, 8:02:13 PM] 노을: 맞다\r\n").encode()
    assert [message.text for message in read_back(data)[1]] == [
        "네가 그랬잖아\n[5/12/24, 8:00:00 PM] 노을: 좋아",
        "아",
        "맞다",
    ]


def test_a_line_of_the_other_phone_goes_on() -> None:
    data = (
        "24/5/2 오후 8:02 - 서하늘: 봐\n[2024. 5. 1. 오후 8:02:11] 노을: 좋아\n24/5/2 오후 8:03 - 노을: 응\n"
    )
    assert len(read_back(data.encode())[1]) == 2


@pytest.mark.parametrize("stamp", ["99/99/99, 20:02", "5/2/24, 25:02", "5/2/24, 20:61", "0/0/0, 1:00"])
def test_an_impossible_time_begins_no_message(stamp: str) -> None:
    data = f"5/2/24, 8:02 PM - 서하늘: 안녕\n{stamp} - 노을: 응\n5/13/24, 8:02 PM - 노을: 그래\n"
    assert [message.text for message in read_back(data.encode())[1]] == [f"안녕\n{stamp} - 노을: 응", "그래"]


def test_a_log_that_only_begins_its_lines_alike_is_not_whatsapp() -> None:
    with pytest.raises(ExportError):
        read_back(b"[5/2/2024 8:02 PM] haneul\nhi there\n\n[5/2/2024 8:03 PM] noeul\nhello\n")


@pytest.mark.parametrize("label", EXAMPLES)
def test_a_file_cut_short_ends_in_messages_or_an_error(label: str) -> None:
    data = EXAMPLES[label]
    for cut in range(1, len(data), 7):
        with contextlib.suppress(ExportError):
            assert_sound(read_back(data[:cut])[1])


def korean_half(time: datetime) -> str:
    return f"{'오전' if time.hour < 12 else '오후'} {time.hour % 12 or 12}:{time:%M}"


def english_half(time: datetime) -> str:
    return f"{time.hour % 12 or 12}:{time:%M} {time:%p}"


# label -> format, line end, beginning of a record
LAYOUTS: dict[str, tuple[str, str, Callable[[datetime], str]]] = {
    "android-ko": (ANDROID, "\n", lambda t: f"{t:%y}/{t.month}/{t.day} {korean_half(t)} - "),
    "android-ko-24": (ANDROID, "\n", lambda t: f"{t:%y}/{t.month}/{t.day} {t:%H:%M} - "),
    "android-ko-dots": (ANDROID, "\n", lambda t: f"{t.year}. {t.month}. {t.day}. {korean_half(t)} - "),
    "android-ko-long": (ANDROID, "\n", lambda t: f"{t.year}년 {t.month}월 {t.day}일 {korean_half(t)} - "),
    "android-en": (ANDROID, "\n", lambda t: f"{t.month}/{t.day}/{t:%y}, {english_half(t)} - "),
    "android-en-24": (ANDROID, "\n", lambda t: f"{t.month}/{t.day}/{t:%y}, {t:%H:%M} - "),
    "android-en-day-first": (ANDROID, "\n", lambda t: f"{t:%d/%m/%Y}, {t:%H:%M} - "),
    "ios-ko": (IOS, "\n", lambda t: f"[{t.year}. {t.month}. {t.day}. {korean_half(t)}:{t:%S}] "),
    "ios-ko-24-crlf": (IOS, "\r\n", lambda t: f"[{t.year}. {t.month}. {t.day}. {t:%H:%M:%S}] "),
    "ios-en": (
        IOS,
        "\n",
        lambda t: f"[{t.month}/{t.day}/{t:%y}, {t.hour % 12 or 12}:{t:%M:%S}\u202f{t:%p}] ",
    ),
    "ios-en-crlf": (IOS, "\r\n", lambda t: f"\u200e[{t:%d.%m.%Y}, {t:%H:%M:%S}] "),
}
# Not generated: \r, which ends a line like \n; U+200E and its like, which mark what no person wrote.
CHARACTERS = "가힣각ㅋㅠㅏㅎabZ019 .,!?~\"'“<>&[]{}():;@#|*/_-\t😀👩‍💻\u2028\x0b\x85\u3000é•"


def of(characters: str, most: int) -> st.SearchStrategy[str]:
    return st.text(characters, min_size=1, max_size=most).map(lambda text: unicodedata.normalize("NFC", text))


# A name with ": " inside is cut there; blanks around it are not told from those of the layout.
NAMES = of(CHARACTERS, 12).map(str.strip).filter(lambda name: name and ": " not in name)
TEXTS = (
    st.lists(st.text(CHARACTERS, max_size=20), min_size=1, max_size=4)
    .map(lambda lines: unicodedata.normalize("NFC", "\n".join(lines)).rstrip("\n"))
    # a text of blanks alone is no message
    .filter(lambda text: text.strip() != "")
)
# Day 25 comes first: whether 3/4/24 is in March or in April nobody could tell from that day alone.
MOMENTS = st.lists(st.integers(0, 300 * 86_400), min_size=2, max_size=7).map(
    lambda seconds: [datetime(2024, 1, 25) + timedelta(seconds=n) for n in [0, *sorted(seconds)]]
)


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=50, deadline=None)
@given(data=st.data(), times=MOMENTS, people=st.lists(NAMES, min_size=1, max_size=3, unique=True))
def test_what_is_written_is_read_back(
    layout: str, data: st.DataObject, times: list[datetime], people: list[str]
) -> None:
    format_name, end, stamp = LAYOUTS[layout]
    messages = []
    for time in times:
        shown = time if format_name == IOS else time.replace(second=0)
        messages.append(Message(shown, data.draw(st.sampled_from(people)), data.draw(TEXTS)))
    if end == "\r\n":  # only there a pasted record can be told from a real one
        pasted = messages[-1]
        messages[-1] = pasted._replace(text=f"{pasted.text}\n{stamp(times[0])}{people[0]}: {pasted.text}")
    written = "".join(f"{stamp(m.time)}{m.speaker}: {m.text}{end}" for m in messages if m.time)
    assert read_back(written.encode(), "대화.txt") == (format_name, messages, {})


def test_the_formats_name_themselves() -> None:
    assert Counter(known.name for known in FORMATS) == {ANDROID: 1, IOS: 1}
    assert [known.title for known in FORMATS] == ["왓츠앱 안드로이드", "왓츠앱 아이폰"]


def test_a_zip_of_the_phone_is_read(tmp_path: Path) -> None:
    path = tmp_path / "WhatsApp.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("_chat.txt", EXAMPLES["iOS, Korean"])
        archive.writestr("00000012-PHOTO-2024-05-03.jpg", b"\xff\xd8")
    (export,) = open_exports(path)
    assert list(export.messages()) == CASES["iOS, Korean"][2]

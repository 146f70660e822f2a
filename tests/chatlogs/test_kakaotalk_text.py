from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatbot.chatlogs import Message, open_exports
from chatbot.chatlogs.words import kakaotalk_left_out

D1, D2 = datetime(2024, 5, 1), datetime(2024, 5, 2)


def at(day: datetime, hour: int, minute: int) -> datetime:
    return day.replace(hour=hour, minute=minute)


ANDROID_KO = (
    "\ufeff강다빈 님과 카카오톡 대화\r\n저장한 날짜 : 2024년 5월 2일 오후 9:14\n\n\r\n"
    "2024년 5월 1일 오후 8:02\r\n"
    "2024년 5월 1일 오후 8:02, 강다빈 : 저녁 : 먹었어?\r\n"
    "2024년 5월 1일 오후 8:03, 회원님 : 응\n2024년 5월 1일 오후 7:00\n\n2024년 5월 1일 오후 7:00, 민서 : 라고 적어 놨더라\r\n"
    "2024년 5월 1일 오후 8:04, 회원님 : 사진\r\n"
    "2024년 5월 1일 오후 8:04, 회원님 : 사진 좀 보내 줘\r\n"
    "\r\n2024년 5월 2일 오전 12:00\r\n"
    "2024년 5월 2일 오전 12:00, 강다빈 : 자?\r\n"
    "2024년 5월 2일 오전 9:30, 강다빈님이 문지호님을 초대했습니다.\r\n"
    "운영정책을 위반한 메시지로 신고하면 제한될 수 있습니다.\r\n"
    "2024년 5월 2일 오전 9:31, 문지호님이 들어왔습니다.\n운영정책 보기 : 링크\r\n"
    "2024년 5월 2일 오후 12:05, 문지호 : 강다빈님이 나갔습니다.\r\n"
    "2024년 5월 2일 오후 12:06,  : 알림이에요\r\n"
    "2024년 5월 2일 오후 12:07, 회원님 : 삭제된 메시지입니다.\r\n"
)
ANDROID_KO_MESSAGES = [
    Message(at(D1, 20, 2), "강다빈", "저녁 : 먹었어?"),
    Message(
        at(D1, 20, 3),
        "회원님",
        "응\n2024년 5월 1일 오후 7:00\n\n2024년 5월 1일 오후 7:00, 민서 : 라고 적어 놨더라",
    ),
    Message(at(D1, 20, 4), "회원님", "사진 좀 보내 줘"),
    Message(at(D2, 0, 0), "강다빈", "자?"),
    Message(at(D2, 12, 5), "문지호", "강다빈님이 나갔습니다."),
]
ANDROID_KO_DROPPED = Counter(media=1, system=3, deleted=1)

# (file, format, messages, dropped)
CASES: dict[str, tuple[bytes, str, list[Message], Counter[str]]] = {
    "android-ko": (ANDROID_KO.encode(), "kakaotalk-android", ANDROID_KO_MESSAGES, ANDROID_KO_DROPPED),
    "android-ko-cp949": (
        ANDROID_KO.removeprefix("\ufeff").encode("cp949"), "kakaotalk-android", ANDROID_KO_MESSAGES,
        ANDROID_KO_DROPPED,
    ),
    "android-ko-utf16": (ANDROID_KO.encode("utf-16-le"), "kakaotalk-android", ANDROID_KO_MESSAGES, ANDROID_KO_DROPPED),
    "android-ko-24h-group-lf": (
        (
            "산책 모임 3 카카오톡 대화\n저장한 날짜 : 2024년 5월 2일 21:14\n\n\n"
            "2024년 5월 1일 20:02\n2024년 5월 1일 20:02, 강 다빈😀 : 첫 줄\n둘째 줄\n\n넷째 줄\n\n"
            "2024년 5월 2일 9:05\n2024년 5월 2일 9:05, 문[지]호 : 2023년 1월 1일에 보자\n"
            "2022년 1월 1일 9:05, 옛날 : 옛 글을 붙임\n"
        ).encode(),
        "kakaotalk-android",
        [
            Message(at(D1, 20, 2), "강 다빈😀", "첫 줄\n둘째 줄\n\n넷째 줄"),
            Message(at(D2, 9, 5), "문[지]호", "2023년 1월 1일에 보자\n2022년 1월 1일 9:05, 옛날 : 옛 글을 붙임"),
        ],
        Counter(),
    ),
    "android-en-2015": (
        (
            b"KakaoTalk Chats with A,B (2)\r\nDate Saved : 1:01am, August 3, 2015\n\n\r\n8:34pm, July 9, 2015\r\n"
            b"8:34pm, July 9, 2015, you : hi there\r\n8:35pm, July 9, 2015, A : <Photo>\r\n"
            b"12:05am, July 10, 2015, A : late\r\n8:36pm, July 10, 2015, A invited B and C.\r\n"
        ),
        "kakaotalk-android",
        [
            Message(datetime(2015, 7, 9, 20, 34), "you", "hi there"),
            Message(datetime(2015, 7, 10, 0, 5), "A", "late"),
        ],
        Counter(media=1, system=1),
    ),
    "android-en-2020": (
        (
            "KakaoTalk Chats with A\r\nDate Saved : November 3, 2020, 1:08 PM\n\n\r\nMarch 2, 2016, 4:18 PM\r\n"
            "March 2, 2016, 4:18 PM, you : hi\r\nMay 2, 2023 at 9:05\u202fp.m., A : a : b\r\n"
        ).encode(),
        "kakaotalk-android",
        [
            Message(datetime(2016, 3, 2, 16, 18), "you", "hi"),
            Message(datetime(2023, 5, 2, 21, 5), "A", "a : b"),
        ],
        Counter(),
    ),
    "ios-ko": (
        (
            "\ufeffTalk_2024.5.2 21:14-1.txt\r\n저장한 날짜 : 2024. 5. 2. 오후 9:14\r\n\r\n\r\n"
            "2024년 5월 1일 수요일\r\n2024. 5. 1. 오후 8:02, 강다빈 : 저녁 먹었어?\r\n"
            "2024. 5. 1. 오후 8:03, 회원님 : 2024년 5월 1일 수요일\n이라고 적혀 있네\n\r\n"
            "2024. 5. 1. 오후 8:05: 강다빈님이 문지호님을 초대했습니다.\r\n"
            "2024. 5. 1. 오후 8:06, 회원님 : 이모티콘\r\n\r\n2024년 5월 2일 목요일\r\n"
            "2024. 5. 2. 오전 12:30, 강다빈 : 보이스톡 해요\r\n2024. 5. 2. 00:31, 강다빈 : 잘 자\r\n"
        ).encode(),
        "kakaotalk-ios",
        [
            Message(at(D1, 20, 2), "강다빈", "저녁 먹었어?"),
            Message(at(D1, 20, 3), "회원님", "2024년 5월 1일 수요일\n이라고 적혀 있네"),
            Message(at(D2, 0, 31), "강다빈", "잘 자"),
        ],
        Counter(system=1, media=2),
    ),
    "ios-en-12h": (
        (
            "\ufeffKakaoTalk Chats with 방 (4 people)-1.txt\r\nDate Saved : Aug 3, 2015, 12:20 AM\r\n\r\n\r\n"
            "Thursday, July 9, 2015\r\nJul 9, 2015, 8:34 PM, You : hi\r\nJul 9, 2015, 8:34 PM: A invited B.\r\n"
            "Jul 10, 2015, 12:05 AM, A : (emoticon) \r\n"
        ).encode(),
        "kakaotalk-ios",
        [Message(datetime(2015, 7, 9, 20, 34), "You", "hi")],
        Counter(system=1, media=1),
    ),
    "ios-en-24h": (
        (
            "\ufeffTalk_2026.4.25 10:20-1.txt\r\nDate Saved : Apr 25, 2026 at 10:38\r\n\r\n\r\nFriday, March 24, 2023\r\n"
            "Mar 24, 2023 at 09:00, A : hi\r\nMar 24, 2023 at 09:01: A left this chatroom.\r\n"
            "Mar 24, 2023 at 21:30, You : bye\nnow\r\n"
        ).encode(),
        "kakaotalk-ios",
        [Message(datetime(2023, 3, 24, 9, 0), "A", "hi"), Message(datetime(2023, 3, 24, 21, 30), "You", "bye\nnow")],
        Counter(system=1),
    ),
    "windows-ko": (
        (
            "독서모임 님과 카카오톡 대화\r\n저장한 날짜 : 2024-05-02 21:14:33\r\n\r\n"
            "--------------- 2024년 5월 1일 수요일 ---------------\r\n"
            "[강다빈] [오후 8:02] 공지에 [필독] [오후 3:00] 있더라\r\n[[총무] 문지호] [오전 12:03] 응\r\n두 번째 줄\r\n"
            "--------------- 여기까지 ---------------\r\n\r\n문지호님이 나갔습니다.\r\n타인의 사칭에 유의해 주세요.\r\n"
            "--------------- 2024년 5월 2일 목요일 ---------------\r\n[] [오후 3:17] 알림\r\n[강다빈] [20:36] 파일: 숙제.hwp\r\n"
            "[강다빈] [20:37] 끝"
        ).encode(),
        "kakaotalk-windows",
        [
            Message(at(D1, 20, 2), "강다빈", "공지에 [필독] [오후 3:00] 있더라"),
            Message(at(D1, 0, 3), "[총무] 문지호", "응\n두 번째 줄\n--------------- 여기까지 ---------------"),
            Message(at(D2, 20, 37), "강다빈", "끝"),
        ],
        Counter(system=2, media=1),
    ),
    "windows-en": (
        (
            "독서모임 with KakaoTalk Chats\r\nDate Saved : 2024-05-02 21:14:33\r\n\r\n"
            "--------------- Wednesday, May 1, 2024 ---------------\r\n[A] [8:02 PM] hi\r\n[B] [PM 3:25] ho\r\nA invited C.\r\n"
            "[A] [12:00 AM] Emoticons\r\n"
        ).encode(),
        "kakaotalk-windows",
        [Message(at(D1, 20, 2), "A", "hi"), Message(at(D1, 15, 25), "B", "ho")],
        Counter(system=1, media=1),
    ),
    "ios-ko-dotted-days": (
        (
            "\ufeffTalk_2024.5.2 21:14-1.txt\r\n저장한 날짜 : 2024. 5. 2. 오후 9:14\r\n\r\n\r\n2024. 5. 1. 수요일\r\n"
            "2024. 5. 1. 오후 8:02, 강다빈 : 자?\r\n\r\n2024. 5. 2. 목요일\r\n2024. 5. 2. 오전 9:00, 회원님 : 아니\r\n"
            "2024. 5. 3. 월요일\r\n"
        ).encode(),
        "kakaotalk-ios",
        [Message(at(D1, 20, 2), "강다빈", "자?"), Message(at(D2, 9, 0), "회원님", "아니\n2024. 5. 3. 월요일")],
        Counter(),
    ),
    "ios-ko-clock-alone": (
        (
            "Talk_2024.5.2 21:14-1.txt\r\n저장한 날짜 : 2024. 5. 2. 오후 9:14\r\n\r\n\r\n2024년 5월 1일 수요일\r\n"
            "오후 8:36, 강다빈 : 글\n오후 8:37, 회원님 : 붙인 글\n2024. 5. 1. 오후 8:02, 나 : 또\r\n"
            "오후 8:37: 강다빈님이 문지호님을 초대했습니다.\r\n오후 8:38, 강다빈님이 나갔습니다.\r\n25:00, 나 : ?\r\n"
            "오후 8:39, 회원님 : 사진\r\n\r\n2024. 5. 2. 목요일\r\n20:36, 회원님 : 왔어?\r\n"
        ).encode(),
        "kakaotalk-ios",
        [
            Message(at(D1, 20, 36), "강다빈", "글\n오후 8:37, 회원님 : 붙인 글\n2024. 5. 1. 오후 8:02, 나 : 또"),
            Message(at(D2, 20, 36), "회원님", "왔어?"),
        ],
        Counter(system=2, media=1),
    ),
    "ios-ko-clock-alone-lf": (
        (
            "2024년 5월 1일 수요일\n오후 8:36, 강다빈 : 글\n2024년 5월 3일 금요일\n이래\n오후 8:37, 강다빈 : 둘\n"
            "2024년 5월 2일 목요일\n오전 12:03, 회원님 : 왔어?\n"
        ).encode(),
        "kakaotalk-ios",
        [
            Message(at(D1, 20, 36), "강다빈", "글\n2024년 5월 3일 금요일\n이래"),
            Message(at(D1, 20, 37), "강다빈", "둘"),
            Message(at(D2, 0, 3), "회원님", "왔어?"),
        ],
        Counter(),
    ),
    "windows-en-sentences": (
        (
            b"Book club with KakaoTalk Chats\r\nDate Saved : 2024-05-02 21:14:33\r\n\r\n"
            b"--------------- Wednesday, May 1, 2024 ---------------\r\nC joined this chatroom.\r\nD invited E and F.\r\n"
            b"[A] [8:02 PM] hi\r\nShe invited him to dinner.\r\nIt was fun, then he left.\r\nbye\r\nA left this chatroom.\r\n"
        ),
        "kakaotalk-windows",
        [Message(at(D1, 20, 2), "A", "hi\nShe invited him to dinner.\nIt was fun, then he left.\nbye")],
        Counter(system=3),
    ),
    "windows-ko-english-sentences": (
        (
            "독서모임 with KakaoTalk Chats\r\nDate Saved : 2024-05-02 21:14:33\r\n\r\n"
            "--------------- 2024년 5월 1일 수요일 ---------------\r\n[A] [오후 8:02] hi\r\nA invited B.\r\n\r\nA left.\r\n"
            "A님이 나갔습니다.\r\n"
        ).encode(),
        "kakaotalk-windows",
        [Message(at(D1, 20, 2), "A", "hi\nA invited B.\n\nA left.")],
        Counter(system=1),
    ),
}  # fmt: skip
EXAMPLES = {label: case[0] for label, case in CASES.items()}


def read(tmp_path: Path, raw: bytes, name: str = "대화.bin") -> tuple[str, list[Message], Counter[str]]:
    path = tmp_path / name
    path.write_bytes(raw)
    (export,) = open_exports(path)
    messages = list(export.messages())
    return export.format.name, messages, Counter(export.dropped)


@pytest.mark.parametrize("label", CASES)
def test_a_layout_is_read_exactly(tmp_path: Path, label: str) -> None:
    raw, name, messages, dropped = CASES[label]
    assert read(tmp_path, raw) == (name, messages, dropped)


def test_names_and_texts_from_a_mac_are_composed(tmp_path: Path) -> None:
    import unicodedata

    decomposed = unicodedata.normalize("NFD", ANDROID_KO).encode()
    # the layout's own words as the app writes them, names and texts as macOS does
    for word in ("년", "월", "일", "오후", "오전", "님과 카카오톡 대화", "저장한 날짜"):
        decomposed = decomposed.replace(unicodedata.normalize("NFD", word).encode(), word.encode())
    assert read(tmp_path, decomposed)[1][0] == ANDROID_KO_MESSAGES[0]


def test_a_character_cut_off_at_the_end_is_left_out(tmp_path: Path) -> None:
    raw = ANDROID_KO[: ANDROID_KO.index("자?") + 1].encode()[:-1]
    assert read(tmp_path, raw)[1] == ANDROID_KO_MESSAGES[:3]


def test_a_chat_without_messages_is_recognised_and_empty(tmp_path: Path) -> None:
    raw = "강다빈 님과 카카오톡 대화\r\n저장한 날짜 : 2024년 5월 2일 오후 9:14\n\n\r\n".encode()
    assert read(tmp_path, raw)[1:] == ([], Counter())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("사진 3장", "media"), ("동영상", "media"), ("파일: 정리본.pdf", "media"), ("보이스톡 0:17", "media"),
        ("12,500원을 보냈어요.", "media"), ("톡게시판 '투표': 언제 볼까", "media"), ("샵검색: #날씨", "media"),
        ("삭제된 메시지입니다.", "deleted"), ("This message was deleted.", "deleted"),
        ("채팅방 관리자가 메시지를 가렸습니다.", "system"),
        ("라이브톡 시작", "media"), ("라이브톡 종료 12:03", "media"), ("위치: 서울역", "media"), ("연락처: 강다빈", "media"),
        ("송금: 3,000원\n내일까지", "media"), ("12,500원을 보냈어요.\n받기", "media"), ("3 photos", "media"),
        ("선물과 메시지를 보냈습니다.\n생일 축하해", "media"), ("(삭제된 메시지입니다.)", "deleted"),
        ("위치: 강남역 3번 출구 앞\n시간: 7시에 보자", None), ("라이브톡 시작했어? 나도 볼래", None),
        ("파일: 어디 뒀어?\n아 여기 a.b", None), ("연락처: 없어 미안", None), ("위치: 학교 앞이야", None),
        ("지도: 어디서 봐?", None), ("위치: 우리 처음 만난 그 골목에서 오른쪽으로 조금만 더 들어온 데", None),
        ("사진 잘 나왔다", None), ("12,500원", None), ("파일 보냈어?", None), ("Photo booth 가자", None),
    ],
)  # fmt: skip
def test_only_whole_placeholders_are_left_out(text: str, reason: str | None) -> None:
    assert kakaotalk_left_out(text) == reason


# --- whatever people write comes back

LETTERS = st.sampled_from("가나다한글ㅋㅠabcXYZ019 .,:;!?[]()<>\"'-_/@#😀👩‍💻\t년월일오전후")
WORDS = st.text(LETTERS, min_size=1, max_size=25)
NAMES = st.text(LETTERS, min_size=1, max_size=10)
TIMES = st.datetimes(datetime(2014, 1, 1), datetime(2030, 12, 31)).map(
    lambda t: t.replace(second=0, microsecond=0)
)


def korean(time: datetime) -> str:
    return f"{'오전' if time.hour < 12 else '오후'} {time.hour % 12 or 12}:{time.minute:02d}"


def english(time: datetime) -> str:
    return f"{time.hour % 12 or 12}:{time.minute:02d} {'AM' if time.hour < 12 else 'PM'}"


def android_stamp(time: datetime) -> str:
    return f"{time.year}년 {time.month}월 {time.day}일 {korean(time)}"


STAMPS = {
    "android-ko": android_stamp,
    "android-ko-24h": lambda t: f"{t.year}년 {t.month}월 {t.day}일 {t.hour}:{t.minute:02d}",
    "android-en-2015": lambda t: f"{english(t).replace(' ', '').lower()}, {t:%B} {t.day}, {t.year}",
    "android-en": lambda t: f"{t:%B} {t.day}, {t.year}, {english(t)}",
    "ios-ko": lambda t: f"{t.year}. {t.month}. {t.day}. {korean(t)}",
    "ios-ko-24h": lambda t: f"{t.year}. {t.month}. {t.day}. {t.hour}:{t.minute:02d}",
    "ios-en-24h": lambda t: f"{t:%b} {t.day}, {t.year} at {t.hour:02d}:{t.minute:02d}",
}


def is_talk(text: str) -> bool:
    """Whether a text can come back: something is in it, and it is not a placeholder's own words."""
    return bool(text.strip()) and kakaotalk_left_out(text.rstrip("\n")) is None


@st.composite
def chats(draw: st.DrawFn, in_message: st.SearchStrategy[str]) -> list[Message]:
    """Messages in order of time."""
    times = sorted(draw(st.lists(TIMES, min_size=1, max_size=8)))
    # A name cannot hold what parts it from the text, nor end in it.
    names = NAMES.filter(
        lambda n: n.strip() == n and " : " not in n and "] [" not in n and not n.endswith((" :", "]"))
    )
    return [Message(time, draw(names), draw(in_message)) for time in times]


def mobile_texts(stamp_lines: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Texts of several lines, some of which look like records or date lines."""
    lines = st.lists(st.one_of(WORDS, stamp_lines, st.just("")), min_size=1, max_size=4).map("\n".join)
    return lines.map(lambda text: text.rstrip("\n")).filter(is_talk)


@pytest.mark.parametrize("layout", STAMPS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mobile_messages_come_back_equal(tmp_path: Path, layout: str, data: st.DataObject) -> None:
    stamp = STAMPS[layout]
    records = st.builds(lambda t, n, w: f"{stamp(t)}, {n} : {w}", TIMES, NAMES, WORDS)
    look_alikes = st.one_of(
        records, TIMES.map(stamp), st.builds(lambda t, w: f"{stamp(t)}, {w}", TIMES, WORDS)
    )
    messages = data.draw(chats(mobile_texts(look_alikes)))
    out = ["방 님과 카카오톡 대화\r\n저장한 날짜 : 2031년 1월 1일 오후 9:14\n\n\r\n"]
    for message in messages:
        assert message.time is not None
        header = (
            f"{message.time:%A, %B} {message.time.day}, {message.time.year}" if layout == "ios-en-24h" else ""
        )
        out.append(f"\r\n{header or stamp(message.time)}\r\n")
        out.append(f"{stamp(message.time)}, {message.speaker} : {message.text}\r\n")
    name, found, _ = read(tmp_path, "".join(out).encode())
    assert found == messages and name == f"kakaotalk-{layout.split('-')[0]}"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_windows_messages_come_back_equal(tmp_path: Path, data: st.DataObject) -> None:
    # Every line ends in CRLF here: a line that has a record's or a notice's very form cannot be told from one.
    form = re.compile(r"\[.*\] \[.*\d:\d\d.*\] |-{15} |.*(습니다\.?|left\.|invited)")
    lines = st.one_of(WORDS, st.just("")).filter(lambda line: not form.match(line))
    texts = (
        st.lists(lines, min_size=1, max_size=4).map("\n".join).map(lambda t: t.rstrip("\n")).filter(is_talk)
    )
    messages = data.draw(chats(texts))
    out = ["방 님과 카카오톡 대화\r\n저장한 날짜 : 2031-01-01 21:14:33\r\n\r\n"]
    day = None
    for message in messages:
        assert message.time is not None
        if message.time.date() != day:
            day = message.time.date()
            out.append(
                f"{'-' * 15} {day.year}년 {day.month}월 {day.day}일 {'월화수목금토일'[day.weekday()]}요일 {'-' * 15}\r\n"
            )
        text = message.text.replace("\n", "\r\n")
        out.append(f"[{message.speaker}] [{korean(message.time)}] {text}\r\n")
    assert read(tmp_path, "".join(out).encode())[1] == messages


def test_a_clock_set_back_loses_nothing(tmp_path: Path) -> None:
    times = [at(D2, 10, 0), at(D2, 9, 0), at(D2, 9, 30) + timedelta(days=1)]
    raw = "방 님과 카카오톡 대화\n저장한 날짜 : 2024년 5월 4일 오후 9:14\n\n" + "".join(
        f"{android_stamp(t)}, 나 : 말\n" for t in times
    )
    assert [m.time for m in read(tmp_path, raw.encode())[1]] == times


# --- several exports in one file


def export(name: str, *messages: Message, end: str) -> str:
    """Return an Android export; ``end`` ends its records."""
    records = (f"{android_stamp(m.time)}, {m.speaker} : {m.text}{end}" for m in messages if m.time)
    return f"{name} 님과 카카오톡 대화{end}저장한 날짜 : 2024년 5월 9일 오후 9:14\n\n{end}{''.join(records)}"


def talk(day: datetime, count: int) -> list[Message]:
    return [Message(day + timedelta(minutes=n), "강다빈", f"말 {n}") for n in range(count)]


WINDOWS = (
    "방 님과 카카오톡 대화\r\n저장한 날짜 : 2024-05-02 21:14:33\r\n\r\n"
    "--------------- 2024년 5월 1일 수요일 ---------------\r\n[나] [오전 9:01] 안녕\r\n"
)


@pytest.mark.parametrize("count", [3, 1000])
@pytest.mark.parametrize("ends", [("\r\n", "\n"), ("\n", "\r\n"), ("\r\n", "\r\n"), ("\n", "\n")])
def test_exports_in_one_file_are_all_read(tmp_path: Path, ends: tuple[str, str], count: int) -> None:
    newer, older = talk(D2, count), talk(D1 - timedelta(days=30), 2500)
    raw = export("가", *newer, end=ends[0]) + "\ufeff" + export("나", *older, end=ends[1])
    assert read(tmp_path, raw.encode())[1:] == ([*newer, *older], Counter())


def test_a_header_anywhere_in_a_piece_is_seen(tmp_path: Path) -> None:
    first, second = talk(D2, 1), talk(D1, 2)
    stamp = f"{android_stamp(D2)}, 나 : "
    for length in range(65_280, 65_540, 5):
        raw = export("가", *first, end="\r\n") + stamp + "-" * length + "\r\n"
        raw += export("나", *second, end="\n")
        messages = read(tmp_path, raw.encode())[1]
        assert [m.text[:4] for m in messages] == ["말 0", "----", "말 0", "말 1"]


@pytest.mark.parametrize("windows_first", [True, False])
def test_each_export_in_a_file_is_read_in_its_own_layout(tmp_path: Path, windows_first: bool) -> None:
    mobile = talk(D2, 3)
    parts = [(WINDOWS, [Message(at(D1, 9, 1), "나", "안녕")]), (export("나", *mobile, end="\n"), mobile)]
    if not windows_first:
        parts.reverse()
    raw = "".join(text for text, _ in parts)
    assert read(tmp_path, raw.encode())[1] == parts[0][1] + parts[1][1]


def test_an_export_without_header_after_one_in_crlf_is_read_by_line(tmp_path: Path) -> None:
    first, second = talk(D1, 3), talk(D2, 150)
    raw = export("가", *first, end="\r\n")
    raw += "".join(f"{android_stamp(m.time)}, {m.speaker} : {m.text}\n" for m in second if m.time)
    assert read(tmp_path, raw.encode())[1] == [*first, *second]


def test_a_long_quotation_in_crlf_stays_a_message(tmp_path: Path) -> None:
    quoted = "\n".join(f"{android_stamp(D1)}, 나 : 말" for _ in range(90))
    message = Message(D2, "강다빈", f"이거 봐\n{quoted}")
    assert read(tmp_path, export("가", message, end="\r\n").encode())[1] == [message]


@pytest.mark.parametrize("older", [20, 21, 300])
def test_an_older_export_in_lf_is_no_quotation(tmp_path: Path, older: int) -> None:
    first, second = talk(D2, 2), talk(D1 - timedelta(days=9), older)
    raw = export("가", *first, end="\n")
    lines = [f"{android_stamp(m.time)}, {m.speaker} : {m.text}" for m in second if m.time]
    last = Message(D2 + timedelta(hours=1), "나", "끝")
    raw += "\n".join(lines) + f"\n{android_stamp(D2 + timedelta(hours=1))}, 나 : 끝\n"
    pasted = first[1]._replace(text="\n".join([first[1].text, *lines]))
    expected = [first[0], pasted, last] if older == 20 else [*first, *second, last]
    assert read(tmp_path, raw.encode())[1] == expected

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.chatlogs import ExportError, Message
from tests.chatlogs.json_exports import assert_sound, read_back

JAPANESE = """\
[LINE] 小春とのトーク履歴
保存日時：2024/05/02 21:14

2024/05/01(水)
20:01\t\t小春がグループを作成しました。
20:02\t小春\t저녁 먹었어?
20:03\t가온\t"첫 줄

이어서
2024/04/01(月)
19:00\t小春\t붙인 말
끝 줄"
20:04\t가온\t[スタンプ]
20:04\t小春\t☎ 通話時間 1:02
20:05\t小春\t☎ 不在着信
20:05\t\tメッセージの送信を取り消しました
20:06\t小春がメッセージの送信を取り消しました
20:07\t小春\t"그랬대" 라고만 했어
20:07\t小春\t"그랬대

2024/05/02(木)
午前0:05\t가온\t[写真] 봤어?
午後0:06\t가온\t☎ 010으로 걸어 줘
"""
ENGLISH = """\
[LINE] Chat history with Koharu
Saved on: 2024/05/02 21:14

Wed, 5/1/2024
08:02PM\tKoharu\tdinner?
08:03 PM\tGaon\t[Photo]
08:03PM\tGaon\t(emoji)(emoji)
08:04PM\tGaon\tMessage unsent.
08:05PM\tKoharu unsent a message.
08:06PM\tGaon\t☎ Missed call

Thu, 2/5/2024
12:01AM\tKoharu\tsleep well
unquoted second line
"""
KOREAN = """\
[LINE] 소담님과의 대화
저장한 날짜: 2024.05.02 21:14

2024.05.01 수요일
오후 8:02\t소담\t저녁 먹었어?
오후 8:03\t가온\t[사진]
오후 8:03\t가온\t☎ 통화 시간 1:02
오후 8:04\t가온\t☎ 부재중 전화
오후 8:05\t\t소담님이 메시지 전송을 취소했습니다.
오전 12:06\t가온\t사진 좀 보내 줘
"""
SPACED = """\
2024.05.01 Wednesday
20:01 소담 joined the chat.
20:02 소담 저녁 먹었어?
20:03 윤 가온 아직
20:03 윤 가온 배고파 죽겠다
할 일:
21:00 산책하기
20:04 소담 [Photo]
20:05 윤 가온 ☎ Missed call
20:06 소담 unsent a message.

2024.05.02 Thursday
09:00 소담 잘 잤어?
"""

# label -> whole file, messages, what was left out
CASES: dict[str, tuple[bytes, list[Message], dict[str, int]]] = {
    "Japanese": (
        JAPANESE.encode(),
        [
            Message(datetime(2024, 5, 1, 20, 2), "小春", "저녁 먹었어?"),
            Message(
                datetime(2024, 5, 1, 20, 3),
                "가온",
                "첫 줄\n\n이어서\n2024/04/01(月)\n19:00\t小春\t붙인 말\n끝 줄",
            ),
            Message(datetime(2024, 5, 1, 20, 7), "小春", '"그랬대" 라고만 했어'),
            Message(datetime(2024, 5, 1, 20, 7), "小春", '"그랬대'),
            Message(datetime(2024, 5, 2, 0, 5), "가온", "[写真] 봤어?"),
            Message(datetime(2024, 5, 2, 12, 6), "가온", "☎ 010으로 걸어 줘"),
        ],
        {"system": 1, "media": 3, "deleted": 2},
    ),
    "English": (
        ENGLISH.encode(),
        [
            Message(datetime(2024, 5, 1, 20, 2), "Koharu", "dinner?"),
            # the weekday puts the day first here
            Message(datetime(2024, 5, 2, 0, 1), "Koharu", "sleep well\nunquoted second line"),
        ],
        {"media": 3, "deleted": 2},
    ),
    "Korean": (
        KOREAN.replace("\n", "\r\n").encode("utf-8-sig"),
        [
            Message(datetime(2024, 5, 1, 20, 2), "소담", "저녁 먹었어?"),
            Message(datetime(2024, 5, 1, 0, 6), "가온", "사진 좀 보내 줘"),
        ],
        {"media": 3, "deleted": 1},
    ),
    "PC, parted by blanks": (
        SPACED.encode(),
        [
            Message(datetime(2024, 5, 1, 20, 2), "소담", "저녁 먹었어?"),
            Message(datetime(2024, 5, 1, 20, 3), "윤 가온", "아직"),
            Message(datetime(2024, 5, 1, 20, 3), "윤 가온", "배고파 죽겠다\n할 일:\n21:00 산책하기"),
            Message(datetime(2024, 5, 2, 9, 0), "소담", "잘 잤어?"),
        ],
        {"system": 1, "media": 2, "deleted": 1},
    ),
    "no date": (b"20:02\tKoharu\thi\n20:03\tGaon\t \n", [Message(None, "Koharu", "hi")], {"empty": 1}),
    "no message": ("[LINE] 小春とのトーク履歴\n保存日時：2024/05/02 21:14\n".encode(), [], {}),
}
EXAMPLES = {label: data for label, (data, _, _) in CASES.items()}


@pytest.mark.parametrize("name", ["[LINE] 대화.txt", "KakaoTalk.csv", "x"])
@pytest.mark.parametrize("label", CASES)
def test_an_example_is_read_exactly(label: str, name: str) -> None:
    data, messages, dropped = CASES[label]
    assert read_back(data, name) == ("line", messages, dropped)


def texts_of(body: str) -> list[str]:
    return [message.text for message in read_back(body.encode())[1]]


def test_a_file_saved_again_in_japanese_windows() -> None:
    text = "[LINE] ハルとのトーク履歴\n\n2024/05/01(水)\n20:02\tハル\t晩ご飯食べた？\n20:03\t民西\tまだだよ\n"
    assert [m.text for m in read_back(text.encode("cp932"))[1]] == ["晩ご飯食べた？", "まだだよ"]


def test_quotes_that_never_end_take_no_further_message() -> None:
    assert texts_of('20:02\t소담\t"끝이 없어\n둘째 줄\n20:03\t가온\t응\n20:04\t소담\t그래\n') == [
        '"끝이 없어\n둘째 줄',
        "응",
        "그래",
    ]
    long = "".join(f"20:03\t가온\t{'가' * 100} {n}\n" for n in range(200))
    assert len(texts_of(f'20:02\t소담\t"끝이\n없어\n{long}20:04\t소담\t그랬대"\n')) == 202


def test_quotes_inside_quotes_stay() -> None:
    assert texts_of('20:02\t소담\t"그가\n"안녕"\n그랬어"\n20:03\t가온\t응\n') == [
        '그가\n"안녕"\n그랬어',
        "응",
    ]


def test_a_wrong_weekday_counts_only_behind_a_blank_line() -> None:
    body = "20:02\t소담\t안녕\n2024/05/01(木)\n20:03\t가온\t응\n\n2024/05/02(金)\n20:04\t가온\t또\n"
    assert read_back(body.encode())[1] == [
        Message(None, "소담", "안녕\n2024/05/01(木)"),
        Message(None, "가온", "응"),
        Message(datetime(2024, 5, 2, 20, 4), "가온", "또"),
    ]


@pytest.mark.parametrize("line", ["25:02\t가온\t응", "20:61\t가온\t응", "2024/13/41(水)"])
def test_an_impossible_time_goes_on(line: str) -> None:
    assert texts_of(f"2024/05/01(水)\n20:02\t소담\t안녕\n{line}\n20:03\t가온\t그래\n") == [
        f"안녕\n{line}",
        "그래",
    ]


def test_names_with_a_common_first_word_are_two() -> None:
    turns = ["윤 가온 밥은 먹었니", "윤 소담 아직이야 너는", "윤 가온 나도 아직", "윤 소담 그럼 같이 먹자"]
    turns += ["윤 가온 좋지 어디로", "윤 소담 국숫집 어때", "윤 가온 이따 봐"]
    body = "2024.05.01 Wednesday\n" + "".join(f"20:0{n} {turn}\n" for n, turn in enumerate(turns))
    assert {message.speaker for message in read_back(body.encode())[1]} == {"윤 가온", "윤 소담"}


@pytest.mark.parametrize("label", EXAMPLES)
def test_a_file_cut_short_ends_in_messages_or_an_error(label: str) -> None:
    data = EXAMPLES[label]
    for cut in range(1, len(data), 5):
        with contextlib.suppress(ExportError):
            assert_sound(read_back(data[:cut])[1])


def korean_half(time: datetime) -> str:
    return f"{'오전' if time.hour < 12 else '오후'} {time.hour % 12 or 12}:{time:%M}"


def japanese_half(time: datetime) -> str:
    return f"{'午前' if time.hour < 12 else '午後'}{time.hour % 12}:{time:%M}"


# label -> header, date line, time, what stands between time, name and text
LAYOUTS: dict[str, tuple[str, Callable[[datetime], str], Callable[[datetime], str], str]] = {
    "japanese": (
        "[LINE] 小春とのトーク履歴\n保存日時：2024/05/02 21:14\n",
        lambda t: f"{t:%Y/%m/%d}({'月火水木金土日'[t.weekday()]})",
        lambda t: f"{t:%H:%M}",
        "\t",
    ),
    "japanese-12": (
        "[LINE] 小春のトーク履歴\n",
        lambda t: f"{t:%Y/%m/%d}({'月火水木金土日'[t.weekday()]})",
        japanese_half,
        "\t",
    ),
    "english": (
        "[LINE] Chat history in walkers\nSaved on: 2024/05/02 21:14\n",
        lambda t: f"{t:%a}, {t.month}/{t.day}/{t.year}",
        lambda t: f"{t:%I:%M%p}",
        "\t",
    ),
    "korean": (
        "[LINE] 소담님과의 대화\n저장한 날짜: 2024.05.02 21:14\n",
        lambda t: f"{t:%Y.%m.%d} {'월화수목금토일'[t.weekday()]}요일",
        korean_half,
        "\t",
    ),
    "pc": ("", lambda t: f"{t:%Y.%m.%d} {t:%A}", lambda t: f"{t:%H:%M}", " "),
}
# Not generated: \r, which ends a line like \n.
CHARACTERS = "가힣각ㅋㅠㅏㅎabZ019 .,!?~\"'“<>&[]{}():;@#|*/_-\t😀👩‍💻\u2028\x0b\x85\u3000é☎"
LETTERS = "가힣각ㅋㅠabZ019.,!?\"'[]():😀👩‍💻é"
PASTED = st.sampled_from(
    ["2024/05/01(水)", "2024.05.01 Wednesday", "20:03\t가온\t붙인 말", "오후 8:03\t\t말"]
)
LINES = st.text(CHARACTERS, max_size=20)


def normal(text: str) -> str:
    return unicodedata.normalize("NFC", text).rstrip("\n")


def is_kept(text: str) -> bool:
    # a text of blanks alone is no message
    return text.strip() != ""


ONE_LINE = LINES.map(normal).filter(is_kept)


def is_told_apart(lines: list[str]) -> bool:
    """Tell whether the quotes around the lines show which of them are pasted."""
    pasted = [n for n, line in enumerate(lines) if line[:2] == "20" or line.startswith("오후")]
    for n in pasted:
        before = [line for line in lines[1:n] if line]
        # right behind the first line: that could be a message of one line that begins with a quote
        if not before:
            return False
    # a line that ends in a quote could be the last, and the pasted one after it the next message
    return not pasted or not any(line.endswith('"') for line in lines[:-1])


SEVERAL_LINES = (
    st.lists(st.one_of(LINES, PASTED), min_size=2, max_size=5)
    .filter(is_told_apart)
    .map(lambda lines: normal("\n".join(lines)))
    .filter(lambda text: is_kept(text) and "\n" in text)
)
# A name holds no tab: it would end there. One of blanks alone is nobody.
NAMES = st.text(CHARACTERS.replace("\t", ""), min_size=1, max_size=12).map(normal).filter(is_kept)
# Blanks part names from texts on a PC, so that only names without one are sure; two or more messages
# of one person that begin alike look like a longer name.
PC_NAMES = st.text(LETTERS, min_size=1, max_size=8).map(normal)
MOMENTS = st.lists(st.integers(0, 4 * 24 * 60), min_size=1, max_size=8).map(
    lambda minutes: [datetime(2024, 5, 1) + timedelta(minutes=n) for n in sorted(minutes)]
)


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=50, deadline=None)
@given(data=st.data(), times=MOMENTS)
def test_what_is_written_is_read_back(layout: str, data: st.DataObject, times: list[datetime]) -> None:
    header, day_line, clock, between = LAYOUTS[layout]
    people = data.draw(st.lists(NAMES if between == "\t" else PC_NAMES, min_size=1, max_size=3, unique=True))
    body, day, messages = header, None, []
    for n, time in enumerate(times):
        speaker = data.draw(st.sampled_from(people))
        if between == "\t":
            text = data.draw(st.one_of(ONE_LINE, SEVERAL_LINES))
        else:
            text = f"{n} {data.draw(ONE_LINE)}"
        if time.date() != day:
            day = time.date()
            body += f"\n{day_line(time)}\n"
        quoted = f'"{text}"' if "\n" in text else text
        body += f"{clock(time)}{between}{speaker}{between}{quoted}\n"
        messages.append(Message(time, speaker, text))
    assert read_back(body.encode(), "대화.txt") == ("line", messages, {})

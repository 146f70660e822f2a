from __future__ import annotations

import timeit
import unicodedata
from collections.abc import Callable

import pytest

from chatbot.dialogue import Conversation
from chatbot.questions import asks
from chatbot.style import reply_style, speech_level
from chatbot.text import normalise, one_line, printable, squeeze


def test_normalise_composes_hangul_from_macos() -> None:
    assert normalise(unicodedata.normalize("NFD", "안녕 ㅋㅋㅠ")) == "안녕 ㅋㅋㅠ"


def test_normalise_keeps_laughing_apart_from_crying() -> None:
    # NFKC would fuse these into one syllable.
    assert normalise("ㅋㅠ") == "ㅋㅠ"


@pytest.mark.parametrize(
    "dangerous",
    ["\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\x9b31m", "\x07", "\u202e", "\x1b[?1049h"],
)
def test_printable_removes_what_drives_a_terminal(dangerous: str) -> None:
    left = printable(f"가{dangerous}나")
    assert left[0] == "가" and left[-1] == "나"
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or c == "\u202e" for c in left)


def test_printable_keeps_lines_tabs_and_joined_emoji() -> None:
    assert printable("가\n나\t👩‍💻") == "가\n나\t👩‍💻"


def test_one_line_and_squeeze() -> None:
    assert one_line(" 가\n 나 ") == "가 나"
    assert squeeze("안녕, 하세요! ㅋ") == squeeze("안녕하세요ㅋ")


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("오늘 너무 피곤해요ㅠㅠ", "polite"),
        ("감사합니다", "polite"),
        ("뭐 하고 있습니까?", "polite"),
        ("네", "polite"),
        ("그렇죠~", "polite"),
        ("오늘 너무 피곤해", "casual"),
        ("뭐해?ㅋㅋ", "casual"),
        ("그게 아니다", "casual"),
        ("바쁘니까", "casual"),
        ("안녕", "casual"),
        ("머리가 빠져", "casual"),
        ("ㅋㅋㅋ", None),
        ("ㅇㅇ", None),
        ("hello", None),
        ("필요", None),
        ("뭐라고 하던가요?", "polite"),
        ("어디 가요?", "polite"),
        ("밥 먹고요", "polite"),
        ("요즘 인기가요", None),
        ("이런 대우까지 받아야 하나 싶어서 서글퍼", "casual"),
        ("기름값 너무 비싸", "casual"),
        ("눈이 빨개", "casual"),
        ("야근 날아감", "casual"),
        ("몸이 안 움직여져요 마냥 늘어지고 싶고", "polite"),
        ("느낌이 완전히 달라요 다시 펴 보니까", "polite"),
        ("경품에 당첨됐어요 대박", "polite"),
        ("굿모닝입니다 마루님", "polite"),
        ("오빠 폰 번호도 모름ㅋㅋ", "casual"),
        ("나 동생 생긴대", "casual"),
        ("지금 안 나가면 막차 놓침", "casual"),
        ("커피 마시는 중", "casual"),
        ("오늘 기분이 어때?", "casual"),
        ("무엇입니까 노트북과 태블릿 중에", "polite"),
        ("다음에 같이 갑시다", "polite"),
        ("메뉴 고를 힘도 없어 진짜", "casual"),
        ("가게 어디야 케이크 파는 곳", "casual"),
        ("오늘 아침", None),
        ("군대", None),
        ("좋은 사람", None),
    ],
)
def test_speech_level(text: str, level: str | None) -> None:
    assert speech_level(text) == level


def test_one_polite_ending_makes_it_polite() -> None:
    assert speech_level("아 진짜 힘들다. 쉬고 싶어요") == "polite"


def test_reply_style_mirrors_the_last_word_that_shows_it() -> None:
    talk = Conversation()
    assert reply_style(talk) == "polite"
    talk.add("user", "뭐해?")
    talk.add("assistant", "기다리고 있었어요.")
    talk.add("user", "ㅋㅋ")
    assert reply_style(talk) == "casual"
    talk.style = "polite"
    assert reply_style(talk) == "polite"


@pytest.mark.parametrize("judge", [speech_level, asks])
@pytest.mark.parametrize("unit", ["ㅋ", "~!", "가"])
def test_long_runs_take_time_as_they_are_long(judge: Callable[[str], object], unit: str) -> None:
    def seconds(times: int) -> float:
        text = unit * times + "x"
        return min(timeit.repeat(lambda: judge(text), number=1, repeat=3))

    assert seconds(16_000) < 8 * max(seconds(4_000), 1e-3)  # 16 times, were it quadratic

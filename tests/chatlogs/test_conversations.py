from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbot.chatlogs.conversations import (
    DEFAULT_GAP,
    MAX_SAME_ANSWER,
    MAX_TURN,
    Limits,
    Roles,
    learn_gap,
    pairs,
    sessions,
    tidy,
)
from chatbot.chatlogs.message import Message

ROLES = Roles(("나",), "다빈")
START = datetime(2024, 5, 1, 20, 0)


def said(*lines: tuple[float, str, str]) -> list[Message]:
    """Messages from (minutes after the start, speaker, text)."""
    return [Message(START + timedelta(minutes=m), speaker, text) for m, speaker, text in lines]


@pytest.mark.parametrize(
    ("text", "bounded"),
    [
        ("ㅋㅋㅋㅋㅋㅋ", "ㅋㅋㅋ"),
        ("ㅠㅠㅠㅠ 슬퍼ㅠㅠㅠㅠㅠ", "ㅠㅠㅠ 슬퍼ㅠㅠㅠ"),
        ("10000원", "10000원"),
        ("10000000원이야!!!!!!", "10000000원이야!!!"),
        ("2222", "2222"),
        ("ㅋㅋㄱㅋㅋㅋㄱㅋ", "ㅋㅋㄱㅋ"),
        ("하하하하하하", "하하하"),
        ("ㅋㅋ", "ㅋㅋ"),
        ("가가가가", "가가가가"),
        ("....", "..."),
    ],
)
def test_laughter_is_bounded_and_numbers_are_not(text: str, bounded: str) -> None:
    assert tidy(text) == bounded


@given(st.text(st.sampled_from("ㅋㅎㅠ하0!?가나 \n"), max_size=60))
def test_tidy_is_the_same_the_second_time(text: str) -> None:
    assert tidy(tidy(text)) == tidy(text)


def test_the_gap_is_learnt_from_two_hills_of_silence() -> None:
    rng = np.random.default_rng(1)
    quick = rng.lognormal(np.log(120), 0.7, 2000)  # within a talk: about two minutes
    slow = rng.lognormal(np.log(9 * 3600), 0.4, 150)  # between talks: about nine hours
    gaps = np.concatenate([quick, slow])
    rng.shuffle(gaps)
    gap = learn_gap(np.cumsum(gaps))
    assert 900 < gap < 4 * 3600
    assert np.mean(quick < gap) > 0.99 and np.mean(slow > gap) > 0.99


def test_the_gap_of_a_short_chat_is_the_default() -> None:
    assert learn_gap(np.arange(50) * 600.0) == DEFAULT_GAP


def test_bursts_become_turns_that_keep_their_breaks_and_silence_parts_sessions() -> None:
    messages = said(
        (0, "나", "야"), (0, "나", "뭐해"), (1, "다빈", "밥 먹는 중"), (2, "나", "맛있겠다"),
        (500, "다빈", "자?"), (501, "나", "아니"),
    )  # fmt: skip
    first, second = sessions(messages, ROLES, 3600, Limits())
    assert [(t.role, t.text) for t in first.turns] == [
        ("user", "야\n뭐해"), ("assistant", "밥 먹는 중"), ("user", "맛있겠다"),
    ]  # fmt: skip
    assert [t.role for t in second.turns] == ["assistant", "user"]
    assert (first.started, first.ended) == (START, START + timedelta(minutes=2))


def test_no_session_spans_two_rooms() -> None:
    messages = [
        m._replace(part=n // 2)
        for n, m in enumerate(said(*((i, "나다빈"[i % 2 :][:1], "말") for i in range(4))))
    ]
    assert len(list(sessions(messages, ROLES, 3600, Limits()))) == 2


def test_messages_without_times_are_one_session() -> None:
    messages = [Message(None, speaker, "말") for speaker in ("나", "다빈") * 3]
    assert len(list(sessions(messages, ROLES, 3600, Limits()))) == 1


def test_other_people_of_a_group_keep_their_names_and_turns() -> None:
    messages = said((0, "나", "다들 어디"), (0, "민서", "집"), (1, "다빈", "나는 밖"))
    (session,) = sessions(messages, ROLES, 3600, Limits())
    assert [(t.role, t.name) for t in session.turns] == [
        ("user", "나"),
        ("user", "민서"),
        ("assistant", "다빈"),
    ]
    assert [(p.question, p.answer) for p in pairs(session, Limits())] == [("집", "나는 밖")]


def test_long_turns_are_cut_and_pasted_texts_come_once() -> None:
    limits = Limits()
    notice = "공지입니다. " * 30
    messages = said((0, "나", notice), (1, "다빈", "가" * 800), (2, "나", notice + "!"), (3, "다빈", "응"))
    (session,) = sessions(messages, ROLES, 3600, limits)
    assert [len(t.text) <= MAX_TURN for t in session.turns] == [True, True]
    assert limits.counts == {"cut": 1, "pasted": 1}


def test_of_what_is_answered_the_end_is_kept() -> None:
    messages = said(*((n / 10, "나", f"{n}번째 " + "말" * 90) for n in range(10)), (2, "다빈", "응"))
    (session,) = sessions(messages, ROLES, 3600, Limits())
    (pair,) = pairs(session, Limits())
    assert pair.question.endswith(messages[9].text) and len(pair.question) <= MAX_TURN


def test_a_burst_ends_after_minutes_of_silence() -> None:
    messages = said((0, "나", "아침 먹었어"), (170, "나", "점심 뭐야"), (175, "다빈", "김밥"))
    (session,) = sessions(messages, ROLES, 4 * 3600, Limits())
    assert [t.text for t in session.turns] == ["아침 먹었어", "점심 뭐야", "김밥"]
    assert [p.question for p in pairs(session, Limits())] == ["점심 뭐야"]


def test_the_same_pair_comes_once_and_the_same_answer_not_too_often() -> None:
    limits = Limits()
    assert limits.allow("뭐해?", "밥 먹어") and not limits.allow("뭐 해", "밥먹어!")
    assert sum(limits.allow(f"질문{n}", "ㅇㅇ") for n in range(100)) == MAX_SAME_ANSWER
    assert not limits.allow("!!!", "왜") and limits.counts["no words"] == 1


def test_a_day_without_silence_is_cut_all_the_same() -> None:
    messages = said(*((i / 10, "나" if i % 2 else "다빈", f"말{i}") for i in range(1000)))
    found = list(sessions(messages, ROLES, 3600, Limits()))
    assert len(found) == 3 and sum(len(s.turns) for s in found) == 1000


def test_where_all_silences_are_alike_the_usual_gap_is_taken() -> None:
    assert learn_gap(np.arange(300) * 60.0) == DEFAULT_GAP

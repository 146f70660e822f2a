from __future__ import annotations

import pytest

from chatbot.clauses import clauses, runs_of_clauses


@pytest.mark.parametrize(
    ("text", "parted"),
    [
        ("비가 그렇게 오는데 우산이 없어", ["비가 그렇게 오는데", "우산이 없어"]),
        (
            "시험을 망쳐서 엄마한테 말도 못 했어요 어떡하죠",
            ["시험을 망쳐서", "엄마한테 말도 못 했어요", "어떡하죠"],
        ),
        ("오늘 손님이 없었어. 월세가 걱정이야", ["오늘 손님이 없었어.", "월세가 걱정이야"]),
        ("화장실에서 울었어", ["화장실에서 울었어"]),  # a place is no clause
        ("시험을 망쳤는데, 괜찮대", ["시험을 망쳤는데,", "괜찮대"]),
        ("괜찮은 척 출근했는데ㅠㅠ 울었어", ["괜찮은 척 출근했는데ㅠㅠ", "울었어"]),
        ("추운데 나가기 싫어", ["추운데 나가기 싫어"]),  # too short to be about something
        ("ㅋㅋㅋ", ["ㅋㅋㅋ"]),
        ("", []),
    ],
)
def test_connective_endings_close_a_clause(text: str, parted: list[str]) -> None:
    assert clauses(text) == parted
    assert " ".join(clauses(text)) == text


def test_runs_are_all_that_follow_each_other_but_the_whole() -> None:
    text = "비가 그렇게 오는데 우산이 없어서 홀딱 젖었어요"
    first, second, third = "비가 그렇게 오는데", "우산이 없어서", "홀딱 젖었어요"
    assert runs_of_clauses(text) == [first, f"{first} {second}", second, f"{second} {third}", third]
    assert runs_of_clauses("오늘 너무 피곤해") == []
    assert runs_of_clauses("비가 그렇게 오는데 젖었어") == ["비가 그렇게 오는데"]
    assert runs_of_clauses("비가 그렇게 오는데ㅠㅠ, 젖었어") == ["비가 그렇게 오는데"]


def test_of_many_clauses_those_said_last_are_looked_at() -> None:
    text = " ".join(
        f"{word}이 너무 좋았고"
        for word in ["봄날", "여름", "가을", "겨울", "아침", "저녁", "한낮", "새벽", "점심"]
    )
    runs = runs_of_clauses(text)
    assert len(runs) == 6 + 5 + 4  # of one, two and three
    assert not any("봄날" in run or "가을" in run for run in runs)

from __future__ import annotations

import pytest

from chatbot.questions import asks

QUESTIONS = """
뭐 해? / 정말요？ / 밥 먹었니 / 오늘 날씨 어때 / 이거 얼마임 / 내일 볼까 / 갈까요 / 이게 맞나 / 비가 오나요
왜
왜 그래 / 지금 어디야ㅋㅋ / 우산 안 가져왔는데 어쩌지 / 몇 살이에요 / 합격했습니까 / 그게 뭐냐.. / 효과 있나
이름이 뭐더라 / 어떻게 함 / 화성에 위성 몇 개 / 사람인가요 / 문 열다가 다쳤어 어떡해 / 어케 씀 / 밥은 먹었냐
뭐라고 하셨어
""".strip()
STATEMENTS = """
밥 먹었어 / 하니까 / 그러니까 / 우리 언니 / 어머니 / 눈물이 나요 / 또 만나요 / 짜증나요 / 아냐 / 뭔가
노래가요
얼마 전에 샀어 / 어디든 가고 싶어 / 누군가 왔어 / 언제나 고마워 / 알려 줘 / 추천해 주세요 / 어느새 다 컸어
뭐라도 먹자 / 왜 그런지 모르겠어 / 커피 마셔서 그런가 졸리네 / 하나만 줘 / 몇몇은 갔어 / ㅋㅋㅋ / !!
그게 뭐라고 참 좋더라고요
""".strip()


def utterances(text: str) -> list[str]:
    return text.replace("\n", " / ").split(" / ")


@pytest.mark.parametrize("text", utterances(QUESTIONS))
def test_questions(text: str) -> None:
    assert asks(text) and asks(f"안녕하세요. {text}") and asks(f"{text} ㅠㅠ")


@pytest.mark.parametrize("text", ["", *utterances(STATEMENTS)])
def test_statements(text: str) -> None:
    assert not asks(text)

"""Spaces that were left out."""

from __future__ import annotations

import random

import pytest

from chatbot.backends.retrieval import RetrievalBackend
from chatbot.index import open_index
from chatbot.knowledge import load_knowledge
from chatbot.models.encoder import load_encoder
from chatbot.session import Session
from chatbot.spacing import Spacing, long_runs, shipped_spacing


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("오늘너무피곤해", "오늘 너무 피곤해"),
        ("남친이랑싸웠는데 어떡하지ㅠㅠ", "남친이랑 싸웠는데 어떡하지ㅠㅠ"),
        ("ㅋㅋ강아지가아파서 걱정돼!!", "ㅋㅋ강아지가 아파서 걱정돼!!"),
        ("오늘 너무 피곤해", "오늘 너무 피곤해"),
        ("방울토마토가 열렸어", "방울토마토가 열렸어"),
        ("우리 지금 지하철이에요", "우리 지금 지하철이에요"),
        ("모르겠습니다", "모르겠습니다"),
        ("뷁쀍쀍뷁쀍뷁쀍", "뷁쀍쀍뷁쀍뷁쀍"),  # no words: left as it is
        ("iPhone배터리", "iPhone배터리"),
        ("", ""),
    ],
)
def test_words_that_are_known_come_apart(typed: str, meant: str) -> None:
    assert shipped_spacing().restore(typed) == meant


def test_what_is_one_stays_one() -> None:
    spacing = Spacing(["아침 먹자", "아침 굶자", "빨리 먹자"])
    assert spacing.restore("아침빨리먹자") == "아침 빨리 먹자"
    assert spacing.restore("아침빨리먹자", {"아침빨리먹자"}) == "아침빨리먹자"
    assert spacing.restore("아침먹자") == "아침먹자"  # too short to doubt
    assert Spacing([]).restore("아침빨리먹자") == "아침빨리먹자"
    assert long_runs("아침빨리먹자 아침 먹자") == ["아침빨리먹자"]


def test_long_text_takes_no_longer_than_its_length() -> None:
    text = "오늘너무피곤해" * 3000
    assert shipped_spacing().restore(text).count("너무") == 3000


def test_wordings_without_spaces_find_nearly_what_spaced_ones_do() -> None:
    knowledge = load_knowledge()
    index = open_index(knowledge, load_encoder())
    lines = random.Random(0).sample(knowledge.held_out("test"), 120)

    def right(without: bool) -> int:
        return sum(
            index.best(index.compare(text.replace(" ", "") if without else text))[1] == source
            for text, source in lines
        )

    assert right(without=True) > 0.9 * right(without=False) > 80


def test_what_was_taught_without_spaces_is_found_as_it_was_typed() -> None:
    RetrievalBackend().teach("우리동네붕어빵집어디야", "역 앞 두 번째 골목이야.")
    reply = Session(RetrievalBackend()).ask("우리동네붕어빵집어디야")
    assert reply.text == "역 앞 두 번째 골목이야." and reply.score and reply.score > 0.95

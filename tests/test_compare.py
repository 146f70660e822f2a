"""Comparing backends: who takes part, what is asked, what is printed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from chatbot.comparison import (
    Contender,
    Prompt,
    compare_prompts,
    contender_options,
    prompts_of_lines,
    read_contenders,
    read_prompts,
)
from chatbot.dialogue import Backend, Conversation, Reply
from chatbot.errors import ChatbotError, UsageError


class Echo(Backend):
    """Says how many turns it has heard, and the last of them."""

    name = "echo"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def stream(self, conversation: Conversation) -> Iterator[str | Reply]:
        yield Reply(f"{len(conversation.turns)} {conversation.turns[-1].text}", self.name)

    def reply_many(self, conversations: Sequence[Conversation]) -> list[Reply]:
        self.batches.append(len(conversations))
        return [self.reply(conversation) for conversation in conversations]


def test_contenders_are_backends_with_a_model_after_the_first_colon() -> None:
    assert read_contenders("retrieval, gpt:서연-gpt ,gpt:owner/model:v2,gpt,retrieval,gpt:") == [
        Contender("retrieval", "retrieval"),
        Contender("gpt:서연-gpt", "gpt", "서연-gpt"),
        Contender("gpt:owner/model:v2", "gpt", "owner/model:v2"),
        Contender("gpt", "gpt"),
    ]
    for written in ("", "gpt", "gpt,gpt", ",:,gpt"):
        with pytest.raises(UsageError, match="--backends"):
            read_contenders(written)


def test_an_own_model_goes_to_the_option_that_the_backend_has() -> None:
    contenders = read_contenders("retrieval:enc,gpt:서연-gpt,gpt,retrieval")
    assert contender_options(contenders, model="other", seed=3, device="auto") == [
        {"encoder": "enc"},
        {"model": "서연-gpt", "seed": 3},
        {"model": "other", "seed": 3},
        {},
    ]
    with pytest.raises(UsageError, match="--model 'other'"):
        contender_options(read_contenders("gpt:a,gpt:b"), model="other")
    with pytest.raises(UsageError, match="--scorer"):
        contender_options(read_contenders("gpt:a,gpt:b"), scorer="dense")


def test_prompts_are_read_from_every_form(tmp_path: Path) -> None:
    lines = tmp_path / "말.txt"
    lines.write_bytes("\ufeff안녕\r\n\r\n 밥 먹었어? \n".encode())
    assert read_prompts(lines) == [[Prompt("안녕")], [Prompt("밥 먹었어?")]]
    rows = tmp_path / "말.jsonl"
    said = [
        ("assistant", "어서 와"),
        ("user", "안녕"),
        ("assistant", "반가워"),
        ("user", "나도"),
        ("user", "잘 가"),
    ]
    messages = [{"role": role, "content": text} for role, text in said]
    written = [{"messages": messages}, {"text": "뭐해"}, {"question": "졸려", "answer": "자"}]
    rows.write_text("".join(json.dumps(row) + "\n" for row in written), encoding="utf-8")
    assert read_prompts(rows) == [
        [Prompt("안녕", "반가워"), Prompt("나도"), Prompt("잘 가")],
        [Prompt("뭐해")],
        [Prompt("졸려", "자")],
    ]
    table = tmp_path / "말.csv"
    table.write_text("Q,A,label\n졸려,자,0\n", encoding="cp949")
    assert read_prompts(str(table)) == [[Prompt("졸려", "자")]]
    assert prompts_of_lines(["안녕\n", "\n"]) == [[Prompt("안녕")]]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.txt", "\n \n", "하나도 없어요"),
        ("a.jsonl", "", "하나도 없어요"),
        ("a.jsonl", '{"text": "가"}\n[1]\n', "2번째 줄"),
        ("a.jsonl", '{"text": "가"}\n{"text": 3}\n', "2번째 줄"),
        ("a.jsonl", '{"text": "가"}\n5\n', "2번째 줄"),
        ("a.jsonl", '{"text": " "}\n', "1번째 줄"),
        ("a.jsonl", '{"messages": [{"role": "assistant", "content": "가"}]}\n', "1번째 줄"),
        ("a.jsonl", '{"messages": "가"}\n', "1번째 줄"),
        ("a.jsonl", "가\n", "JSON이 아니에요"),
        ("a.csv", "question,answer\n가,나\n다\n", "3번째 줄"),
        ("a.csv", "words\n가\n", "2번째 줄"),
        ("a.docx", "가", ".txt"),
    ],
)
def test_a_bad_file_of_prompts_is_named_in_one_sentence(
    tmp_path: Path, name: str, text: str, says: str
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ChatbotError) as caught:
        read_prompts(path)
    assert says in str(caught.value) and name in str(caught.value)


def test_dialogues_are_asked_turn_by_turn_and_each_goes_on_with_its_own_words() -> None:
    dialogues = [[Prompt("가", "나"), Prompt("다")], [Prompt("라")], [Prompt("죽고 싶어"), Prompt("마")]]
    backends = {"one": Echo(), "two": Echo()}
    heard: list[tuple[int, int]] = []
    rounds = compare_prompts(backends, dialogues, "casual", lambda done, total: heard.append((done, total)))
    assert [(r.dialogue, r.turn, r.question, r.reference) for r in rounds] == [
        (0, 0, "가", "나"),
        (0, 1, "다", None),
        (1, 0, "라", None),
        (2, 0, "죽고 싶어", None),
        (2, 1, "마", None),
    ]
    assert [r.replies["two"].text for r in rounds if r.question != "죽고 싶어"] == [
        "1 가",
        "3 다",
        "1 라",
        "3 마",
    ]
    assert rounds[3].replies["one"].backend == "safety"
    assert [turn.text for turn in rounds[1].before["one"].turns] == ["가", "1 가"]
    assert rounds[1].before["one"].style == "casual" and rounds[0].before["one"].turns == []
    assert backends["one"].batches == [2, 2] and heard[-1] == (10, 10) and len(heard) == 10

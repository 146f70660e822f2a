"""Comparing backends: who takes part, what is asked, what is printed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from chatbot import safety
from chatbot.backends import _factory as import_backend
from chatbot.backends import backend_names
from chatbot.comparison import (
    Contender,
    Prompt,
    compare_prompts,
    contender_options,
    prompts_of_lines,
    read_contenders,
    read_prompts,
)
from chatbot.dialogue import Backend, Candidate, Conversation, Reply
from chatbot.errors import ChatbotError, UsageError
from chatbot.history import History
from chatbot.knowledge import labelled_lines
from chatbot.screens.compare import answer_panel, print_columns
from chatbot.screens.voting import Ballot
from chatbot.session import Session
from chatbot.sheets import read_key
from tests.conftest import Run
from tests.tiny_models import write_ours


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
        ("a.csv", 'question,answer\n"' + "가" * 200_000, "CSV로 읽을 수 없어요"),
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
        "1 마",  # a crisis before it is no context
    ]
    assert rounds[3].replies["one"].backend == "safety"
    assert [turn.text for turn in rounds[1].before["one"].turns] == ["가", "1 가"]
    assert rounds[1].before["one"].style == "casual" and rounds[0].before["one"].turns == []
    assert backends["one"].batches == [2, 2] and heard[-1] == (10, 10) and len(heard) == 10


def test_answers_stand_in_columns_of_which_nothing_is_cut() -> None:
    words = "오늘은기운내라는말안할게그냥같이있자 [bold]쉬어[/bold] " * 3
    replies = {
        "retrieval": Reply(
            words, "retrieval", "encoder", 0.8, (Candidate("쉬어.", 0.8, "tired ← 피곤해"),), 0.01
        ),
        "gpt:아주긴이름을가진모델이름이에요정말로": Reply("고생했어.", "gpt", "small", 0.2, (), 0.5, 10),
        "hybrid": Reply("푹 쉬어.", "hybrid", reason="검색이 자신 있어서"),
        "safety": Reply("여기 있어요.", safety.BACKEND, "suicide"),
    }
    for width, side_by_side in ((140, True), (104, True), (103, False), (50, False)):
        file = io.StringIO()
        console = Console(file=file, width=width, markup=False, highlight=False)
        print_columns(console, [answer_panel(label, reply) for label, reply in replies.items()])
        lines = file.getvalue().splitlines()
        assert all(cell_len(line) <= width for line in lines) and "…" not in file.getvalue()
        assert any("retrieval" in line and "safety" in line for line in lines) is side_by_side
        first = [line.split("│")[1] for line in lines if line.startswith("│")]
        assert "".join(words.split()) in "".join("".join(first).split())
        assert "20토큰/초" in file.getvalue() and "피곤해" in file.getvalue()
        assert "자신" in file.getvalue() and "suicide" not in file.getvalue()


def test_compare_in_a_pipe_and_as_json(run: Run) -> None:
    done = run("compare", "오늘 너무 피곤해", "--seed", "1")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["retrieval", "gpt"] and all(len(row) == 4 for row in rows)
    assert all(float(row[1]) >= 0 and 0 <= float(row[2]) <= 1 and row[3] for row in rows)
    value = json.loads(run("compare", "--json", "--seed", "1", stdin="오늘 너무 피곤해\n").stdout)
    assert value["question"] == "오늘 너무 피곤해"
    assert [r["label"] for r in value["replies"]] == [r["backend"] for r in value["replies"]]
    assert [r["backend"] for r in value["replies"]] == ["retrieval", "gpt"]
    assert value["replies"][1]["text"] == rows[1][3]  # with a seed; retrieval turns its answers by chance
    assert value["replies"][0]["candidates"][0]["source"]
    assert not History().conversations()


def test_one_backend_takes_part_with_several_models(run: Run, tmp_path: Path) -> None:
    model = write_ours(tmp_path / "작은것")
    done = run("compare", "안녕", "--backends", f"gpt,gpt:{model}", "--temperature", "0", "--json")
    replies = json.loads(done.stdout)["replies"]
    assert [r["label"] for r in replies] == ["gpt", f"gpt:{model}"]
    assert [r["model"] for r in replies] == ["gpt", "작은것"]


def test_a_file_of_prompts_is_answered_by_all(run: Run, tmp_path: Path) -> None:
    path, page = tmp_path / "말.jsonl", tmp_path / "견줌.html"
    messages = [("user", "안녕"), ("assistant", "반가워"), ("user", "죽고 싶어")]
    rows = [
        {"messages": [{"role": role, "content": text} for role, text in messages]},
        {"text": "오늘 너무\n피곤해"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    asked = ("--prompts", str(path), "--temperature", "0")
    done = run("compare", *asked, "--report", str(page))
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert [line[:2] for line in lines] == [
        [question, label]
        for question in ("안녕", "죽고 싶어", "오늘 너무 피곤해")
        for label in ("retrieval", "gpt")
    ]
    assert "109" in lines[2][4] and "109" in lines[3][4] and "대답하는 중 6/6" in done.stderr
    assert "피곤해" in page.read_text(encoding="utf-8") and page.stat().st_mode & 0o077 == 0
    rounds = [json.loads(line) for line in run("compare", *asked, "--json").stdout.splitlines()]
    assert [(r["dialogue"], r["turn"], r["reference"]) for r in rounds] == [
        (0, 0, "반가워"),
        (0, 1, None),
        (1, 0, None),
    ]
    assert [r["replies"][1]["text"] for r in rounds] == [line[4] for line in lines[1::2]]
    assert [r["label"] for r in rounds[0]["replies"]] == ["retrieval", "gpt"]
    assert not History().conversations()


def test_files_are_written_whoever_stops_reading_and_whatever_the_history_is(
    home: Path, tmp_path: Path
) -> None:
    home.mkdir()
    (home / "history.db").write_text("no database" * 100)
    (tmp_path / "p.txt").write_text("안녕\n오늘 좀 우울해\n", encoding="utf-8")
    files = ("--report", str(tmp_path / "a.html"), "--sheet", str(tmp_path / "a.csv"))
    command = [sys.executable, "-m", "chatbot", "compare", "--prompts", str(tmp_path / "p.txt"), *files]
    compare = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "CHATBOT_HOME": str(home), "PYTHONUNBUFFERED": "1"},
    )
    assert compare.stdout and compare.stderr
    compare.stdout.close()
    said = compare.stderr.read()
    assert compare.wait(120) == 1 and "history.db" in said and "Traceback" not in said
    assert "우울해" in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert len(read_key(tmp_path / "a.csv").items) == 2


def test_a_vote_that_cannot_be_stored_does_not_end_the_talk(monkeypatch: pytest.MonkeyPatch) -> None:
    history = History()
    ballot = Ballot(history)
    left, right = ballot.draw({name: Session(Echo(), history) for name in ("one", "two")}).values()
    replies = [left.ask("안녕"), right.ask("안녕")]
    history.close()
    monkeypatch.setattr("chatbot.screens.voting._pressed", lambda: "left")
    file = io.StringIO()
    ballot.vote(Console(file=file, width=80), left, right, replies)
    assert "세지 않아요" in file.getvalue() and not History().votes()


def test_prompts_come_from_standard_input_too(run: Run) -> None:
    done = run("compare", "--prompts", "-", "--temperature", "0", stdin="안녕\n\n뭐해\n")
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["안녕", "안녕", "뭐해", "뭐해"]


def test_no_crisis_line_reaches_a_model_through_any_backend(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [t for half in ("dev", "test") for t, label in labelled_lines("crisis", half) if label != "none"]
    recognised = [line for line in lines if safety.crisis(line)]
    assert len(recognised) > 200

    def never(self: object, *args: object) -> Any:
        raise AssertionError("a crisis line reached a backend")

    backends: dict[str, Backend] = {}
    for name in backend_names():
        backend = import_backend(name)
        for road in ("stream", "reply_many"):
            monkeypatch.setattr(backend, road, never)
        backends[name] = backend.__new__(backend)
    assert {"retrieval", "gpt", "hybrid", "remote"} <= set(backends)
    rounds = compare_prompts(backends, [[Prompt(line)] for line in recognised])
    assert {reply.backend for asked in rounds for reply in asked.replies.values()} == {"safety"}


def test_standings_are_counted_from_the_history(run: Run) -> None:
    done = run("compare", "--standings")
    assert done.returncode == 1 and "--vote" in done.stderr and done.stdout == ""
    history = History()
    for _ in range(5):
        left, right = Session(Echo(), history), Session(Echo(), history)
        for session in (left, right):
            session.ask("안녕")
        number = left.turn_id(left.conversation.turns[0])
        assert number is not None
        history.add_vote(number, left.conversation, right.conversation, ("gpt", "retrieval"), "left")
    history.close()
    found = json.loads(run("compare", "--standings", "--json").stdout)
    assert {one["label"]: one["wins"] for one in found["all"]["contenders"]} == {"gpt": 5, "retrieval": 0}
    assert "gpt" in run("compare", "--standings").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["안녕", "--backends", "retrieval"], 2, "--backends"),
        (["안녕", "--backends", "retrieval,nothing"], 2, "nothing"),
        (["안녕", "--backends", "retrieval,gpt:없는것"], 1, "없는것"),
        (["안녕", "--backends", "retrieval:없는것,gpt"], 1, "없는것"),
        (["안녕", "--backends", "gpt:a,gpt:b", "--model", "c"], 2, "--model"),
        (["안녕", "--scorer", "bm25"], 2, "scorer"),
        ([], 2, "chatbot compare"),
        (["안녕", "--vote"], 2, "--vote"),
        (["--vote"], 2, "터미널"),
        (["안녕", "--vote", "--no-history"], 2, "--no-history"),
        (["안녕", "--vote", "--json"], 2, "--json"),
        (["안녕", "--vote", "--report", "a.html"], 2, "--report"),
        (["안녕", "--prompts", "a.txt"], 2, "--prompts"),
        (["--prompts", "a.txt", "--vote"], 2, "--sheet"),
        (["--prompts", "없는파일.txt"], 1, "없는파일.txt"),
        (
            ["--prompts", "없는파일.txt", "--backends", "retrieval,gpt,gpt:x", "--sheet", "a.csv"],
            2,
            "--sheet",
        ),
        (["안녕", "--sheet", "a.csv"], 2, "--sheet"),
        (["안녕", "--standings"], 2, "--standings"),
        (["--standings", "--prompts", "a.txt"], 2, "--prompts"),
        (["--standings", "--vote"], 2, "--vote"),
        (["--standings", "--report", "a.html"], 2, "--report"),
        (["--standings", "--seed", "1"], 2, "--standings"),
        (["안녕", "--report", "/dev/null/a.html"], 1, "--report /dev/null/a.html"),
        (["안녕", "--report", "tests"], 1, "--report tests"),
        (["--prompts", "없는파일.txt", "--sheet", "/dev/null/a.csv"], 1, "--sheet /dev/null/a.csv"),
    ],
)
def test_wrong_use_gets_one_sentence_and_a_code(run: Run, arguments: list[str], code: int, says: str) -> None:
    done = run("compare", *arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stdout == ""

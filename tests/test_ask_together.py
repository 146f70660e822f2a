"""Answering many at once: the same words as one by one, and no crisis ever reaches a generator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from chatbot.backends.gpt import GptBackend
from chatbot.backends.retrieval import RetrievalBackend
from chatbot.dialogue import Backend, Conversation, Reply
from chatbot.errors import UsageError
from chatbot.history import History
from chatbot.knowledge import labelled_lines, prompts
from chatbot.session import Session, ask_together
from tests.conftest import ScriptedBackend


class Spy(Backend):
    """Notes everything it hears, by whichever road."""

    name = "spy"

    def __init__(self, *said: str) -> None:
        self.said = list(said)
        self.heard: list[str] = []
        self.batches: list[int] = []

    def stream(self, conversation: Conversation) -> Iterator[str | Reply]:
        (reply,) = self._answers([conversation])
        yield reply

    def reply_many(self, conversations: Sequence[Conversation]) -> list[Reply]:
        self.batches.append(len(conversations))
        return self._answers(conversations)

    def _answers(self, conversations: Sequence[Conversation]) -> list[Reply]:
        self.heard += [turn.text for c in conversations for turn in c.turns if turn.role == "user"]
        return [Reply(self.said.pop(0) if self.said else "응", self.name) for _ in conversations]


def crisis_lines() -> list[str]:
    return [
        text for half in ("dev", "test") for text, label in labelled_lines("crisis", half) if label != "none"
    ]


def talked(backend: Backend, lines: Sequence[tuple[str, ...]], *, together: bool) -> list[list[str]]:
    """Return what is said in conversations of several turns."""
    sessions = [Session(backend, conversation=Conversation(id=f"talk{n}")) for n in range(len(lines))]
    for turn in range(len(lines[0])):
        texts = [line[turn] for line in lines]
        if together:
            ask_together(sessions, texts)
        else:
            for session, text in zip(sessions, texts, strict=True):
                session.ask(text)
    return [session.conversation.said("assistant") for session in sessions]


def test_retrieval_says_in_batches_what_it_says_one_by_one() -> None:
    backend = RetrievalBackend()
    texts = prompts("dev") + prompts("test") + ["죽고 싶어요"]
    lines = [(text, "왜?") for text in texts]
    assert talked(backend, lines, together=True) == talked(backend, lines, together=False)
    conversations = [Session(backend).conversation for _ in texts]
    for conversation, text in zip(conversations, texts, strict=True):
        conversation.add("user", text)
    one_by_one = [backend.reply(conversation) for conversation in conversations]
    for single, batched in zip(one_by_one, backend.reply_many(conversations), strict=True):
        assert batched.text == single.text
        assert [c.source for c in batched.candidates] == [c.source for c in single.candidates]
        # One product of two matrices rounds otherwise than many of a matrix and a vector.
        assert batched.score == pytest.approx(single.score, abs=1e-5)


def test_gpt_says_in_batches_what_it_says_one_by_one() -> None:
    backend = GptBackend(temperature=0, dtype=torch.float32)
    lines = [(text, "왜?") for text in [*prompts("test")[:8], "죽고 싶어요"]]
    assert talked(backend, lines, together=True) == talked(backend, lines, together=False)


def test_no_crisis_line_reaches_a_backend_by_any_road() -> None:
    lines = crisis_lines()
    recognised = [line for line in lines if Session(Spy()).ask(line).backend == "safety"]
    assert len(recognised) > 0.9 * len(lines)
    backend = Spy()
    sessions = [Session(backend) for _ in recognised]
    assert {reply.backend for reply in ask_together(sessions, recognised)} == {"safety"}
    for session in sessions:
        assert [*session.retry()][-1].backend == "safety"  # type: ignore[union-attr]
    assert not backend.heard and not backend.batches


def test_a_crisis_is_no_context_for_a_backend_either() -> None:
    backend = Spy()
    sessions = [Session(backend) for _ in range(3)]
    for text in ("안녕", "죽고 싶어", "고마워"):
        ask_together(sessions, [text] * 3)
    for session in sessions:
        session.ask("이제 괜찮아")
    assert set(backend.heard) == {"안녕", "고마워", "이제 괜찮아"}
    assert sessions[0].conversation.said("user") == ["안녕", "죽고 싶어", "고마워", "이제 괜찮아"]
    helped = sessions[0].conversation.turns[3].text
    assert "109" in helped and helped not in [t.text for t in sessions[0]._for_backend(backend).turns]


def test_of_a_batch_only_what_makes_up_words_is_not_asked_about_groups() -> None:
    lines = ["안녕", "요즘 애들은 다 버릇이 없어", "뭐해"]
    inventing, quoting = Spy(), Spy()
    inventing.invents = True  # type: ignore[attr-defined]
    replies = ask_together([Session(inventing) for _ in lines], lines)
    assert [reply.backend == "safety" for reply in replies] == [False, True, False]
    assert inventing.batches == [2] and inventing.heard == [lines[0], lines[2]]
    ask_together([Session(quoting) for _ in lines], lines)
    assert quoting.heard == lines


def test_a_crisis_among_others_is_answered_in_its_place_and_stored() -> None:
    history, backend = History(), Spy("하나", "둘")
    sessions = [Session(backend, history) for _ in range(3)]
    replies = ask_together(sessions, ["안녕", "죽고 싶어", "뭐해"])
    assert [r.text for r in replies[0::2]] == ["하나", "둘"] and replies[1].backend == "safety"
    assert backend.batches == [2] and backend.heard == ["안녕", "뭐해"]
    for session, reply in zip(sessions, replies, strict=True):
        assert [r.turn.text for r in history.records(session.conversation.id)][1] == reply.text
        assert session.last_reply == reply


def test_what_a_batch_says_is_filtered_as_what_is_streamed() -> None:
    said = ["번호는 010-1234-5678이야", "야 이 병신아", "안\x1b[2J녕"]
    replies = ask_together([Session(backend) for backend in [Spy(*said)] * 3], ["가", "나", "다"])
    assert replies[0].text == "번호는 [전화번호]이야" and replies[2].text == "안녕"
    assert replies[1].backend == "safety" and "병신" not in replies[1].text


def test_a_backend_that_cannot_batch_answers_one_by_one() -> None:
    backend = ScriptedBackend("하나", "둘")
    assert [r.text for r in ask_together([Session(backend), Session(backend)], ["가", "나"])] == [
        "하나",
        "둘",
    ]

    class Bare:
        name = "bare"

        def stream(self, conversation: Conversation) -> Iterator[str | Reply]:
            yield Reply(f"{conversation.turns[-1].text}!", self.name)

    bare: Backend = Bare()  # type: ignore[assignment]
    assert [r.text for r in ask_together([Session(bare), Session(bare)], ["가", "나"])] == ["가!", "나!"]


def test_nothing_is_answered_where_one_text_is_empty() -> None:
    backend = Spy()
    sessions = [Session(backend), Session(backend)]
    with pytest.raises(UsageError):
        ask_together(sessions, ["안녕", "\x07 "])
    assert not backend.heard and not sessions[0].conversation.turns
    assert ask_together([], []) == []


def test_each_answer_of_a_batch_bears_the_name_of_who_gave_it(tmp_path: Path) -> None:
    class TwoVoices(Spy):
        speakers: list[str | None]

        def reply_many(self, conversations: Sequence[Conversation]) -> list[Reply]:
            self.speakers = ["서연", None]
            return super().reply_many(conversations)

    backend = TwoVoices()
    sessions = [Session(backend), Session(backend)]
    ask_together(sessions, ["가", "나"])
    assert [session.conversation.turns[-1].name for session in sessions] == ["서연", None]

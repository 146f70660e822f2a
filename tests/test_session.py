from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from chatbot.backends import OpeningBackend, open_backend
from chatbot.dialogue import Backend, Candidate, Conversation, Reply
from chatbot.errors import UsageError
from chatbot.history import History
from chatbot.session import Session, ask_together
from tests.conftest import ScriptedBackend


def texts(history: History, talk: Conversation) -> list[str]:
    return [record.turn.text for record in history.records(talk.id)]


def test_utterance_is_stored_before_the_backend_works() -> None:
    history = History()
    seen: list[list[str]] = []

    class Looking(Backend):
        name = "looking"

        def stream(self, conversation: Conversation) -> Iterator[str | Reply]:
            seen.append(texts(history, conversation))
            yield "응"
            yield Reply("응", self.name)

    Session(Looking(), history).ask("안녕")
    assert seen == [["안녕"]]


def test_every_piece_is_stored_before_it_is_shown() -> None:
    history = History()
    session = Session(ScriptedBackend(["안녕", " 하", "세요"]), history)
    shown = ""
    for piece in session.say("안녕"):
        if isinstance(piece, str):
            shown += piece
            assert texts(history, session.conversation) == ["안녕", shown]
        else:
            record = history.records(session.conversation.id)[-1]
            assert record.reply is not None and record.reply.text == shown == piece.text
            assert record.reply.backend == "scripted" and record.reply.seconds == 0.01


def test_closing_the_stream_stops_the_backend_and_keeps_what_was_shown() -> None:
    history = History()
    backend = ScriptedBackend(["하나", "둘", "셋"], "다음")
    session = Session(backend, history)
    answer = session.say("세어 봐")
    assert next(answer) == "하나"
    answer.close()
    assert backend.closed == 1
    assert texts(history, session.conversation) == ["세어 봐", "하나"]
    assert session.ask("계속").text == "다음"
    assert backend.seen[-1] == ["세어 봐", "하나", "계속"]


@pytest.mark.parametrize("said", ["죽고 싶어", "죽고 싶어요"])
def test_crisis_is_answered_before_any_backend(said: str) -> None:
    history, backend = History(), ScriptedBackend("하하하")
    reply = Session(backend, history).ask(said)
    assert reply.backend == "safety" and "109" in reply.text
    assert backend.seen == []
    assert reply.text.rstrip(".").endswith("요") == said.endswith("요") or "요." in reply.text


def test_what_makes_up_its_words_is_not_asked_about_groups() -> None:
    said = "외국인들은 왜 그렇게 시끄러워?"
    inventing, quoting = ScriptedBackend("그러게"), ScriptedBackend("한 사람씩 봐요.")
    inventing.invents = True
    session = Session(inventing)
    assert session.ask(said).backend == "safety" and session.ask("배고프다").text == "그러게"
    assert inventing.seen == [["배고프다"]]
    session.backend = quoting  # what quotes us may hear of it
    assert session.ask("그래?").backend == "scripted"
    assert quoting.seen[0][0] == said and len(quoting.seen[0]) == 5
    together = ask_together([Session(inventing)], [said])
    assert together[0].backend == "safety" and together[0].text.endswith("?")


def test_what_quotes_written_words_too_answers_with_those_about_groups() -> None:
    written, inventing = ScriptedBackend("한 사람씩 봐요."), ScriptedBackend()
    inventing.invents, inventing.written = True, written  # type: ignore[attr-defined]
    session = Session(inventing)
    assert session.ask("외국인들은 왜 그렇게 시끄러워?").text == "한 사람씩 봐요."
    assert session.ask("나 오늘 죽고 싶어").backend == "safety" and len(written.seen) == 1


@pytest.mark.parametrize(("name", "invents"), [("gpt", True), ("hybrid", True), ("retrieval", False)])
def test_who_makes_up_words_says_so(name: str, invents: bool) -> None:
    backend = open_backend(name)
    assert getattr(backend, "invents", False) is invents
    assert getattr(backend, "written", None) is (backend.retrieval if name == "hybrid" else None)  # type: ignore[attr-defined]


def test_a_backend_that_is_still_opening_is_asked_whether_it_makes_up_its_words() -> None:
    inventing = ScriptedBackend()
    inventing.invents = True
    opening: Future[Backend] = Future()
    opening.set_result(inventing)
    assert Session(OpeningBackend("scripted", opening)).ask("요즘 애들은 다 버릇이 없어").backend == "safety"


def test_personal_data_in_replies_is_masked_across_pieces() -> None:
    session = Session(ScriptedBackend(["번호는 010-12", "34-56", "78이야"]))
    pieces = list(session.say("번호 줘"))
    assert "".join(p for p in pieces if isinstance(p, str)) == "번호는 [전화번호]이야"
    assert isinstance(pieces[-1], Reply) and pieces[-1].text == "번호는 [전화번호]이야"


def test_candidates_are_masked_too() -> None:
    class Candid(Backend):
        name = "candid"

        def stream(self, conversation: Conversation) -> Iterator[str | Reply]:
            yield "응"
            yield Reply("응", self.name, candidates=(Candidate("010-1234-5678", 1.0, "a"),))

    assert Session(Candid()).ask("뭐").candidates[0].text == "[전화번호]"


def test_unacceptable_replies_are_not_shown() -> None:
    session = Session(ScriptedBackend(["야 이 ", "병신아"]))
    pieces = list(session.say("뭐해"))
    shown = "".join(p for p in pieces if isinstance(p, str))
    assert "병신" not in shown
    assert isinstance(pieces[-1], Reply) and pieces[-1].text == shown and pieces[-1].backend == "safety"


def test_control_codes_of_a_backend_are_removed() -> None:
    assert Session(ScriptedBackend("안\x1b[2J녕\x07")).ask("가").text == "안녕"


def test_undo_and_retry() -> None:
    history = History()
    backend = ScriptedBackend("하나", "둘", "셋")
    session = Session(backend, history)
    session.ask("처음")
    assert [*session.retry()][-1].text == "둘"
    taken = session.undo()
    assert taken is not None and taken.text == "처음"
    assert session.conversation.turns == []
    assert [(r.turn.text, r.undone) for r in history.records(session.conversation.id)] == [
        ("처음", True),
        ("하나", True),
        ("둘", True),
    ]
    assert session.undo() is None
    assert list(session.retry()) == []


def test_a_resumed_conversation_can_be_undone() -> None:
    history = History()
    first = Session(ScriptedBackend("하나"), history)
    first.ask("처음")
    resumed = Session(ScriptedBackend(), history, conversation=history.load(first.conversation.id))
    assert resumed.undo() is not None
    assert all(r.undone for r in history.records(first.conversation.id))


def test_trouble_with_the_history_is_said_once_and_the_talk_goes_on() -> None:
    history = History()
    warnings: list[str] = []
    session = Session(ScriptedBackend("하나", "둘"), history, warn=warnings.append)
    history._db.execute("drop table turns")
    assert session.ask("처음").text == "하나"
    assert session.ask("또").text == "둘"
    assert len(warnings) == 1 and "저장되지 않아요" in warnings[0] and str(history.path) in warnings[0]


def test_text_is_normalised_on_the_way_in() -> None:
    history = History()
    session = Session(ScriptedBackend("응"), history)
    session.ask("  \x1b[31m안녕\x1b[0m  ")
    assert session.conversation.turns[0].text == "안녕"


def test_a_backend_that_fails_leaves_the_utterance(tmp_path: Path) -> None:
    history = History()

    class Failing(Backend):
        name = "failing"

        def stream(self, conversation: Conversation) -> Iterator[str | Reply]:
            yield "음"
            raise RuntimeError("boom")

    session = Session(Failing(), history)
    with pytest.raises(RuntimeError):
        list(session.say("안녕"))
    assert texts(history, session.conversation) == ["안녕", "음"]


def test_a_backend_that_yields_only_a_reply_is_shown() -> None:
    class Whole(Backend):
        name = "whole"

        def stream(self, conversation: Conversation) -> Iterator[str | Reply]:
            yield Reply("번호는 010-1234-5678이야", self.name)

    history = History()
    session = Session(Whole(), history)
    assert "".join(p for p in session.say("응") if isinstance(p, str)) == "번호는 [전화번호]이야"
    assert history.search("번호는")


def test_nothing_to_say_is_refused() -> None:
    history = History()
    session = Session(ScriptedBackend(), history)
    with pytest.raises(UsageError):
        session.ask(" \x07\ufeff ")
    assert session.conversation.turns == [] and history.conversations() == []


def test_half_a_surrogate_pair_is_dropped() -> None:
    history = History()
    session = Session(ScriptedBackend("그\ud83d래"), history)
    assert session.ask("안\udcff녕").text == "그래"
    assert texts(history, session.conversation) == ["안녕", "그래"]


def test_candidates_that_may_not_be_said_are_not_kept() -> None:
    class Rude(Backend):
        name = "rude"

        def stream(self, conversation: Conversation) -> Iterator[str | Reply]:
            yield Reply(
                "응", self.name, candidates=(Candidate("응", 1.0, "a"), Candidate("병신아", 0.5, "b"))
            )

    assert [c.text for c in Session(Rude()).ask("안녕").candidates] == ["응"]

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from chatbot.comparison import Outcome, Vote
from chatbot.dialogue import Conversation, Turn
from chatbot.history import History, HistoryError, default_path
from chatbot.session import Session
from tests.conftest import ScriptedBackend

LABELS = ("retrieval", "gpt:서연-gpt")


def answered(history: History, text: str, reply: str = "그래") -> Session:
    session = Session(ScriptedBackend(reply), history)
    session.ask(text)
    return session


def judged(
    history: History, text: str, outcome: Outcome, labels: tuple[str, str] = LABELS
) -> tuple[Session, Session]:
    left, right = answered(history, text), answered(history, text, "아니")
    turn_id = left.turn_id(left.conversation.turns[0])
    assert turn_id is not None
    history.add_vote(turn_id, left.conversation, right.conversation, labels, outcome)
    return left, right


def count(history: History) -> int:
    return sqlite3.connect(history.path).execute("select count(*) from votes").fetchone()[0]


def test_votes_come_back_with_the_words_that_were_judged() -> None:
    history = History()
    assert history.votes() == []
    judged(history, "오늘 좀\n우울해", "left")
    judged(history, "안녕", "both_bad", ("gpt", "retrieval"))
    history.close()
    assert History().votes() == [
        Vote("오늘 좀\n우울해", "retrieval", "gpt:서연-gpt", "left"),
        Vote("안녕", "gpt", "retrieval", "both_bad"),
    ]


def test_a_vote_is_on_one_utterance_of_a_longer_conversation() -> None:
    history = History()
    left, right = (Session(ScriptedBackend("응", "음"), history) for _ in "lr")
    for text, outcome in (("하나", "left"), ("둘", "both_good")):
        left.ask(text)
        right.ask(text)
        turn_id = left.turn_id(left.conversation.turns[-2])
        assert turn_id is not None
        history.add_vote(turn_id, left.conversation, right.conversation, LABELS, outcome)  # type: ignore[arg-type]
    assert [(vote.text, vote.outcome) for vote in history.votes()] == [("하나", "left"), ("둘", "both_good")]


def test_an_utterance_taken_back_stays_judged() -> None:
    history = History()
    left, _ = judged(history, "안녕", "right")
    left.undo()
    assert [vote.text for vote in history.votes()] == ["안녕"]


def test_a_session_knows_the_stored_turns_only() -> None:
    history = History()
    session = answered(history, "안녕")
    question, reply = session.conversation.turns
    records = history.records(session.conversation.id)
    assert [session.turn_id(question), session.turn_id(reply)] == [record.id for record in records]
    assert session.turn_id(Turn("user", "안녕")) is None
    unsaved = Session(ScriptedBackend("그래"))
    unsaved.ask("안녕")
    assert unsaved.turn_id(unsaved.conversation.turns[0]) is None


@pytest.mark.parametrize("side", [0, 1])
def test_deleting_either_conversation_deletes_the_votes_on_it(side: int) -> None:
    history = History()
    pair = judged(history, "지울 말", "left")
    judged(history, "남을 말", "right")
    history.delete(pair[side].conversation.id)
    assert [vote.text for vote in history.votes()] == ["남을 말"] and count(history) == 1


def test_an_unknown_outcome_or_conversation_is_refused() -> None:
    history = History()
    left, right = judged(history, "안녕", "left")
    turn_id = left.turn_id(left.conversation.turns[0])
    assert turn_id is not None
    with pytest.raises(HistoryError):
        history.add_vote(turn_id, left.conversation, right.conversation, LABELS, "draw")  # type: ignore[arg-type]
    with pytest.raises(HistoryError):
        history.add_vote(turn_id, left.conversation, Conversation(), LABELS, "left")
    with pytest.raises(HistoryError):
        history.add_vote(10**6, left.conversation, right.conversation, LABELS, "left")
    assert count(history) == 1


# The schema as the first migration wrote it (``sqlite3 history.db .dump``), with one conversation in it.
BEFORE_VOTES = """
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY, "migration_set" TEXT, "name" TEXT, "applied_at" TEXT);
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
   ON "_sqlite_migrations" ("migration_set", "name");
INSERT INTO _sqlite_migrations VALUES
   (1, 'chatbot.history', 'm001_conversations_and_turns', '2026-01-02 03:04:05+00:00');
CREATE TABLE "conversations" ("id" TEXT PRIMARY KEY, "started" TEXT NOT NULL);
CREATE TABLE "turns" (
   "id" INTEGER PRIMARY KEY, "conversation" TEXT NOT NULL REFERENCES "conversations"("id"),
   "role" TEXT NOT NULL, "name" TEXT, "text" TEXT NOT NULL, "at" TEXT NOT NULL,
   "growing" INTEGER NOT NULL DEFAULT 0, "undone" INTEGER NOT NULL DEFAULT 0, "backend" TEXT,
   "model" TEXT, "score" REAL, "candidates" TEXT, "seconds" REAL, "tokens" INTEGER);
CREATE INDEX "idx_turns_conversation" ON "turns" ("conversation");
CREATE INDEX growing_turns on turns(id) where growing = 1;
CREATE VIRTUAL TABLE turns_index
   using fts5(terms, content='', columnsize=0, tokenize='ascii', prefix='5');
INSERT INTO conversations VALUES ('old1', '2026-01-02T03:04:05+09:00');
INSERT INTO turns (conversation, role, text, at) VALUES ('old1', 'user', 'ㅋ', '2026-01-02T03:04:05+09:00');
INSERT INTO turns_index (rowid, terms) VALUES (1, '0314b');
"""


def schema(path: Path) -> dict[str, str]:
    rows = sqlite3.connect(path).execute("select name, sql from sqlite_master where sql is not null")
    return {name: "".join(sql.lower().split()) for name, sql in rows}


def old_file() -> Path:
    path = default_path()
    path.parent.mkdir(mode=0o700)
    connection = sqlite3.connect(path)
    connection.executescript(BEFORE_VOTES)
    connection.close()
    return path


def test_a_file_from_before_votes_is_brought_up_to_date(tmp_path: Path) -> None:
    path = old_file()
    fresh = History(tmp_path / "fresh.db")
    history = History()
    assert schema(path) == schema(fresh.path)
    assert [record.turn.text for record in history.search("ㅋ")] == ["ㅋ"] and history.votes() == []
    judged(history, "안녕", "left")
    history.delete("old1")
    assert len(history.votes()) == 1 and history.search("ㅋ") == []


OPENER = "from chatbot.history import History; print(len(History().votes()))"


def test_several_programs_bring_one_old_file_up_to_date_at_once(home: Path) -> None:
    old_file()
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER],
            env={**os.environ, "CHATBOT_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for opener in openers:
        shown, trouble = opener.communicate(timeout=60)
        assert shown == "0\n", trouble

"""Conversations in one SQLite file: schema, migrations, queries.

Every turn is its own committed write, so a killed process loses nothing that was entered or
shown. The file is created for its owner alone (mode 0600); its journal files inherit the mode.

Korean search. SQLite's word index finds ``학교`` only at the start of a word, its trigram index
finds nothing under three letters. Here every pair of neighbouring characters is one term of a
full-text index, written as hexadecimal code points: a query is then a phrase of pairs, a single
letter a prefix, and both are exact for any script, jamo and emoji included.
"""

from __future__ import annotations

import importlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatbot.dialogue import Candidate, Conversation, Reply, Turn
from chatbot.errors import ChatbotError
from chatbot.resources import home_dir, private_dir
from chatbot.text import normalise

if TYPE_CHECKING:
    import sqlite_utils

    from chatbot.comparison import Outcome, Vote

BUSY_SECONDS = 10.0


class HistoryError(ChatbotError):
    """The history file cannot be opened, read or written."""


@dataclass(frozen=True)
class Record:
    """A stored turn: the turn, its place, and what is known of how it came about."""

    id: int
    conversation: str
    turn: Turn
    undone: bool
    reply: Reply | None


@dataclass(frozen=True)
class Summary:
    """One line of ``history list``."""

    id: str
    started: datetime
    last: datetime
    turns: int
    first_words: str


def default_path() -> Path:
    """Return the path of the user's history file."""
    return home_dir() / "history.db"


def bigrams(text: str) -> str:
    """Return the index terms of ``text``: each character with its successor, the last alone."""
    codes = [f"{ord(character):05x}" for character in text.casefold()]
    return " ".join(a + b for a, b in zip(codes, [*codes[1:], ""]))  # noqa: B905  # none for no text


def bigram_query(text: str) -> str:
    """Return the full-text query that finds ``text`` anywhere, also inside words."""
    terms = bigrams(text).split()
    return f'"{terms[0]}"*' if len(terms) == 1 else f'"{" ".join(terms[:-1])}"'


class History:
    """The store. Every method raises :class:`HistoryError` where the file gives trouble."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_path()
        with self._explained():
            private_dir(self.path.parent)
            # Opened by us first: SQLite would create it readable for everybody.
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            with suppress(PermissionError):  # somebody else's file keeps the mode its owner gave it
                os.fchmod(descriptor, 0o600)
            os.close(descriptor)
            connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = normal")
            connection.execute("pragma foreign_keys = on")
            self._db = _sqlite_utils().Database(connection)
            _migrate(self._db)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # --- writing

    def start(self, conversation: Conversation) -> None:
        """Record a conversation, once; later calls change nothing."""
        with self._explained():
            self._db["conversations"].insert(
                {"id": conversation.id, "started": datetime.now().astimezone().isoformat()}, ignore=True
            )

    def add_turn(self, conversation: Conversation, turn: Turn) -> int:
        """Store a finished turn and return its id."""
        with self._writing():
            turn_id = self._insert(conversation, turn)
            self._index(turn_id, turn.text)
        return turn_id

    def open_reply(self, conversation: Conversation, text: str, name: str | None = None) -> int:
        """Store the first piece of a reply before it is shown, in whose name it comes; return its id."""
        with self._writing():
            return self._insert(conversation, Turn("assistant", text, name=name), growing=1)

    def grow_reply(self, conversation: Conversation, turn_id: int, text: str) -> None:
        """Store a reply as far as it has come."""
        with self._explained():
            self._update(conversation, turn_id, {"text": text})

    def finish_reply(self, conversation: Conversation, turn_id: int, reply: Reply) -> None:
        """Store a reply whole, with everything known about it."""
        with self._writing():
            whole = {"text": reply.text, "growing": 0, **_reply_columns(reply)}
            if self._update(conversation, turn_id, whole):
                self._index(turn_id, reply.text)

    def mark_undone(self, conversation: Conversation, turn_ids: list[int]) -> None:
        """Mark turns as taken back; they stay, but are no longer part of the conversation."""
        with self._writing():
            for turn_id in turn_ids:
                self._update(conversation, turn_id, {"undone": 1})

    def add_vote(
        self, turn_id: int, left: Conversation, right: Conversation, labels: tuple[str, str], outcome: Outcome
    ) -> int:
        """Store which of two answers to one utterance was better; return the vote's id.

        Args:
            turn_id: the utterance as ``left`` has it, see :meth:`chatbot.session.Session.turn_id`.
            left: the conversation that stood left.
            right: the one that stood right; the same words were said in it.
            labels: who answered left and right, ``gpt`` or ``gpt:NAME``.
            outcome: which was better.
        """
        with self._explained():
            cursor = self._db.execute(
                """insert into votes
                   (at, turn, left_conversation, right_conversation, left_label, right_label, outcome)
                   values (?, ?, ?, ?, ?, ?, ?)""",
                [datetime.now().astimezone().isoformat(), turn_id, left.id, right.id, *labels, outcome],
            )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def delete(self, conversation_id: str) -> None:
        """Delete a conversation, its turns and the votes on it, and shrink what the file still holds."""
        with self._explained():
            with self._writing():
                for row in self._db.query(
                    "select id, text from turns where conversation = ? and growing = 0", [conversation_id]
                ):
                    self._db.execute(
                        "insert into turns_index(turns_index, rowid, terms) values ('delete', ?, ?)",
                        [row["id"], bigrams(row["text"])],
                    )
                self._db["turns"].delete_where("conversation = ?", [conversation_id])
                self._db["conversations"].delete_where("id = ?", [conversation_id])
                self._db.execute("insert into turns_index(turns_index) values ('optimize')")
            # Deleted text must not linger in free pages or in the journal.
            self._db.execute("vacuum")
            self._db.execute("pragma wal_checkpoint(truncate)")

    # --- reading

    def conversations(self) -> list[Summary]:
        """Return all conversations, the most recently used last."""
        with self._explained():
            rows = self._db.query(
                """select c.id, c.started, count(t.id) turns, max(t.at) last, max(t.id) newest,
                          (select text from turns where conversation = c.id and role = 'user'
                           order by id limit 1) first
                   from conversations c join turns t on t.conversation = c.id
                   group by c.id order by newest"""
            )
            return [
                Summary(
                    row["id"],
                    datetime.fromisoformat(row["started"]),
                    datetime.fromisoformat(row["last"]),
                    row["turns"],
                    row["first"] or "",
                )
                for row in rows
            ]

    def last_id(self) -> str | None:
        """Return the id of the conversation used last, ``None`` in an empty history."""
        with self._explained():
            row = self._db.execute("select conversation from turns order by id desc limit 1").fetchone()
            return row[0] if row else None

    def find(self, prefix: str) -> str:
        """Return the full id of the one conversation whose id starts with ``prefix``."""
        with self._explained():
            rows = self._db.execute(
                "select id from conversations where substr(id, 1, ?) = ?", [len(prefix), prefix]
            ).fetchall()
        if len(rows) == 1 and prefix:
            return rows[0][0]
        trouble = (
            f"'{prefix}'(으)로 시작하는 대화가 여럿이에요." if rows else f"'{prefix}'(이)라는 대화는 없어요."
        )
        raise HistoryError(f"{trouble} 'chatbot history list'에서 대화 번호를 확인해 주세요.")

    def records(self, conversation_id: str) -> list[Record]:
        """Return the turns of a conversation, oldest first, undone ones included."""
        with self._explained():
            rows = self._db.query("select * from turns where conversation = ? order by id", [conversation_id])
            return [_record(row) for row in rows]

    def load(self, conversation_id: str) -> Conversation:
        """Return a conversation as it stands, without the turns that were undone."""
        turns = [record.turn for record in self.records(conversation_id) if not record.undone]
        return Conversation(id=conversation_id, turns=turns)

    def votes(self) -> list[Vote]:
        """Return all votes, oldest first; the text of each is the utterance that was answered."""
        from chatbot.comparison import Vote

        with self._explained():
            rows = self._db.query(
                """select t.text, v.left_label, v.right_label, v.outcome
                   from votes v join turns t on t.id = v.turn order by v.id"""
            )
            return [Vote(r["text"], r["left_label"], r["right_label"], r["outcome"]) for r in rows]

    def search(self, text: str, limit: int = 50) -> list[Record]:
        """Return turns that contain ``text`` exactly (case aside), newest first."""
        needle = normalise(text)
        if not needle:
            return []
        with self._explained():
            rows = list(
                self._db.query(
                    """select * from turns where id in (select rowid from turns_index
                       where turns_index match ? order by rowid desc limit ?)""",
                    [bigram_query(needle), limit],
                )
            )
            # A reply cut off by a kill is not in the index yet.
            rows += self._db.query(
                "select * from turns where growing = 1 and instr(lower(text), ?)", [needle.lower()]
            )
        return sorted(map(_record, rows), key=lambda record: -record.id)[:limit]

    # --- inside

    def _insert(self, conversation: Conversation, turn: Turn, growing: int = 0) -> int:
        cursor = self._db.execute(
            "insert into turns (conversation, role, name, text, at, growing) values (?, ?, ?, ?, ?, ?)",
            [conversation.id, turn.role, turn.name, turn.text, turn.at.isoformat(), growing],
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _index(self, turn_id: int, text: str) -> None:
        self._db.execute("insert into turns_index(rowid, terms) values (?, ?)", [turn_id, bigrams(text)])

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the write lock over several statements.

        Taken at once: a transaction that reads first and then wants to write fails, without
        waiting, where another chat wrote in between.
        """
        with self._explained():
            self._db.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._db.rollback()
                raise
            self._db.execute("commit")

    def _update(self, conversation: Conversation, turn_id: int, columns: dict[str, Any]) -> bool:
        """Change a turn; tell whether it was there.

        A conversation that was deleted meanwhile stays so: its numbers may be another's by now.
        """
        named = ", ".join(f"{name} = ?" for name in columns)
        changed = self._db.execute(
            f"update turns set {named} where id = ? and conversation = ?",
            [*columns.values(), turn_id, conversation.id],
        )
        return changed.rowcount > 0

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn trouble with the file into one Korean sentence that names it and the remedy."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise HistoryError(f"대화 기록 {self.path} — {_reason(error)}") from error


def _reason(error: Exception) -> str:
    message = str(error).lower()
    if "readonly" in message or "read-only" in message or isinstance(error, PermissionError):
        return "쓸 수 있는 권한이 없어요. 파일과 폴더의 권한을 확인해 주세요."
    if "full" in message or getattr(error, "errno", None) == 28:
        return "디스크가 가득 찼어요. 공간을 비워 주세요."
    if "not a database" in message or "malformed" in message or "corrupt" in message:
        return "파일이 손상되었어요. 다른 이름으로 옮겨 두면 새로 만들어요."
    if "locked" in message or "busy" in message:
        return "다른 프로그램이 오래 쓰고 있어요. 그 프로그램을 닫고 다시 해 주세요."
    return f"열거나 쓸 수 없어요({error}). CHATBOT_HOME으로 다른 폴더를 지정할 수 있어요."


def _record(row: dict[str, Any]) -> Record:
    turn = Turn(row["role"], row["text"], datetime.fromisoformat(row["at"]), row["name"])
    reply = None
    if row["backend"]:
        reply = Reply(
            text=row["text"],
            backend=row["backend"],
            model=row["model"],
            score=row["score"],
            candidates=tuple(Candidate(*c) for c in json.loads(row["candidates"] or "[]")),
            seconds=row["seconds"],
            tokens=row["tokens"],
            reason=row["reason"],
        )
    return Record(row["id"], row["conversation"], turn, bool(row["undone"]), reply)


def _reply_columns(reply: Reply) -> dict[str, Any]:
    return {
        "backend": reply.backend,
        "model": reply.model,
        "score": reply.score,
        "candidates": json.dumps(reply.candidates, ensure_ascii=False),
        "seconds": reply.seconds,
        "tokens": reply.tokens,
        "reason": reply.reason,
    }


def _sqlite_utils() -> Any:
    """Import sqlite-utils without pandas.

    It loads pandas, where there is one, to map a column type that is never stored here; that
    alone would double the time to a first reply.
    """
    if "sqlite_utils" in sys.modules or "pandas" in sys.modules:
        return importlib.import_module("sqlite_utils")
    sys.modules["pandas"] = None  # type: ignore[assignment]  # an import of it now fails at once
    try:
        return importlib.import_module("sqlite_utils")
    finally:
        del sys.modules["pandas"]


def _migrate(db: sqlite_utils.Database) -> None:
    """Bring the schema up to date, waiting for another process that is doing so."""
    migrations = _sqlite_utils().Migrations("chatbot.history")

    @migrations()
    def m001_conversations_and_turns(db: sqlite_utils.Database) -> None:
        db.table("conversations").create({"id": str, "started": str}, pk="id", not_null={"started"})
        db.table("turns").create(
            {
                "id": int,
                "conversation": str,
                "role": str,
                "name": str,
                "text": str,
                "at": str,
                "growing": int,  # a reply that is still being written
                "undone": int,
                "backend": str,
                "model": str,
                "score": float,
                "candidates": str,
                "seconds": float,
                "tokens": int,
            },
            pk="id",
            not_null={"conversation", "role", "text", "at", "growing", "undone"},
            defaults={"growing": 0, "undone": 0},
            foreign_keys=[("conversation", "conversations", "id")],
        )
        db.table("turns").create_index(["conversation"])
        db.execute("create index growing_turns on turns(id) where growing = 1")
        # Contentless: the text stands in turns already, the index only finds it.
        db.execute(
            "create virtual table turns_index using fts5"
            "(terms, content='', columnsize=0, tokenize='ascii', prefix='5')"
        )

    @migrations()
    def m002_votes(db: sqlite_utils.Database) -> None:
        # Gone with either conversation: what is left of a deleted one would still be about it.
        db.execute(
            """create table votes (
                id integer primary key,
                at text not null,
                turn integer not null references turns(id) on delete cascade,
                left_conversation text not null references conversations(id) on delete cascade,
                right_conversation text not null references conversations(id) on delete cascade,
                left_label text not null,
                right_label text not null,
                outcome text not null check (outcome in ('left', 'right', 'both_good', 'both_bad'))
            )"""
        )
        db.table("votes").create_index(["turn"])
        db.table("votes").create_index(["left_conversation"])
        db.table("votes").create_index(["right_conversation"])

    @migrations()
    def m003_reasons(db: sqlite_utils.Database) -> None:
        db.table("turns").add_column("reason", str)

    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            if {applied.name for applied in migrations.applied(db)} != {
                m.name for m in migrations._migrations
            }:
                migrations.apply(db)
            return
        except sqlite3.Error as error:
            # Two chats opened a new file at once: the slower one finds its tables made.
            if (
                "already exists" not in str(error)
                and "duplicate column" not in str(error)
                and "UNIQUE" not in str(error)
                and "locked" not in str(error)
            ):
                raise
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)

"""The dialogue interface that screens and backends share. Imports nothing of ours.

A backend is any object with a ``name`` and a ``stream``; subclassing :class:`Backend` adds
``reply`` and ``reply_many`` on top of it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, runtime_checkable

Role = Literal["user", "assistant"]


@dataclass(frozen=True)
class Turn:
    """One utterance: who said what, and when (local time, with its zone)."""

    role: Role
    text: str
    at: datetime = field(default_factory=lambda: datetime.now().astimezone())
    name: str | None = None


@dataclass
class Conversation:
    """The turns of one talk, oldest first. ``style`` ``None`` means: mirror the user.

    ``rejected`` holds replies that were asked for again; a backend should find other words.
    """

    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    turns: list[Turn] = field(default_factory=list)
    style: Literal["polite", "casual"] | None = None
    rejected: list[str] = field(default_factory=list)

    def add(self, role: Role, text: str, name: str | None = None) -> Turn:
        """Append a turn and return it."""
        turn = Turn(role, text, name=name)
        self.turns.append(turn)
        return turn

    def said(self, role: Role) -> list[str]:
        """Return the texts of one side, oldest first."""
        return [turn.text for turn in self.turns if turn.role == role]

    def used(self) -> list[str]:
        """Return the replies that need other words now: those given, and those asked for again."""
        return self.said("assistant") + self.rejected


class Candidate(NamedTuple):
    """A reply that was considered: its text, its score and where it came from."""

    text: str
    score: float
    source: str


@dataclass(frozen=True)
class Reply:
    """A finished answer.

    ``score`` lies in 0..1 where the backend can judge itself; ``candidates`` are ordered best
    first; ``seconds`` is the time the answer took; ``tokens`` how many were generated; ``reason`` says
    why this one was chosen, where there was a choice.
    """

    text: str
    backend: str
    model: str | None = None
    score: float | None = None
    candidates: tuple[Candidate, ...] = ()
    seconds: float | None = None
    tokens: int | None = None
    reason: str | None = None


class Backend(Protocol):
    """What answers. Only ``name`` and ``stream`` need writing.

    One that makes up its words has a true ``invents``: it is not asked about groups of people. Where it
    quotes written words, too, ``written`` is a backend that does nothing else and is asked instead.
    """

    name: str

    def stream(self, conversation: Conversation) -> Iterator[str | Reply]:
        """Yield pieces of the answer to the last turn, the :class:`Reply` last.

        Joined, the pieces equal ``Reply.text``; without any, the text is shown at the end.
        Closing the iterator stops the work.
        """
        ...

    def reply(self, conversation: Conversation) -> Reply:
        """Return the answer whole: the last item of :meth:`stream`."""
        *_, reply = self.stream(conversation)
        if not isinstance(reply, Reply):
            raise TypeError(f"backend {self.name!r} ended its stream without a Reply")
        return reply

    def reply_many(self, conversations: Sequence[Conversation]) -> list[Reply]:
        """Answer several conversations, in order; a loop unless the backend can batch."""
        return [self.reply(conversation) for conversation in conversations]


@runtime_checkable
class Teachable(Protocol):
    """A backend that can learn an answer while talking."""

    def teach(self, question: str, answer: str) -> None:
        """Answer ``question`` with ``answer`` from now on."""
        ...


@runtime_checkable
class Adjustable(Protocol):
    """A backend with settings that may change while talking."""

    @property
    def settings(self) -> Mapping[str, object]:
        """Names and present values."""
        ...

    def adjust(self, name: str, value: str) -> None:
        """Change a setting; raises ``UsageError`` for a value it cannot take."""
        ...

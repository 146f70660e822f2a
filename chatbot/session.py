"""The conductor of a conversation: what no backend is to answer, backend, output filter, history.

Everything that answers a person goes through :meth:`Session.say`, or through :func:`ask_together`
where many are answered at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from chatbot import safety
from chatbot.dialogue import Backend, Conversation, Reply, Turn
from chatbot.errors import UsageError
from chatbot.history import History, HistoryError
from chatbot.privacy import StreamMasker, mask
from chatbot.style import reply_style
from chatbot.text import normalise, printable

Written = TypeVar("Written")


class _Made(NamedTuple):
    """A backend's answer before it is filtered, and in whose name it comes."""

    reply: Reply
    speaker: str | None


class Session:
    """One conversation with one backend at a time, written down as it goes.

    Args:
        backend: what answers; it may be replaced between two utterances.
        history: where turns are stored; ``None`` keeps nothing.
        conversation: one to go on with; a new one by default.
        warn: called with a Korean sentence when the history can no longer be written. The
            conversation then goes on unsaved.
    """

    def __init__(
        self,
        backend: Backend,
        history: History | None = None,
        *,
        conversation: Conversation | None = None,
        warn: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.backend = backend
        self.history = history
        self.conversation = conversation or Conversation()
        self.last_reply: Reply | None = None
        self.speaker: str | None = None  # in whose name the last reply came, None: the bot's own
        self._warn = warn
        self._ids: dict[Turn, int] = {}
        self._judged: dict[Turn, str | None] = {}
        if history and conversation:
            records = [record for record in history.records(conversation.id) if not record.undone]
            self._ids = {record.turn: record.id for record in records}
            self.last_reply = next((r.reply for r in reversed(records) if r.reply), None)

    def say(self, text: str) -> Generator[str | Reply, None, None]:
        """Answer ``text``: yield pieces to show, then the :class:`Reply`.

        The utterance is stored before anything is worked out, and every piece before it is
        yielded, so what was shown is never lost. Closing the iterator, or an exception in it,
        stops the backend and keeps the reply as far as it was shown.

        Raises:
            UsageError: nothing is left of ``text`` without white space and control characters.
        """
        self._hear(_said(text))
        yield from self._answer()

    def ask(self, text: str) -> Reply:
        """Answer ``text`` whole."""
        return _last(self.say(text))

    def retry(self) -> Generator[str | Reply, None, None]:
        """Take back the last reply and answer the last utterance again; nothing without one."""
        if self.conversation.turns and self.conversation.turns[-1].role == "assistant":
            self.conversation.rejected.append(self.conversation.turns[-1].text)
            self._take_back(1)
        if self.conversation.turns:
            yield from self._answer()

    def undo(self) -> Turn | None:
        """Take back the last utterance and its reply; return the utterance, ``None`` if there is none.

        In the history both stay, marked.
        """
        places = [i for i, turn in enumerate(self.conversation.turns) if turn.role == "user"]
        if not places:
            return None
        taken = self.conversation.turns[places[-1]]
        self._take_back(len(self.conversation.turns) - places[-1])
        return taken

    def restart(self) -> None:
        """Begin a new conversation; the style that was set stays."""
        self.conversation = Conversation(style=self.conversation.style)
        self.last_reply = None

    def turn_id(self, turn: Turn) -> int | None:
        """Return the id under which the history has a turn; ``None`` where it was not stored."""
        return self._ids.get(turn)

    def _hear(self, text: str) -> None:
        turn = self.conversation.add("user", text)
        self._write(History.start, self.conversation)
        row = self._write(History.add_turn, self.conversation, turn)
        if row is not None:
            self._ids[turn] = row

    def _answer(self, made: _Made | None = None) -> Generator[str | Reply, None, None]:
        started = time.perf_counter()
        row: int | None = None
        shown = ""
        reply: Reply | None = None
        pieces = self._pieces(made)
        try:
            for piece in pieces:
                if isinstance(piece, Reply):
                    reply = piece
                    break
                shown += piece
                if row is None:
                    row = self._write(History.open_reply, self.conversation, shown, self.speaker)
                else:
                    self._write(History.grow_reply, self.conversation, row, shown)
                yield piece
        finally:
            pieces.close()
            if reply is None and shown:  # stopped on the way: what was shown is what was said
                reply = Reply(shown, self.backend.name, seconds=time.perf_counter() - started)
            if reply is not None:
                self._keep(reply, row)
        assert reply is not None
        yield reply

    def _keep(self, reply: Reply, row: int | None) -> None:
        turn = self.conversation.add("assistant", reply.text, self.speaker)
        self.last_reply = reply
        if row is None:
            row = self._write(History.open_reply, self.conversation, reply.text, self.speaker)
        if row is not None:
            self._write(History.finish_reply, self.conversation, row, reply)
            self._ids[turn] = row

    def _kept_back(self, turn: Turn, backend: Backend) -> str | None:
        """Return why a backend is not to hear a turn, if so: the danger it speaks of, or ``group``.

        Talk of groups is kept from what makes up its words alone. Each turn is judged once, however long
        the talk.
        """
        if turn not in self._judged:
            danger = safety.crisis(turn.text)
            self._judged[turn] = safety.GROUP if not danger and safety.about_group(turn.text) else danger
        label = self._judged[turn]
        return None if label == safety.GROUP and not getattr(backend, "invents", False) else label

    def _for_backend(self, backend: Backend) -> Conversation:
        """Return what a backend may hear of the conversation, and what was answered to that."""
        heard: list[Turn] = []
        kept_back = False
        for turn in self.conversation.turns:
            if turn.role == "user":
                kept_back = self._kept_back(turn, backend) is not None
            if not kept_back:
                heard.append(turn)
        if len(heard) == len(self.conversation.turns):
            return self.conversation
        return replace(self.conversation, turns=heard)

    def _pieces(self, made: _Made | None) -> Generator[str | Reply, None, None]:
        """Yield what may be shown: our own reply, or a backend's with personal data masked.

        ``made`` is what the backend answered, ``None`` where it has not been asked yet.
        """
        self.speaker = None
        backend = self.backend
        label = self._kept_back(self.conversation.turns[-1], backend)
        if label == safety.GROUP and (written := getattr(backend, "written", None)):
            backend, label = written, None
        if label:
            style = reply_style(self.conversation)
            if label == safety.GROUP:
                reply = safety.group_reply(self.conversation, style)
            else:
                reply = safety.crisis_reply(label, self.conversation, style)
            yield reply.text
            yield reply
            return
        masker, shown, heard = StreamMasker(), "", False
        answer: Iterator[str | Reply] = (
            iter([made.reply]) if made else backend.stream(self._for_backend(backend))
        )
        for piece in answer:
            self.speaker = made.speaker if made else getattr(backend, "speaker", None)
            if isinstance(piece, Reply):
                unsaid = "" if heard else printable(piece.text)
                safe = masker.feed(unsaid) + masker.flush()
            else:
                heard = True
                safe = masker.feed(printable(piece))
            if not safety.acceptable(shown + safe):
                self.speaker = None
                deflection = safety.deflection(reply_style(self.conversation))
                yield f" {deflection}" if shown else deflection
                yield Reply(f"{shown} {deflection}".strip(), safety.BACKEND)
                return
            shown += safe
            if safe:
                yield safe
            if isinstance(piece, Reply):
                candidates = tuple(
                    c._replace(text=mask(printable(c.text)))
                    for c in piece.candidates
                    if safety.acceptable(c.text)
                )
                yield replace(piece, text=shown, candidates=candidates)
                return
        raise TypeError(f"backend {self.backend.name!r} ended its stream without a Reply")

    def _take_back(self, count: int) -> None:
        taken = self.conversation.turns[-count:]
        del self.conversation.turns[-count:]
        self.last_reply = None
        ids = [self._ids[turn] for turn in taken if turn in self._ids]
        self._write(History.mark_undone, self.conversation, ids)

    def _write(self, method: Callable[..., Written], *arguments: object) -> Written | None:
        """Write to the history; the first failure ends the writing, not the conversation."""
        if self.history is None:
            return None
        try:
            return method(self.history, *arguments)
        except HistoryError as error:
            self.history = None
            self._warn(f"{error} 지금부터의 대화는 저장되지 않아요.")
            return None


def ask_together(sessions: Sequence[Session], texts: Sequence[str]) -> list[Reply]:
    """Answer one text in each of several sessions, which share a backend, in batches where it can.

    What comes out is what :meth:`Session.ask` would say one by one; what is kept from the backend there is
    kept from it here.

    Raises:
        UsageError: as :meth:`Session.say`, before anything is answered.
    """
    said = [_said(text) for text in texts]
    for session, text in zip(sessions, said, strict=True):
        session._hear(text)
    asked = [s for s in sessions if not s._kept_back(s.conversation.turns[-1], s.backend)]
    made = _make(asked)
    return [_last(session._answer(made.get(session))) for session in sessions]


def _make(sessions: Sequence[Session]) -> dict[Session, _Made]:
    """Return the backend's answers in all sessions; none where it cannot batch."""
    if not sessions:
        return {}
    backend = sessions[0].backend
    reply_many = getattr(backend, "reply_many", None)
    if reply_many is None or getattr(reply_many, "__func__", None) is Backend.reply_many:
        return {}  # answered one after the other, as by say
    replies = reply_many([session._for_backend(backend) for session in sessions])
    # A backend that speaks now in one name, now in another, says whose each answer was.
    speakers = getattr(backend, "speakers", None) or [getattr(backend, "speaker", None)] * len(replies)
    return dict(zip(sessions, map(_Made, replies, speakers), strict=True))


def _said(text: str) -> str:
    text = normalise(text)
    if not text:
        raise UsageError("빈 말에는 대답할 수 없어요. 한 글자라도 써 주세요.")
    return text


def _last(answer: Generator[str | Reply, None, None]) -> Reply:
    *_, reply = answer
    assert isinstance(reply, Reply)
    return reply

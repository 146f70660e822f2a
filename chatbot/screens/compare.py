"""Answers of several contenders to the same words, side by side."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from chatbot import safety
from chatbot.backends import OpeningBackend, prepared
from chatbot.comparison import Round, snapshot
from chatbot.dialogue import Conversation, Reply
from chatbot.errors import explain
from chatbot.screens.commands import COMMANDS, hint, split_command
from chatbot.screens.console import output, plain
from chatbot.screens.talk import Loading, new_prompt, typed, waiting
from chatbot.screens.voting import SIDES, Ballot
from chatbot.session import Session
from chatbot.text import one_line

_NARROWEST = 26  # columns of the terminal that one answer needs: eleven syllables a line
_REDRAWN = 0.05  # seconds between two pictures of an answer that grows
_HELP = {"help": "이 목록", "new": "모두 새 대화", "quit": "나가기"}


@dataclass
class Column:
    """One contender's answer on the screen, as far as it has come."""

    label: str
    session: Session
    before: Conversation
    said: str = ""
    reply: Reply | None = None
    trouble: str = ""  # why there is no answer
    asked: bool = False

    def fill(self, question: str) -> Iterator[None]:
        """Let the contender answer; give way after every piece."""
        self.asked = True
        try:
            with closing(self.session.say(question)) as answer:
                for piece in answer:
                    if isinstance(piece, Reply):
                        self.reply = piece
                    else:
                        self.said += piece
                    yield
        except Exception as error:  # one that fails must not keep the others from answering
            if os.environ.get("CHATBOT_DEBUG"):
                raise
            self.trouble = explain(error)

    def panel(self, title: str, *, blind: bool = False) -> Panel:
        """Return the answer in a frame; ``blind`` leaves out what gives away whose it is."""
        below = plain("") if blind or self.reply is None else _facts(self.label, self.reply)
        if self.trouble:
            below = plain(self.trouble, "red")
        text = self.reply.text if self.reply else self.said
        body = plain(text) if text or self.trouble else plain(self._pending, "dim")
        return _panel(title, body, below)

    @property
    def _pending(self) -> str:
        return "생각하는 중" if self.asked else "기다리는 중"


# --- one question


def ask_all(console: Console, sessions: Mapping[str, Session], question: str) -> tuple[list[Column], bool]:
    """Let all answer, one after the other so that seconds are honest, each on screen as it comes.

    Returns the columns, and whether nobody stopped the answers.
    """
    columns = [_column(label, session) for label, session in sessions.items()]
    wide = _fits(console, len(columns))
    for group in [columns] if wide else [[column] for column in columns]:
        finished = _answer_live(console, group, question)
        print_columns(console, [column.panel(column.label) for column in group])
        if not finished:
            console.print(plain("(멈췄어요)", "dim"))
            return columns, False
    return columns, True


def _answer_live(console: Console, columns: Sequence[Column], question: str) -> bool:
    """Show columns that fill, then nothing: what stays on the screen is printed once they are full."""
    with Live(console=console, transient=True, auto_refresh=False, vertical_overflow="crop") as live:
        drawn = 0.0
        try:
            for column in columns:
                _draw(live, columns)
                for _ in column.fill(question):
                    if time.monotonic() - drawn > _REDRAWN:
                        _draw(live, columns)
                        drawn = time.monotonic()
        except KeyboardInterrupt:
            return False
    return True


def _draw(live: Live, columns: Sequence[Column]) -> None:
    live.update(_side_by_side([column.panel(column.label) for column in columns]), refresh=True)


def ask_blind(console: Console, sessions: Mapping[str, Session], question: str, ballot: Ballot) -> bool:
    """Show two answers without names, once both are there, and take a vote.

    Streaming, seconds and scores would tell who is who. Where somebody stops it or one cannot answer, both
    forget the question, so that the conversations stay alike. Returns whether both have answered.
    """
    columns = [_column(label, session) for label, session in sessions.items()]
    with suppress(KeyboardInterrupt), console.status("생각하는 중"):
        for column in columns:
            for _ in column.fill(question):
                pass
    replies = [column.reply for column in columns if column.reply]
    if len(replies) < len(columns):
        for column in columns:
            if column.asked:
                column.session.undo()
            if column.trouble:
                console.print(plain(column.trouble, "red"))
        console.print(plain("(멈췄어요. 이 말은 없던 것으로 해요.)", "dim"))
        return False
    named = zip(SIDES, columns, strict=True)
    print_columns(console, [column.panel(side, blind=True) for side, column in named])
    ballot.vote(console, columns[0].session, columns[1].session, replies)
    return True


# --- a talk


def talk_side_by_side(
    sessions: Mapping[str, Session], loading: Loading, ballot: Ballot | None = None
) -> None:
    """Let a person talk with all at once until they leave; each column keeps its own conversation.

    With a ballot two are drawn for every conversation, their names hidden until it ends.
    """
    console = output(soft_wrap=False)
    prompt = new_prompt(_HELP)
    console.print(plain("한마디에 모두 대답해요. /help 도움말 · /new 새 대화 · Ctrl-D 나가기", "dim"))
    drawn = ballot.draw(sessions) if ballot else sessions
    for line in typed(prompt, console):
        name, _ = split_command(line, [*_HELP, *COMMANDS]) or ("", "")
        if name == "quit":
            break
        if name == "new":
            if ballot:
                ballot.reveal(console)
            for session in sessions.values():
                session.restart()
            drawn = ballot.draw(sessions) if ballot else sessions
            console.print(plain("새 대화를 시작해요.", "dim"))
        elif name:
            _help(console, name)
        else:
            try:
                wait_for_all(console, sessions, loading)
                if ballot:
                    ask_blind(console, drawn, line, ballot)
                else:
                    ask_all(console, drawn, line)
            except KeyboardInterrupt:
                console.print(plain("(멈췄어요)", "dim"))
            except EOFError:  # Ctrl-D in place of a vote
                break
    if ballot:
        ballot.reveal(console)
    console.print(plain("다음에 또 견주어 봐요.", "dim"))


def wait_for_all(console: Console, sessions: Mapping[str, Session], loading: Loading) -> None:
    """Wait until all backends are open, so that no answer pays for loading; print what they note, once."""
    opening = [session for session in sessions.values() if isinstance(session.backend, OpeningBackend)]
    if not opening:
        return
    notes: dict[str, None] = {}
    with waiting(loading):
        for session in opening:
            session.backend = prepared(session.backend)
            notes |= dict.fromkeys(getattr(session.backend, "notes", ()))
    for note in notes:
        console.print(plain(note, "dim"))


def _help(console: Console, name: str) -> None:
    if name in COMMANDS and name not in _HELP:
        console.print(
            plain(f"여럿과 이야기할 때는 /{name} 명령을 쓸 수 없어요. /help로 모두 볼 수 있어요.", "dim")
        )
        return
    if name not in _HELP:
        console.print(plain(hint(name, [*_HELP, *COMMANDS]), "dim"))
        return
    for command, meaning in _HELP.items():
        console.print(plain(f"/{command}  {meaning}"))
    console.print(plain("Alt+Enter 줄바꿈 · Ctrl-C 답 멈추기 · Ctrl-D 나가기", "dim"))


# --- what is printed


def print_rounds(rounds: Sequence[Round]) -> None:
    """Print all rounds: columns on a terminal; in a pipe lines, each with the question in front."""
    if not sys.stdout.isatty():
        for asked in rounds:
            for line in answer_lines(asked.replies):
                sys.stdout.write(f"{one_line(asked.question)}\t{line}\n")
        return
    console = output(soft_wrap=False)
    for asked in rounds:
        print_question(console, asked.question)
        print_columns(console, [answer_panel(label, reply) for label, reply in asked.replies.items()])


def print_question(console: Console, question: str) -> None:
    """Print what was asked, where it does not stand on the line it was typed on."""
    console.print(plain(f"나 › {question}", "bold cyan"))


def answer_lines(replies: Mapping[str, Reply]) -> Iterator[str]:
    """Yield a line an answer: label, seconds, score (empty where there is none) and text, tabs between."""
    for label, reply in replies.items():
        score = "" if reply.score is None else f"{reply.score:.3f}"
        yield "\t".join([label, f"{reply.seconds or 0:.3f}", score, one_line(reply.text)])


def print_columns(console: Console, panels: Sequence[RenderableType]) -> None:
    """Print panels side by side, or one below the other where it is narrow."""
    together = _side_by_side(panels) if _fits(console, len(panels)) else Group(*panels)
    console.print(together, soft_wrap=False)


def _fits(console: Console, columns: int) -> bool:
    return console.width >= _NARROWEST * columns


def _side_by_side(panels: Sequence[RenderableType]) -> Table:
    columns = Table.grid(expand=True)
    for _ in panels:
        columns.add_column(ratio=1, overflow="fold")  # Rich cuts syllables where it does not fold
    columns.add_row(*panels)
    return columns


def answer_panel(label: str, reply: Reply) -> Panel:
    """Return a finished answer in a frame, with what is known about it."""
    return _panel(label, plain(reply.text), _facts(label, reply))


def _panel(title: str, body: Text, below: Text) -> Panel:
    # The name stands inside: a title in the frame would be cut where it is narrow.
    parts = [plain(title, "bold green"), body]
    if below.plain:
        parts += [Text(""), below]
    return Panel(Group(*parts), box=box.ROUNDED)


def reply_facts(reply: Reply) -> list[str]:
    """Return score, tokens and tokens per second of an answer, as far as it has them."""
    facts = []
    if reply.score is not None:
        facts.append(f"점수 {reply.score:.3f}")
    if reply.tokens:
        facts.append(f"{reply.tokens}토큰")
    if reply.tokens and reply.seconds:
        facts.append(f"{reply.tokens / reply.seconds:.0f}토큰/초")
    return facts


def _facts(label: str, reply: Reply) -> Text:
    """Return model, time, speed and score of an answer and, where it was found, the question it answers.

    Nothing where no backend was asked; to a person in need figures would be cold comfort.
    """
    if reply.backend == safety.BACKEND:
        return plain("")
    facts = [reply.model] if reply.model and reply.model not in label else []
    if reply.seconds is not None:
        facts.append(f"{reply.seconds:.3f}초")
    facts += reply_facts(reply)
    below = plain(" · ".join(facts), "dim")
    for line in (reply.reason, reply.candidates[0].source if reply.candidates else None):
        if line:
            below = Text.assemble(below, "\n", plain(line, "dim"))
    return below


def _column(label: str, session: Session) -> Column:
    return Column(label, session, snapshot(session.conversation))

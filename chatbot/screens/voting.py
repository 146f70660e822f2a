"""Blind votes on a terminal: names hidden, sides drawn by lot, one key a vote."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

import click
from rich.console import Console

from chatbot import safety
from chatbot.comparison import Outcome
from chatbot.dialogue import Reply
from chatbot.history import History, HistoryError
from chatbot.screens.console import plain
from chatbot.session import Session

SIDES = ("1 왼쪽", "2 오른쪽")
# Digits, since a Korean input method is on; arrows as terminals and the Windows console send them.
_KEYS: dict[str, Outcome | None] = {
    **dict.fromkeys(("1", "\x1b[D", "\x1bOD", "\xe0K"), "left"),
    **dict.fromkeys(("2", "\x1b[C", "\x1bOC", "\xe0M"), "right"),
    "3": "both_good",
    "4": "both_bad",
    **dict.fromkeys(("0", "s", "S", "ㄴ")),
}
_SAID: dict[Outcome | None, str] = {
    "left": "왼쪽이 나아요",
    "right": "오른쪽이 나아요",
    "both_good": "둘 다 좋아요",
    "both_bad": "둘 다 나빠요",
    None: "건너뛰었어요",
}


class Ballot:
    """Draws two of the contenders for a conversation, takes votes on them and says who they were.

    Args:
        history: where votes are stored, and the conversations they are about.
        lot: draws the two and their sides.
    """

    def __init__(self, history: History, lot: random.Random | None = None) -> None:
        self._history, self._lot = history, lot or random.Random()
        self._names: tuple[str, str] = ("", "")
        self._seen = False

    def draw(self, sessions: Mapping[str, Session]) -> dict[str, Session]:
        """Return two of the sessions by label, the left one first."""
        left, right = self._lot.sample(list(sessions), 2)
        self._names, self._seen = (left, right), False
        return {label: sessions[label] for label in self._names}

    def vote(self, console: Console, left: Session, right: Session, replies: Sequence[Reply]) -> None:
        """Ask which answer is better and store what is said; words that no backend chose are not judged."""
        self._seen = True
        if any(reply.backend == safety.BACKEND for reply in replies):
            return
        console.print(
            plain("어느 쪽이 나아요? 1 ← 왼쪽 · 2 → 오른쪽 · 3 둘 다 좋음 · 4 둘 다 나쁨 · 0 건너뛰기", "dim")
        )
        outcome = _pressed()
        turn = next(t for t in reversed(left.conversation.turns) if t.role == "user")
        number = left.turn_id(turn)
        console.print(plain(_SAID[outcome], "bold cyan"))
        if not outcome:
            return
        try:
            if number is None or not right.history:
                raise HistoryError("대화를 저장할 수 없어요.")
            self._history.add_vote(number, left.conversation, right.conversation, self._names, outcome)
        except HistoryError as error:  # one vote that is lost must not end the talk
            console.print(plain(f"{error} 이 표는 세지 않아요.", "red"))

    def reveal(self, console: Console) -> None:
        """Say who stood where, where something was seen of them."""
        if self._seen:
            console.print(plain(f"왼쪽: {self._names[0]} · 오른쪽: {self._names[1]}", "bold green"))
        self._seen = False


def _pressed() -> Outcome | None:
    """Wait for one of the keys that mean something; ``None`` for no vote."""
    _forget_typed()
    while True:
        keys = click.getchar()
        for key in (keys, keys[:1]):  # somebody types more than one at a time
            if key in _KEYS:
                return _KEYS[key]


def _forget_typed() -> None:
    """Forget what was typed while the answers were being made: nobody votes before reading."""
    with suppress(ImportError, OSError):
        import termios

        termios.tcflush(sys.stdin, termios.TCIFLUSH)

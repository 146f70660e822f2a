from __future__ import annotations

import io

from rich.console import Console

from chatbot.dialogue import Candidate, Conversation, Reply
from chatbot.screens.commands import Commands
from chatbot.session import Session
from tests.conftest import ScriptedBackend


def why(width: int, text: str) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, markup=False, highlight=False)
    session = Session(ScriptedBackend())
    session.conversation = Conversation()
    session.last_reply = Reply(text, "x", candidates=(Candidate(text, 0.5, text),))
    Commands(session, console, lambda name: session.backend).run("why", "")
    return file.getvalue()


def test_no_syllable_is_lost_in_a_narrow_table() -> None:
    text = "선풍기 앞을 떠날 수가 없는 팬 하기 참 좋은 날이지"
    for width in range(30, 80):
        shown = why(width, text)
        assert "…" not in shown
        assert shown.count("참") == 2 and shown.count("날") == 4, f"{width}:\n{shown}"

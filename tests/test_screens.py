from __future__ import annotations

import io

from rich.cells import cell_len
from rich.console import Console

from chatbot.dialogue import Candidate, Conversation, Reply
from chatbot.screens.commands import Commands
from chatbot.screens.compare import _panel, _print_columns
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


def test_answers_stand_side_by_side_and_one_below_the_other_where_it_is_narrow() -> None:
    replies = [
        Reply(
            "푹 쉬어.", "retrieval", "encoder", 0.8, (Candidate("푹 쉬어.", 0.8, "tired-01 ← 피곤해"),), 0.01
        ),
        Reply("[bold]오늘[/bold] 고생했어.", "gpt", "small", 0.2, (), 0.5, 10),
    ]
    for width, side_by_side in ((140, True), (80, True), (50, False)):
        file = io.StringIO()
        console = Console(file=file, width=width, markup=False, highlight=False, soft_wrap=True)
        _print_columns(console, [_panel(reply) for reply in replies])
        lines = file.getvalue().splitlines()
        assert all(cell_len(line) <= width for line in lines)
        assert any("푹 쉬어" in line and "고생했어" in line for line in lines) is side_by_side
        assert "tired-01 ← 피곤해" in file.getvalue() and "20토큰/초" in file.getvalue()
        assert "[bold]오늘" in file.getvalue()

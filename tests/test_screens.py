from __future__ import annotations

import io
from datetime import datetime

import pytest
from rich.console import Console

from chatbot.dialogue import Candidate, Conversation, Reply
from chatbot.history import Summary
from chatbot.screens.commands import Commands
from chatbot.screens.progress import ProgressReport
from chatbot.screens.records import print_conversations
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


def test_a_conversation_is_one_line_of_the_list_in_a_pipe_and_folded_on_a_terminal() -> None:
    words = "어제 본 영화 이야기인데 " * 20
    summary = Summary("3fa9c1d2", datetime(2026, 11, 1), datetime(2026, 11, 2, 9, 30), 12, words)

    def shown(terminal: bool) -> list[str]:
        file = io.StringIO()
        print_conversations(
            Console(file=file, width=60, force_terminal=terminal, color_system=None), [summary]
        )
        return file.getvalue().splitlines()

    assert len(shown(False)) == 2 and shown(False)[1].endswith(words.strip())
    assert len(shown(True)) > 5 and all(len(line) <= 60 for line in shown(True))


def test_outside_a_terminal_every_stage_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressReport("학습하는 중") as report:
        for total in (20, 30, 30):
            for done in range(1, total + 1):
                report(done, total)
    lines = capsys.readouterr().err.splitlines()
    assert lines.count("학습하는 중 30/30") == 2 and lines.count("학습하는 중 20/20") == 1
    assert len(lines) <= 3 * 11

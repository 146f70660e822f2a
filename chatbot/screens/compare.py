"""Answers of several backends to one question, side by side."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from chatbot.dialogue import Reply
from chatbot.screens.console import output, plain
from chatbot.text import one_line

_NARROWEST = 30  # columns of the terminal that one answer needs


def print_replies(question: str, replies: Sequence[Reply]) -> None:
    """Print answers in columns on a terminal, one below the other where it is narrow; in a pipe as lines.

    A line holds backend, seconds, score (empty where there is none) and answer, with tabs between.
    """
    if not sys.stdout.isatty():
        for reply in replies:
            score = "" if reply.score is None else f"{reply.score:.3f}"
            line = [reply.backend, f"{reply.seconds or 0:.3f}", score, one_line(reply.text)]
            sys.stdout.write("\t".join(line) + "\n")
        return
    console = output()
    console.print(plain(f"나 › {question}", "bold cyan"))
    _print_columns(console, [_panel(reply) for reply in replies])


def _print_columns(console: Console, panels: Sequence[Panel]) -> None:
    if console.width < _NARROWEST * len(panels):
        console.print(Group(*panels), soft_wrap=False)
        return
    columns = Table.grid(expand=True, padding=(0, 1))
    for _ in panels:
        columns.add_column(ratio=1)
    columns.add_row(*panels)
    console.print(columns, soft_wrap=False)


def _panel(reply: Reply) -> Panel:
    facts = [] if reply.seconds is None else [f"{reply.seconds:.3f}초"]
    if reply.score is not None:
        facts.append(f"점수 {reply.score:.3f}")
    if reply.tokens:
        facts.append(f"{reply.tokens}토큰")
    if reply.tokens and reply.seconds:
        facts.append(f"{reply.tokens / reply.seconds:.0f}토큰/초")
    below = plain(" · ".join(facts), "dim")
    if reply.candidates:
        below = Text.assemble(below, "\n", plain(reply.candidates[0].source, "dim"))
    title = f"{reply.backend} ({reply.model})" if reply.model else reply.backend
    return Panel(Group(plain(reply.text), Text(""), below), title=plain(title, "bold green"), box=box.ROUNDED)

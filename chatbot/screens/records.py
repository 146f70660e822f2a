"""Past conversations on the screen."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chatbot.history import Record, Summary
from chatbot.screens.console import plain
from chatbot.text import normalise, one_line

_UNFOLDED = 10_000  # columns
SPEAKERS = {"user": "나", "assistant": "마루"}


def print_conversations(console: Console, summaries: list[Summary]) -> None:
    """Print a line per conversation, the most recent last; in a pipe whole, however long its first words."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for title in ("번호", "마지막", "말", "첫마디"):
        # Folded, since Rich counts a Hangul syllable as one column where it cuts.
        table.add_column(title, overflow="fold", justify="right" if title == "말" else "left")
    for summary in summaries:
        table.add_row(
            summary.id,
            f"{summary.last:%Y-%m-%d %H:%M}",
            str(summary.turns),
            plain(one_line(summary.first_words)),
        )
    if not console.is_terminal:
        console.width = _UNFOLDED
    console.print(table)


def print_records(console: Console, records: list[Record]) -> None:
    """Print the turns of a conversation."""
    for record in records:
        console.print(_line(record, f"{record.turn.at:%m-%d %H:%M}"))


def print_hits(console: Console, records: list[Record], needle: str) -> None:
    """Print search hits with what was found marked."""
    for record in records:
        line = _line(record, f"{record.turn.at:%Y-%m-%d %H:%M} {record.conversation}")
        line.highlight_regex(re.compile(re.escape(normalise(needle)), re.IGNORECASE), "reverse")
        console.print(line)
    if not records:
        console.print(plain(f"'{needle}'이(가) 들어간 말은 없어요.", "dim"))


def record_json(record: Record) -> dict[str, Any]:
    """Return a stored turn with the field names of the dialogue classes."""
    reply = record.reply
    return {
        "id": record.id,
        "conversation": record.conversation,
        "role": record.turn.role,
        "name": record.turn.name,
        "text": record.turn.text,
        "at": record.turn.at.isoformat(),
        "undone": record.undone,
        "backend": reply and reply.backend,
        "model": reply and reply.model,
        "score": reply and reply.score,
        "candidates": [c._asdict() for c in reply.candidates] if reply else [],
        "seconds": reply and reply.seconds,
        "tokens": reply and reply.tokens,
        "reason": reply and reply.reason,
    }


def _line(record: Record, place: str) -> Text:
    name = record.turn.name or SPEAKERS[record.turn.role]
    line = Text.assemble((place, "dim"), " ", plain(name, "bold"), " ", plain(record.turn.text))
    if record.undone:
        line.append(" (되돌림)", "dim")
    return line

"""Consoles, made so that no text from outside can style or drive the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from chatbot.text import printable


def output(soft_wrap: bool = True) -> Console:
    """Return the console for answers: standard output, markup off.

    ``soft_wrap`` leaves it to the terminal to break long lines.
    """
    return Console(markup=False, highlight=False, emoji=False, soft_wrap=soft_wrap)


def notes() -> Console:
    """Return the console for progress and notes: standard error, markup off."""
    return Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)


def plain(text: str, style: str = "") -> Text:
    """Return text from outside as literal text, control codes removed."""
    return Text(printable(text), style=style)

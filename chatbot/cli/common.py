"""What the commands share: notes, JSON, questions before something is gone for good."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from chatbot.errors import ChatbotError, UsageError

if TYPE_CHECKING:
    from chatbot.dialogue import Reply


def sure(question: str, yes: bool) -> bool:
    """Ask before something is gone for good; in a pipe ``--yes`` must have been given."""
    if not yes and not sys.stdin.isatty():
        raise UsageError("지우려면 --yes를 붙여 주세요.")
    return yes or typer.confirm(question, err=True)


def write_out(path: Path, text: str, option: str = "--out") -> None:
    """Write what ``--out``, or another option, asked for, for its owner alone."""
    from chatbot.resources import write_private

    try:
        write_private(path, text)
    except OSError as error:
        raise _cannot_write(path, option, error) from error


def _cannot_write(path: Path, option: str, error: OSError) -> ChatbotError:
    return ChatbotError(f"{option} {path}: 쓸 수 없어요({error.strerror}). 다른 곳을 지정해 주세요.")


def check_writable(path: Path, option: str) -> None:
    """Make sure that a file can be written there before the work for it begins.

    Raises:
        ChatbotError: it is a folder, or there can be no file at that place.
    """
    from chatbot.resources import private_dir

    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not path.exists() and not os.access(private_dir(path.resolve().parent), os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _cannot_write(path, option, error) from error


def print_json(value: Any) -> None:
    """Print one JSON value on a line of its own."""
    typer.echo(json.dumps(value, ensure_ascii=False, default=str))


def say(message: str) -> None:
    """Say something on standard error."""
    from chatbot.text import printable

    typer.echo(printable(message), err=True)


def announce_server(backend: str, given: dict[str, Any]) -> None:
    """Say on which other machine a backend's server is, before anything is said to it.

    Raises:
        UsageError: the URL makes no sense, or may not be used without ``--allow-remote``.
    """
    if backend == "remote":
        from chatbot.backends.remote import server_at

        note = server_at(given["url"], given["allow_remote"]).note
        if note:
            say(note)


def question_of(text: list[str] | None, example: str) -> str:
    """Return what was asked, as an argument or on standard input."""
    from chatbot.text import normalise

    question = normalise(" ".join(text) if text else "" if sys.stdin.isatty() else sys.stdin.read())
    if not question:
        raise UsageError(f"물어볼 말이 없어요. {example}처럼 써 주세요.")
    return question


def chosen_style(name: str) -> Literal["polite", "casual"] | None:
    """Return the speech level that ``--style`` names; ``None`` for ``auto``."""
    return "polite" if name == "polite" else "casual" if name == "casual" else None


def reply_json(reply: Reply, k: int | None = None) -> dict[str, Any]:
    """Return a reply under the names of its fields, with its ``k`` best candidates."""
    return {**dataclasses.asdict(reply), "candidates": [c._asdict() for c in reply.candidates[:k]]}

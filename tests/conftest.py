from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: more threads would only wait
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from chatbot.dialogue import Backend, Conversation, Reply

ROOT = Path(__file__).resolve().parent.parent
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has user data of its own."""
    path = tmp_path / "home"
    monkeypatch.setenv("CHATBOT_HOME", str(path))
    for size in ("COLUMNS", "LINES"):  # of the caller's terminal: they would overrule the tests' own
        monkeypatch.delenv(size, raising=False)
    return path


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing leaves the machine."""

    def refuse(*args: object) -> None:
        raise AssertionError(f"a test tried to reach the network: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def saves_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """To a training every step seems to take minutes, so that its state is saved after each."""
    from training import loop

    ticks = itertools.count()
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(ticks) * 200.0)


@pytest.fixture
def run(home: Path) -> Run:
    """Run ``chatbot`` as its own process."""

    def run_chatbot(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "chatbot", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            cwd=ROOT,
            env={**os.environ, "CHATBOT_HOME": str(home), "COLUMNS": "100", **environment},
        )

    return run_chatbot


class ScriptedBackend(Backend):
    """Says what it was told to say, piece by piece."""

    name = "scripted"
    invents = False

    def __init__(self, *replies: str | list[str]) -> None:
        self.replies = list(replies)
        self.seen: list[list[str]] = []
        self.closed = 0

    def stream(self, conversation: Conversation) -> Iterator[str | Reply]:
        self.seen.append([turn.text for turn in conversation.turns])
        script = self.replies.pop(0)
        pieces = [script] if isinstance(script, str) else script
        try:
            yield from pieces
        except GeneratorExit:
            self.closed += 1
            raise
        yield Reply("".join(pieces), backend=self.name, model="script", score=0.5, seconds=0.01)


@pytest.fixture
def scripted() -> type[ScriptedBackend]:
    return ScriptedBackend

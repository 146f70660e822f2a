from __future__ import annotations

import sys
from pathlib import Path

import pytest

from chatbot.backends import OpeningBackend, backend_names, check_options, open_backend, open_in_background
from chatbot.dialogue import Conversation, Reply
from chatbot.errors import UsageError
from tests.conftest import ROOT, Run


def contributing_example() -> str:
    """The third-party backend that CONTRIBUTING.md shows."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("## Adding a backend", 1)[1]
    return section.split("```python\n", 1)[1].split("```", 1)[0]


@pytest.fixture
def parrot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install that backend: a module and an entry point on ``sys.path``."""
    site = tmp_path / "site"
    info = site / "parrot-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "parrot.py").write_text(contributing_example(), encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: parrot\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[chatbot.backends]\nparrot = parrot:Parrot\nbroken = nowhere:Nothing\n"
    )
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "parrot", raising=False)
    return site


def test_the_example_is_under_thirty_lines() -> None:
    assert len(contributing_example().splitlines()) < 30


def test_a_third_party_backend_is_found_and_answers(parrot: Path) -> None:
    assert backend_names() == ["retrieval", "gpt", "hybrid", "remote", "broken", "parrot"]
    talk = Conversation()
    talk.add("user", "안녕")
    reply = open_backend("parrot", times=2).reply(talk)
    assert isinstance(reply, Reply) and reply.backend == "parrot" and reply.text.count("안녕") == 2


def test_a_third_party_backend_talks_through_the_command_line(parrot: Path, run: Run) -> None:
    done = run("ask", "안녕", "--backend", "parrot", PYTHONPATH=str(parrot))
    assert done.returncode == 0 and "안녕" in done.stdout
    done = run("ask", "안녕", "--backend", "parrot", "--temperature", "0.5", PYTHONPATH=str(parrot))
    assert done.returncode == 2 and "--temperature" in done.stderr


def test_a_broken_backend_is_explained(parrot: Path) -> None:
    with pytest.raises(UsageError, match="broken"):
        open_backend("broken")


def test_unknown_backends_and_options_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="retrieval"):
        open_backend("nothing")
    with pytest.raises(UsageError, match="--max-new-tokens"):
        check_options("retrieval", max_new_tokens=3)
    with pytest.raises(UsageError, match="--model"):
        open_backend("retrieval", model="x")
    check_options("retrieval", max_new_tokens=None, device="auto")


def test_opening_in_the_background_returns_at_once_and_answers() -> None:
    opening = open_in_background("retrieval")
    assert isinstance(opening, OpeningBackend) and opening.name == "retrieval"
    talk = Conversation()
    talk.add("user", "오늘 너무 피곤해")
    assert opening.reply(talk).backend == "retrieval"
    assert len(opening.reply_many([talk, talk])) == 2


def test_trouble_in_the_background_comes_with_the_first_answer(tmp_path: Path) -> None:
    opening = open_in_background("retrieval", data=str(tmp_path / "nothing.csv"))
    talk = Conversation()
    talk.add("user", "안녕")
    with pytest.raises(Exception, match=r"nothing\.csv"):
        opening.reply(talk)


def test_a_backend_without_a_constructor_takes_no_options(monkeypatch: pytest.MonkeyPatch) -> None:
    from collections.abc import Iterator

    from chatbot import backends
    from chatbot.dialogue import Backend

    class Plain(Backend):
        name = "plain"

        def stream(self, conversation: Conversation) -> Iterator[str | Reply]:
            yield Reply("", self.name)

    monkeypatch.setattr(backends, "_factory", lambda name: Plain)
    for _ in range(2):  # making one changes what its class inherits
        with pytest.raises(UsageError, match="--progress"):
            check_options("plain", progress=print)
        assert open_backend("plain").name == "plain"

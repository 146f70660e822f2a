from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

import chatbot
from chatbot.dialogue import Backend, Conversation, Reply
from tests.conftest import ScriptedBackend


def test_reply_is_the_last_item_of_the_stream() -> None:
    backend = ScriptedBackend(["안", "녕"])
    reply = backend.reply(Conversation())
    assert isinstance(reply, Reply) and reply.text == "안녕"


def test_reply_many_keeps_the_order() -> None:
    backend = ScriptedBackend("하나", "둘")
    assert [r.text for r in backend.reply_many([Conversation(), Conversation()])] == ["하나", "둘"]


def test_a_stream_without_a_reply_is_an_error() -> None:
    class Broken(Backend):
        name = "broken"

        def stream(self, conversation: Conversation) -> Iterator[str | Reply]:
            yield "말만 하고 끝"

    with pytest.raises(TypeError, match="broken"):
        Broken().reply(Conversation())


def test_public_names_are_there() -> None:
    for name in chatbot.__all__:
        assert getattr(chatbot, name) is not None
    with pytest.raises(AttributeError):
        _ = chatbot.nothing_of_the_kind  # type: ignore[attr-defined]


def _modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(' '.join(sys.modules), file=sys.stderr)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.split())


HEAVY = {"torch", "transformers", "sentence_transformers", "pandas", "sklearn", "scipy", "openai"}


@pytest.mark.parametrize(
    "code",
    [
        "import chatbot",
        "import chatbot.cli",
        "import chatbot.session, chatbot.backends.retrieval, chatbot.history, chatbot.screens.talk",
        "import sys; sys.argv = ['chatbot', '--help']\nfrom chatbot.cli import main\ntry: main()\nexcept SystemExit: pass",
        "import sys; sys.argv = ['chatbot', 'ask', '안녕']\nfrom chatbot.cli import main\ntry: main()\nexcept SystemExit: pass",
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    assert not HEAVY & _modules_after(code)


def test_layers_hold() -> None:
    ours = {m for m in _modules_after("import chatbot.dialogue") if m.startswith("chatbot")}
    assert ours == {"chatbot", "chatbot.dialogue"}
    loaded = _modules_after("import chatbot.cli, chatbot.session, chatbot.backends.retrieval")
    assert not {m for m in loaded if m == "training" or m.startswith(("training.", "chatbot.screens"))}

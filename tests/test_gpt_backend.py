from __future__ import annotations

import math
from pathlib import Path

import pytest

from chatbot.backends import open_backend
from chatbot.backends.gpt import GptBackend
from chatbot.dialogue import Conversation, Reply
from chatbot.errors import UsageError
from chatbot.session import Session
from tests.tiny_models import write_ours


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_ours(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def backend(model: str) -> GptBackend:
    return GptBackend(model, "cpu", seed=1, max_new_tokens=12)


def test_a_reply_streams_and_says_how_it_was_made(backend: GptBackend) -> None:
    session = Session(backend)
    *pieces, reply = session.say("안녕")
    assert isinstance(reply, Reply) and len(pieces) > 2 and "".join(pieces) == reply.text
    assert reply.backend == "gpt" and reply.model == "tiny"
    assert reply.score and 0 < reply.score < 1
    assert reply.tokens and reply.tokens <= 12 and reply.seconds and math.isfinite(reply.seconds)


def test_a_seed_makes_a_talk_repeatable_and_retries_new(model: str) -> None:
    def talk() -> list[str]:
        session = Session(GptBackend(model, "cpu", seed=7, temperature=1.5))
        texts = [session.ask("안녕").text, session.ask("뭐 해?").text]
        *_, again = session.retry()
        assert isinstance(again, Reply)
        return [*texts, again.text]

    first = talk()
    assert first == talk() and first[1] != first[2]


def test_a_greedy_reply_asked_for_again_is_another(model: str) -> None:
    session = Session(GptBackend(model, "cpu", temperature=0, seed=1))
    first = session.ask("안녕")
    *_, again = session.retry()
    assert isinstance(again, Reply) and again.text != first.text


def test_earlier_turns_are_part_of_the_prompt(backend: GptBackend) -> None:
    conversation = Conversation(style="polite")
    conversation.add("user", "안녕")
    alone = backend._prompt(conversation)
    conversation.add("assistant", "안녕하세요")
    conversation.add("user", "뭐 해요?")
    assert backend._prompt(conversation)[: len(alone) - 2] == alone[:-2]


def test_many_are_answered_as_one_by_one_in_every_mixture(backend: GptBackend) -> None:
    conversations = []
    for n, text in enumerate(["안녕", "오늘 너무 피곤해", "뭐 해?", "밥 먹었어요?", "심심해"]):
        conversation = Conversation()
        if n % 2:
            conversation.add("user", "안녕")
            conversation.add("assistant", "안녕하세요")
        conversation.add("user", text)
        conversations.append(conversation)
    conversations[3].rejected.append("응")
    together = backend.reply_many(conversations)
    assert [r.text for r in together] == [backend.reply(c).text for c in conversations]


def test_settings_change_while_talking(backend: GptBackend) -> None:
    backend.adjust("temperature", "0.3")
    backend.adjust("top_p", "0.5")
    backend.adjust("seed", "9")
    assert backend.settings == {"temperature": 0.3, "top_p": 0.5, "max_new_tokens": 12, "seed": 9}


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", "-1"), ("temperature", "1e-40"), ("temperature", "nan"),
     ("temperature", "뜨겁게"), ("top_p", "0"),
     ("top_p", "1.5"), ("max_new_tokens", "0"), ("max_new_tokens", "2.5"), ("seed", "-3"),
     ("scorer", "dense")],
)  # fmt: skip
def test_senseless_settings_are_refused(backend: GptBackend, name: str, value: str) -> None:
    before = backend.settings
    with pytest.raises(UsageError, match=name.replace("_", "[-_]")):
        backend.adjust(name, value)
    assert backend.settings == before


def test_options_are_checked_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--top-p"):
        open_backend("gpt", model=str(tmp_path / "nothing"), top_p=7.0)
    with pytest.raises(UsageError, match="--encoder"):
        open_backend("gpt", encoder="x")


def test_a_crisis_never_reaches_the_generator(backend: GptBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object) -> None:
        raise AssertionError("the generator was asked")

    monkeypatch.setattr(backend.generator, "stream", never)
    assert "109" in Session(backend).ask("죽고 싶어").text

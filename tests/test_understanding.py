"""A GPT that learns what was said, beside the next token."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from chatbot.dialogue import Turn
from chatbot.knowledge import Answers, Entry, load_listening
from chatbot.models.checkpoint import load_model, load_tokenizer
from chatbot.models.format import MarkerFormat
from chatbot.models.markers import BOT
from tests.tiny_models import write_ours
from training.causal import Curriculum, token_costs, train_on
from training.dialogues import Conversation, Taught, listening
from training.recipes.gpt import SIZES
from training.recipes.gpt_model import optimizers
from training.understanding import Lessons, Understanding, last_openings, own_lessons

# Two situations of three lines each, and a line of its own.
SAID = {
    "sleepy": ["너무 졸려", "눈이 감겨요", "잠이 쏟아져"],
    "hungry": ["배고파", "밥 먹고 싶어요", "뭐 먹지"],
    "alone": ["안녕"],
}


class Teacher:
    """An encoder that knows the situations: near its own axis, each a little elsewhere."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors, float32 ``(n, 8)``."""
        where = {
            text: (axis, nth) for axis, texts in enumerate(SAID.values()) for nth, text in enumerate(texts)
        }
        vectors = np.zeros((len(texts), 8), dtype=np.float32)
        for row, text in enumerate(texts):
            axis, nth = where[text]
            vectors[row, axis], vectors[row, 3 + nth] = 1.0, 0.3
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def lessons() -> Lessons:
    entries = [Entry(t, Answers(name, ("네.",), ("응.",))) for name, texts in SAID.items() for t in texts]
    teacher: Any = Teacher()
    return Lessons(entries, teacher)


def conversations(times: int = 1) -> list[Conversation]:
    pairs = [
        Conversation([Turn("user", said), Turn("assistant", "그렇군요.")], "polite", about=said)
        for texts in SAID.values()
        for said in texts
    ]
    before = [Turn("user", "안녕"), Turn("assistant", "반가워요!")]
    chained = pairs[0]._replace(turns=[*before, *pairs[0].turns])
    strange = Conversation([Turn("user", "뭐 해?"), Turn("assistant", "그냥요.")], "polite", about="뭐 해?")
    return [*pairs, chained, strange, strange._replace(about=None)] * times


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_ours(tmp_path / "base")


def watched(base: Path, times: int = 1, weight: float = 1.0) -> tuple[Curriculum, Any, Understanding]:
    form = MarkerFormat(load_tokenizer(base))
    model = load_model(base, torch.float32, len(form.tokenizer))
    course = Curriculum(form, [conversations(times)], longest=100, batch_tokens=200)
    return course, model, Understanding(model, course, lessons(), layer=1, weight=weight)


def test_a_small_set_has_no_middle_of_its_own() -> None:
    taught = lessons()
    assert taught.means.shape == (2, 8)
    assert taught.means.norm(dim=1).tolist() == pytest.approx([1, 1])
    rows = taught.rows(["배고파", "안녕", None, "몰라"])
    assert (rows >= 0).tolist() == [True, True, False, False]
    assert taught.sets[rows[0]] >= 0 and taught.sets[rows[1]] == -1


def test_the_state_before_the_last_reply_is_the_one_that_learns(base: Path) -> None:
    form = MarkerFormat(load_tokenizer(base))
    course = Curriculum(form, [conversations()], longest=100, batch_tokens=10_000)
    ids, reply = course[0]
    places = last_openings(reply)
    bot = form.tokenizer.convert_tokens_to_ids(BOT)
    assert (ids[torch.arange(len(ids)), places] == bot).all()
    assert all((row[place + 1 :] == bot).sum() == 0 for row, place in zip(ids, places, strict=True))
    # the chained one's place is that of its second reply
    assert max((row == bot).sum() for row in ids) == 2


def test_a_course_is_taught_with_all_wordings_of_what_is_said_in_it(base: Path) -> None:
    form = MarkerFormat(load_tokenizer(base))
    read = [c for c in listening(1, 1, fewest=3)[:40] if c.about is not None]
    course = Curriculum(form, [read], longest=100, batch_tokens=1000)
    encoded: list[str] = []

    class Counting(Teacher):
        def encode(self, texts: Sequence[str]) -> np.ndarray:
            encoded.extend(texts)
            return np.eye(len(texts), 8, dtype=np.float32)

    teacher: Any = Counting()
    taught = own_lessons(teacher, course)
    rows = taught.rows([c.about for c in read])
    assert (rows >= 0).all() and (taught.sets[rows] >= 0).all()
    assert len(read) * 2 < len(encoded) < 2000


def test_an_utterance_that_comes_twice_is_what_the_later_entry_says() -> None:
    single = Entry("배고파", Answers("single", ("네.",), ("응.",)))
    entries = [Entry(t, Answers("hungry", ("네.",), ("응.",))) for t in SAID["hungry"]]
    teacher: Any = Teacher()
    taught = Lessons([single, *entries], teacher)
    assert taught.sets[taught.rows(["배고파"])].item() == 0


def test_a_conversation_in_pieces_ends_with_what_was_said_last(base: Path) -> None:
    form = MarkerFormat(load_tokenizer(base))
    turns = [
        Turn("user", "안녕"),
        Turn("assistant", "반가워요!"),
        Turn("user", "배고파"),
        Turn("assistant", "네."),
    ]
    course = Curriculum(form, [[Conversation(turns, "polite", about="배고파")]], longest=20, batch_tokens=500)
    assert sorted(course.about(0), key=str) == [None, "배고파"] and len(course) == 1
    [row] = [row for row, about in zip(course[0][0], course.about(0), strict=True) if about]
    assert form.tokenizer.decode(row).count("배고파") == 1


def test_what_was_said_is_told_apart_after_training(base: Path, tmp_path: Path) -> None:
    course, model, understanding = watched(base, times=150)

    def known() -> float:
        taught = lessons()
        model.eval()
        right = []
        for step in range(0, len(course), len(course) // 8):
            ids, reply = course[step]
            with torch.no_grad():
                token_costs(model, ids, reply)
                states, rows = understanding._openings(step, reply)
                found = states @ understanding.head.T @ taught.means.T
            large = taught.sets[rows] >= 0
            right += (found.argmax(1)[large] == taught.sets[rows[large]]).tolist()
        return float(np.mean(right))

    with closing(understanding):
        before = known()
        train_on(
            course,
            model,
            optimizers(understanding, SIZES["cpu"]),
            tmp_path / "state.pt",
            auxiliary=understanding,
        )
        assert known() > 0.9 and before < 0.7
    assert not model.transformer.h[0]._forward_hooks


def test_batches_of_unknown_utterances_teach_nothing(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    course, model, understanding = watched(base)
    ids, reply = course[0]
    monkeypatch.setattr(course, "about", lambda step: [None] * len(ids))
    token_costs(model, ids, reply)
    assert understanding(0, reply).item() == 0


def test_the_weight_is_what_it_counts(base: Path) -> None:
    losses = []
    for weight in (1.0, 0.25):
        course, model, understanding = watched(base, weight=weight)
        token_costs(model, *course[0])
        losses.append(understanding(0, course[0][1]).item())
    assert losses[1] == pytest.approx(losses[0] / 4) and losses[0] > 0


def test_a_resumed_training_ends_with_the_same_head(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves_every_step: None
) -> None:
    class Stopped(Exception):
        pass

    steps: list[int] = []

    def train(state: Path, stop: int | None) -> dict[str, torch.Tensor]:
        course, model, understanding = watched(base, times=6)
        about = course.about

        def watch(step: int) -> list[str | None]:
            steps.append(step)
            if step == stop:
                raise Stopped
            return about(step)

        monkeypatch.setattr(course, "about", watch)
        train_on(course, model, optimizers(understanding, SIZES["cpu"]), state, auxiliary=understanding)
        return understanding.state_dict()

    whole = train(tmp_path / "whole.pt", None)
    with pytest.raises(Stopped):
        train(tmp_path / "stopped.pt", 3)
    steps.clear()
    resumed = train(tmp_path / "stopped.pt", None)
    assert min(steps) > 0  # it went on, not from the beginning
    assert whole.keys() == resumed.keys() and "head" in whole
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_next_step_of_a_recipe_goes_on_with_the_head(base: Path, tmp_path: Path) -> None:
    *_, first = watched(base)
    with torch.no_grad():
        first.head.mul_(2)
    first.save_head(tmp_path)
    *_, second = watched(base)
    second.load_head(tmp_path)
    assert torch.equal(first.head, second.head)


def test_a_model_without_a_head_gets_the_one_that_suits_it(base: Path, tmp_path: Path) -> None:
    course, model, understanding = watched(base, times=20)

    def cost() -> float:
        with torch.no_grad():
            token_costs(model, *course[0])
            return float(understanding(0, course[0][1]))

    before = cost()
    understanding.load_head(tmp_path / "nothing there")
    assert cost() < 0.9 * before


def test_a_course_that_begins_with_the_unknown_fits_its_head_on_what_comes_later(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course, _, understanding = watched(base, times=20)
    about = course.about
    monkeypatch.setattr(course, "about", lambda n: about(n) if n > 3 else [None] * len(course[n][0]))
    before = understanding.head.detach().clone()
    understanding.load_head(tmp_path / "nothing there")
    assert understanding.head.norm().item() == pytest.approx(before.norm().item(), rel=1e-3)
    assert not torch.equal(understanding.head, before)
    monkeypatch.setattr(course, "about", lambda n: [None] * len(course[n][0]))
    after = understanding.head.detach().clone()
    understanding.load_head(tmp_path / "nothing there")
    assert torch.equal(understanding.head, after)


def test_lines_read_over_and_over_have_one_answer() -> None:
    drawn = [listening(seed, 1, Taught(answers=1), fewest=3) for seed in (1, 2)]
    answers: dict[tuple[str, str | None], set[str]] = {}
    for conversation in itertools.chain.from_iterable(drawn):
        if conversation.about is not None:
            answers.setdefault((conversation.about, conversation.style), set()).add(
                conversation.turns[-1].text
            )
    assert len(answers) > 10_000
    assert all(len(said) == 1 for said in answers.values())
    assert len(drawn[0]) < len(listening(1, 1))


def test_situations_are_taught_with_the_answers_they_share() -> None:
    shared = Answers("one", ("그렇군요.",), ())
    entries = [entry for entry in load_listening().entries if not entry.context]
    sources = {entry.question: entry.answers.source for entry in entries}
    some = {source for source in set(sources.values()) if source < "situation-m"}
    told = listening(1, 1, Taught(shared=dict.fromkeys(some, shared)), fewest=3)
    kept = 0
    for conversation in told:
        if conversation.about is not None:
            theirs = sources[conversation.about] in some and conversation.style == "polite"
            kept += not theirs
            # without a casual one in common it keeps its own
            assert (conversation.turns[-1].text == "그렇군요.") == theirs
    assert 0 < kept < len(told) - 1000

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from chatbot.dialogue import Turn
from chatbot.knowledge import held_out_dialogues, load_dialogues, load_knowledge, prompts
from chatbot.models.checkpoint import load_model, load_tokenizer
from chatbot.models.format import MarkerFormat
from chatbot.resources import data_dir
from chatbot.style import speech_level
from chatbot.text import squeeze
from tests.tiny_models import tiny_gpt2, write_ours
from training import causal as causal_module
from training.causal import Curriculum, token_costs, train_on
from training.dialogues import Conversation, listening, own_conversations
from training.recipes.gpt import SIZES
from training.recipes.gpt_model import optimizers

PAIRS = [("안녕", "안녕하세요! 반가워요."), ("뭐 해?", "그냥 있어요."), ("배고파", "밥 먹어요, 우리.")]


def test_only_replies_are_learnt_unless_the_whole_text_is(tmp_path: Path) -> None:
    form = MarkerFormat(load_tokenizer(write_ours(tmp_path / "base")))
    conversations = [Conversation([Turn("user", q), Turn("assistant", a)], "polite") for q, a in PAIRS]
    course = Curriculum(form, [conversations, conversations[:1]], longest=100, batch_tokens=200)
    ids, reply = course[0]
    said = [form.tokenizer.decode(row[mask]) for row, mask in zip(ids, reply, strict=True)]
    assert sorted(said) == sorted(f"{answer}<|end|>" for _, answer in PAIRS)
    assert len(course) == 2 and course[1][0].shape[0] == 1
    with pytest.raises(IndexError):
        course[2]


def test_of_a_reply_that_is_cut_only_its_opening_is_read(tmp_path: Path) -> None:
    form = MarkerFormat(load_tokenizer(write_ours(tmp_path / "base")))
    talk = [
        Turn(role, text) for pair in PAIRS for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    whole, cut = (
        Curriculum(form, [[Conversation(talk, "polite", opening=opening)]], longest=200, batch_tokens=400)[0]
        for opening in (None, 2)
    )
    length = cut[0].shape[1]
    assert torch.equal(cut[0], whole[0][:, :length]) and torch.equal(cut[1], whole[1][:, :length])
    assert cut[1][0, -3:].tolist() == [False, True, True]  # earlier replies are all there
    assert cut[1].sum() == whole[1].sum() - (whole[0].shape[1] - length) and cut[1].sum() > 2


def test_moved_lines_train_every_position_and_change_no_target() -> None:
    model = tiny_gpt2(50).eval()
    ids = torch.randint(4, 50, (64, 6))
    learn = torch.ones_like(ids, dtype=torch.bool)
    still = token_costs(model, ids, learn).mean()
    expected = torch.nn.functional.cross_entropy(
        model(input_ids=ids).logits[:, :-1].reshape(-1, 50), ids[:, 1:].reshape(-1)
    )
    assert still.item() == pytest.approx(expected.item(), rel=1e-3)  # bfloat16 where the processor has it
    token_costs(model, ids, learn, chance=1).sum().backward()
    touched = model.transformer.wpe.weight.grad.abs().sum(1) > 0
    assert touched.sum() > 60 and touched[0]


def test_a_resumed_training_equals_one_without_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves_every_step: None
) -> None:
    folder = write_ours(tmp_path / "base")
    form = MarkerFormat(load_tokenizer(folder))
    conversations = [Conversation([Turn("user", q), Turn("assistant", a)], "polite") for q, a in PAIRS * 8]
    course = Curriculum(form, [conversations] * 3, longest=60, batch_tokens=60)

    class Stopped(Exception):
        pass

    def train(state: Path, stop: int | None, save: float = 0.0) -> dict[str, torch.Tensor]:
        model = load_model(folder, torch.float32, len(form.tokenizer))
        calls = itertools.count()

        def loss(*args: Any) -> torch.Tensor:
            if next(calls) == stop:
                raise Stopped
            return token_costs(*args)

        with monkeypatch.context() as patch:
            patch.setattr(causal_module, "token_costs", loss)
            train_on(course, model, optimizers(model, SIZES["cpu"]), state)
        return model.state_dict()

    whole = train(tmp_path / "whole.pt", None)
    with pytest.raises(Stopped):
        train(tmp_path / "stopped.pt", 7)
    assert (tmp_path / "stopped.pt").stat().st_mode & 0o777 == 0o600
    resumed = train(tmp_path / "stopped.pt", None)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_state_of_another_run_is_not_taken_up(tmp_path: Path) -> None:
    folder = write_ours(tmp_path / "base")
    form = MarkerFormat(load_tokenizer(folder))
    course = Curriculum(
        form,
        [[Conversation([Turn("user", q), Turn("assistant", a)], None) for q, a in PAIRS]],
        longest=60,
        batch_tokens=30,
    )
    state = tmp_path / "state.pt"
    for identity in ("one", "other"):
        model = load_model(folder, torch.float32, len(form.tokenizer))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        assert train_on(course, model, [optimizer], state, identity=identity).steps == len(course)


def test_what_is_held_out_is_not_trained_on() -> None:
    knowledge = load_knowledge()

    def key(text: str) -> str:
        return squeeze(text) or text

    seen = {key(t.text) for c in own_conversations(1) for t in c.turns}
    lines = prompts("test") + prompts("dev")
    lines += [t.text for d in held_out_dialogues("test") for t in d if len(squeeze(t.text)) > 6]
    indexed = {key(entry.question) for entry in knowledge.entries}
    assert not {key(text) for text in lines} & (seen | indexed)
    assert len(prompts("test")) == 50


def test_every_answer_comes_in_its_own_speech_level() -> None:
    intents = {i.id: i for i in load_knowledge().intents}
    polite = {a for i in intents.values() for a in i.answers.polite}
    casual = {a for i in intents.values() for a in i.answers.casual}
    conversations = list(own_conversations(1))
    personas = load_dialogues(data_dir() / "dialogues" / "personas")
    dialogues = {tuple(t.text for t in turns) for turns, _ in [*load_dialogues(), *personas]}
    count = 0
    for conversation in conversations:
        if tuple(t.text for t in conversation.turns) in dialogues:
            continue
        for turn in conversation.turns[1::2]:
            assert turn.text in (polite if conversation.style == "polite" else casual)
            count += 1
    assert count > 8000
    assert conversations != list(own_conversations(2))


def test_an_epoch_of_a_few_wordings_draws_others_every_time() -> None:
    intents = {question: i.id for i in load_knowledge().intents for question in i.questions}

    def asked(seed: int) -> Counter[tuple[str, str | None]]:
        few = own_conversations(seed, wordings=2)
        alone = (c for c in few if len(c.turns) <= 4 and c.style)  # pairs, no dialogues
        return Counter((intents[t.text], c.style) for c in alone for t in c.turns if t.text in intents)

    counts = asked(1)
    assert 0 < max(counts.values()) <= 6  # twice, and again where the next pair goes on from it
    assert asked(1) == counts != asked(2)


def test_a_listeners_replies_are_learnt_in_both_speech_levels() -> None:
    told = listening(1)
    assert {c.style for c in told} == {"polite", "casual"} and len(told) > 6000
    assert all(
        c.turns[-1].role == "assistant" and speech_level(c.turns[-1].text) in (c.style, None) for c in told
    )
    assert [c.turns[-1].text for c in told] != [c.turns[-1].text for c in listening(2)]


def test_only_what_was_said_by_the_two_is_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "dialogues.jsonl"
    rows = [
        [("system", "너는 친절한 봇이야"), ("user", "안녕"), ("assistant", "안녕하세요"), ("assistant", " ")],
        [],
        [("user", "혼잣말")],
    ]
    lines = [{"messages": [{"role": r, "content": c} for r, c in row], "meta": None} for row in rows]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    (found,) = load_dialogues(path)
    assert [(turn.role, turn.text) for turn in found[0]] == [("user", "안녕"), ("assistant", "안녕하세요")]

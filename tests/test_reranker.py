"""The reranker: what follows what."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from chatbot.dialogue import Turn
from chatbot.knowledge import held_out_dialogues
from chatbot.models.encoder import load_encoder
from chatbot.models.reranker import Reranker, context_text, shipped_reranker
from tests.tiny_corpora import write_corpora
from training.rankings import following, graded, next_turns, picked
from training.recipes.reranker import AMONG, SIZES, _cosine


def test_the_last_turn_stands_first_and_three_are_read() -> None:
    turns = [Turn("user", "하나"), Turn("assistant", "둘"), Turn("user", "셋"), Turn("assistant", "넷\n다섯")]
    assert context_text(turns) == "넷 다섯 | 셋 | 둘"


def test_scores_are_cosines_whatever_the_batch() -> None:
    reranker = Reranker(device="cpu")
    contexts, replies = ["배고파", "졸려", "배고파"], ["뭐 먹을래?", "얼른 자", "얼른 자"]
    scores = reranker.score(contexts, replies)
    assert scores.shape == (3,) and np.abs(scores).max() <= 1.001
    alone = [reranker.score([c], [r])[0] for c, r in zip(contexts, replies, strict=True)]
    np.testing.assert_allclose(scores, alone, atol=1e-5)
    assert reranker.score([], []).shape == (0,)


def test_what_ships_needs_no_weights_but_its_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = tmp_path / "reranker"
    shutil.copytree(shipped_reranker(), alone, ignore=shutil.ignore_patterns("*.safetensors"))
    monkeypatch.setattr("chatbot.models.reranker.shipped_reranker", lambda: alone)
    assert Reranker(device="cuda").score(["배고파"], ["뭐 먹을래?"]).shape == (1,)  # as the wheel has it


def test_it_finds_the_true_next_turn_more_often_than_the_encoder() -> None:
    items = next_turns(held_out_dialogues("test"), AMONG, SIZES["cpu"].seed)
    cosine = partial(_cosine, load_encoder(None, "cpu"))
    mine, last_turn = picked(items, Reranker(device="cpu").score), lambda turns: turns[-1].text
    assert mine > max(picked(items, cosine), picked(items, cosine, last_turn))
    assert len(items) > 100


def test_true_turns_stand_first_among_others_of_other_dialogues() -> None:
    dialogues = [[Turn("user", f"말 {n}"), Turn("assistant", f"답 {n}")] * 2 for n in range(8)]
    items = next_turns(dialogues, 5, seed=1)
    assert len(items) == 16
    for before, replies in items:
        number = before[-1].text.split()[1]
        assert replies[0] == f"답 {number}" and f"답 {number}" not in replies[1:] and len(replies) == 5
    assert picked(items, lambda contexts, replies: np.arange(len(replies))[::-1]) == 1.0
    assert picked(items, lambda contexts, replies: np.arange(len(replies))) == 0.0


def test_what_follows_what_is_drawn_from_all_words(tmp_path) -> None:  # type: ignore[no-untyped-def]
    pairs = following(write_corpora(tmp_path), seed=1)
    assert len(set(pairs)) == len(pairs) > 10_000
    assert any(" | " in context for context, _ in pairs)


def test_graded_replies_come_in_two_halves() -> None:
    train, dev = graded("train"), graded("dev")
    assert len(train) > len(dev) > 100
    kinds = {reply.kind for g in dev for reply in g.replies}
    assert {"retrieved", "plain", "written", "admission"} <= kinds
    assert all(0 <= reply.grade <= 1 for g in [*train, *dev] for reply in g.replies)
    assert not {g.turns[-1].text for g in train if len(g.turns) == 1} & {
        g.turns[-1].text for g in dev if len(g.turns) == 1
    }

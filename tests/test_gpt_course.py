"""What the GPT reads of conversations: which replies it is unsure of, and what it learns there instead."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from chatbot.dialogue import Turn
from chatbot.models.checkpoint import load_model, load_tokenizer
from chatbot.models.format import Exchange, MarkerFormat
from chatbot.resources import data_dir
from tests.tiny_models import write_ours
from training.causal import Curriculum, token_costs
from training.corpora import read_jsonl
from training.dialogues import Conversation
from training.recipes.gpt_course import asking_back, far_lines, opening_costs, unknown_lines


def pair(said: str, replied: str, style: str = "polite") -> Conversation:
    return Conversation([Turn("user", said), Turn("assistant", replied)], style, about=said)  # type: ignore[arg-type]


def test_the_cost_of_an_opening_is_that_of_its_first_tokens(tmp_path: Path) -> None:
    folder = write_ours(tmp_path / "base")
    form = MarkerFormat(load_tokenizer(folder))
    model = load_model(folder, torch.float32, len(form.tokenizer))
    pairs = [
        pair("안녕", "안녕하세요! 반가워요."),
        pair("오늘 너무 피곤해", "쉬어요."),
        pair("뭐 해?", "그냥 있어요."),
    ]
    longer = pairs[0]._replace(turns=[*pairs[0].turns, *pairs[1].turns])
    shown = pairs[0]._replace(examples=(Exchange("배고파", "밥 먹어요."),))
    unknown = pairs[1]._replace(about=None)
    costs = opening_costs(model, form, [longer, pairs[0], shown, pairs[1], unknown, pairs[2]], 2)
    assert (costs == 0).tolist() == [True, False, True, False, True, False]
    assert model.training
    model.eval()
    for own, found in zip(pairs, costs[[1, 3, 5]], strict=True):
        ids, reply = Curriculum(form, [[own]], longest=60, batch_tokens=60)[0]
        with torch.no_grad():
            each = token_costs(model, ids, reply)
        assert found == pytest.approx(float(each[:2].sum()), rel=1e-2)  # bfloat16 where there is


def test_what_costs_most_to_open_asks_back() -> None:
    lines = [
        pair("비가 와요", "우산 챙기세요."),
        pair("이거 어때요?", "좋아요."),
        pair("나 왔다", "왔구나.", "casual"),
    ]
    lines += [pair("배고파요", "밥 드세요."), pair("졸려요", "주무세요.")._replace(opening=3)]
    changed = asking_back(lines, np.array([9.0, 8.0, 7.0, 0.0, 1.0]), 0.75, 1, seed=1)
    assert [c.turns[0] for c in changed] == [c.turns[0] for c in lines]
    assert changed[3:] == lines[3:]  # unknown, and cheap
    words = json.loads((data_dir() / "replies" / "open.json").read_text(encoding="utf-8"))
    asked = [c.turns[1].text for c in changed[:3]]
    assert asked == [
        words["statement"]["polite"][0],
        words["question"]["polite"][0],
        words["statement"]["casual"][0],
    ]
    assert all(c.opening is None for c in changed[:3])
    assert asking_back(lines, np.zeros(5), 0.75, 1, seed=1) == lines


def test_plain_lines_like_none_of_ours_ask_back() -> None:
    class Letters:
        """Embeds a line by its last letter."""

        def encode(self, texts: Sequence[str]) -> np.ndarray:
            return np.eye(3, dtype=np.float32)[["가나다".index(text[-1]) for text in texts]]

    letters = Letters()
    known = [SimpleNamespace(encoder=letters, dense=letters.encode([end])) for end in "가나"]
    lines = [f"아주 먼 나라의 이야기 {n}{'가나다'[n % 3]}" for n in range(30)]
    lines += [lines[2], "짧다", "길" * 99 + "다"]
    far = far_lines(lines, known, 6, 0.5, 1, seed=1)  # type: ignore[arg-type]
    assert [c.turns[0].text for c in far] == lines[2:18:3]
    assert [c.style for c in far] == ["polite", "casual"] * 3
    words = json.loads((data_dir() / "replies" / "open.json").read_text(encoding="utf-8"))["statement"]
    assert {c.turns[1].text for c in far} == {words["polite"][0], words["casual"][0]}
    assert far_lines(lines, known, 0, 0.5, 1, seed=1) == []  # type: ignore[arg-type]


def test_what_no_small_talk_can_know_is_not_known() -> None:
    lines = unknown_lines(2, seed=1)
    words = json.loads((data_dir() / "replies" / "unknown.json").read_text(encoding="utf-8"))
    for style in ("polite", "casual"):
        said = {c.turns[1].text for c in lines if c.style == style}
        assert said == set(words[style][:2])
    held_out = {row["text"] for row in read_jsonl(data_dir() / "eval" / "unseen.jsonl")}
    assert len(lines) > 1000 and not held_out & {c.turns[0].text for c in lines}

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chatbot import safety
from chatbot.models import crisis
from chatbot.models.crisis import BUCKETS, CrisisClassifier, features
from training import safety as recipe

LINES = [
    *((f"{who} 죽고 싶은 마음뿐이야", "suicide") for who in ("나는", "오늘은", "이제", "정말", "자꾸")),
    *((f"{who} 팔을 또 그었어", "self-harm") for who in ("나는", "오늘은", "이제", "정말", "자꾸")),
    *((f"{who} 아빠가 때려요", "violence") for who in ("나는", "오늘은", "이제", "정말", "자꾸")),
    *((f"{who} 선배가 몸을 만져요", "abuse") for who in ("나는", "오늘은", "이제", "정말", "자꾸")),
    *((f"{who} 배고파 죽겠네", "none") for who in ("나는", "오늘은", "이제", "정말", "자꾸")),
    *((f"{who} 산책하기 좋은 날이야", "none") for who in ("나는", "오늘은", "이제", "정말", "자꾸")),
]


def test_features_are_a_unit_vector_and_see_through_letter_spacing() -> None:
    columns, values = features("오늘은 비가 와요")
    assert len(set(columns)) == len(columns) and columns.max() < BUCKETS
    assert np.linalg.norm(values) == pytest.approx(1)
    assert dict(zip(*features("죽 고 싶 어"), strict=True)) == dict(zip(*features("죽고싶어"), strict=True))
    assert len(features("")[0]) == 0


def test_a_classifier_learns_and_comes_back_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = recipe._trained(LINES, ["밥 먹었어?", "내일 뭐 해"])
    trained.threshold, trained.evidence = 0.0, 1.0
    trained.save(tmp_path / "models" / "safety")
    monkeypatch.setattr(crisis, "data_dir", lambda: tmp_path)
    crisis.shipped_classifier.cache_clear()
    loaded = crisis.shipped_classifier()
    assert loaded is not None and loaded.evidence == 1.0
    for text, label in LINES:
        odds, kind = loaded.judge(text)
        assert (odds > 0) == (label != "none")
        assert label in ("none", kind)
        assert odds == pytest.approx(trained.judge(text)[0], abs=0.05)
    crisis.shipped_classifier.cache_clear()


def test_patterns_decide_where_the_file_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crisis, "data_dir", lambda: tmp_path)
    crisis.shipped_classifier.cache_clear()
    assert crisis.shipped_classifier() is None
    assert safety.crisis("자살하고 싶어요") == "suicide" and safety.crisis("점심 먹었어") is None
    crisis.shipped_classifier.cache_clear()


def test_the_decision_trusts_patterns_as_far_as_lines_they_were_not_made_with_show() -> None:
    rng = np.random.default_rng(0)
    danger = np.arange(2000) % 2 == 0
    odds = np.where(danger, 1.0, -1.0) + rng.normal(size=2000)
    dev = np.arange(2000) >= 1500
    good = danger & (rng.random(2000) < 0.5)
    useless = rng.random(2000) < 0.3
    # Perfect on the dev lines both; only one is any good on the others.
    for matched, trusted in ((np.where(dev, danger, good), True), (np.where(dev, danger, useless), False)):
        evidence, threshold = recipe.decide(odds, matched, danger, dev)
        assert (evidence > 1) == trusted
        assert ((odds + evidence * matched)[~danger] > threshold).mean() == pytest.approx(
            recipe.MAX_ALARMS, abs=0.002
        )


def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "models" / "safety" / "crisis.npz"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not a zip")
    monkeypatch.setattr(crisis, "data_dir", lambda: tmp_path)
    crisis.shipped_classifier.cache_clear()
    assert crisis.shipped_classifier() is None
    crisis.shipped_classifier.cache_clear()


def test_the_likeliest_danger_is_named() -> None:
    weights = np.zeros((5, BUCKETS))
    weights[3, features("가")[0]] = 5  # violence
    odds, kind = CrisisClassifier(weights, np.zeros(5), np.ones(BUCKETS), 0.0, 0.0).judge("가")
    assert kind == "violence" and odds > 0

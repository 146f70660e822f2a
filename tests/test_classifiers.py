from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from chatbot import safety
from chatbot.models import ngram
from chatbot.models.ngram import BUCKETS, NgramClassifier, features, shipped_classifier
from training.recipes import classifiers as recipe

WHO = ("나는", "오늘은", "이제", "정말", "자꾸")
LINES = [
    (f"{who} {rest}", label)
    for rest, label in (
        ("죽고 싶은 마음뿐이야", "suicide"),
        ("팔을 또 그었어", "self-harm"),
        ("아빠가 때려요", "violence"),
        ("선배가 몸을 만져요", "abuse"),
        ("배고파 죽겠네", "none"),
        ("산책하기 좋은 날이야", "none"),
    )
    for who in WHO
]
LABELS = ("none", "suicide", "self-harm", "violence", "abuse")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder without classifiers; returns where one would lie."""
    monkeypatch.setattr(ngram, "data_dir", lambda: tmp_path)
    shipped_classifier.cache_clear()
    yield ngram.classifier_path("crisis")
    shipped_classifier.cache_clear()


def test_features_are_a_unit_vector_and_see_through_letter_spacing() -> None:
    columns, values = features("오늘은 비가 와요")
    assert len(set(columns)) == len(columns) and columns.max() < BUCKETS
    assert np.linalg.norm(values) == pytest.approx(1)
    assert dict(zip(*features("죽 고 싶 어"), strict=True)) == dict(zip(*features("죽고싶어"), strict=True))
    assert len(features("")[0]) == 0


def test_a_classifier_learns_and_comes_back_from_its_file(elsewhere: Path) -> None:
    trained = recipe.trained(LINES, LABELS, ["밥 먹었어?", "내일 뭐 해"])
    trained.decision = {"threshold": 0.0, "evidence": 1.0}
    trained.save(elsewhere)
    loaded = shipped_classifier("crisis")
    assert loaded is not None and loaded.decision == trained.decision and loaded.labels == LABELS
    for text, label in LINES:
        odds, kind = loaded.judge(text)
        assert (odds > 0) == (label != "none")
        assert label in ("none", kind)
        assert odds == pytest.approx(trained.judge(text)[0], abs=0.05)


def test_two_labels_are_told_apart_too() -> None:
    lines = [(f"{who} 몇 년도에 일어났어", "ood") for who in WHO] + [
        (f"{who} 좀 졸려", "everyday") for who in WHO
    ]
    trained = recipe.trained(lines, ("everyday", "ood"), ["밥 먹었어?"])
    assert trained.weights.shape == (2, BUCKETS)
    assert trained.judge("그건 몇 년도에 일어났어")[0] > 0 > trained.judge("나 좀 졸려")[0]


def test_patterns_decide_where_the_file_is_missing(elsewhere: Path) -> None:
    assert shipped_classifier("crisis") is None
    assert safety.crisis("자살하고 싶어요") == "suicide" and safety.crisis("점심 먹었어") is None
    assert not safety.about_group("요즘 애들은 다 버릇이 없어")


@pytest.mark.parametrize("damaged", [b"not a zip", b"PK\x03\x04 cut short"])
def test_a_damaged_file_is_as_good_as_none(elsewhere: Path, damaged: bytes) -> None:
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_bytes(damaged)
    assert shipped_classifier("crisis") is None


def test_the_decision_trusts_patterns_as_far_as_lines_they_were_not_made_with_show() -> None:
    rng = np.random.default_rng(0)
    danger = np.arange(2000) % 2 == 0
    odds = np.where(danger, 2.0, -2.0) + rng.normal(size=2000)
    dev = np.arange(2000) >= 1500
    good = danger & (rng.random(2000) < 0.5)
    useless = rng.random(2000) < 0.3
    # Perfect on the dev lines both; only one is any good on the others.
    for matched, trusted in ((np.where(dev, danger, good), True), (np.where(dev, danger, useless), False)):
        evidence, threshold = recipe.decide(odds, matched, danger, dev)
        assert (evidence > 1) == trusted
        passed = (odds + evidence * matched) > threshold
        assert passed[~danger].mean() <= recipe.MAX_ALARMS + 0.002
        assert passed[~danger & dev].mean() <= recipe.MAX_ALARMS + 0.002


def test_people_in_need_are_found_even_at_the_price_of_alarms() -> None:
    rng = np.random.default_rng(1)
    danger = np.arange(2000) % 2 == 0
    odds = np.where(danger, 0.5, -0.5) + rng.normal(size=2000)
    never = np.zeros(2000, dtype=bool)
    dev = np.arange(2000) >= 1000
    _, threshold = recipe.decide(odds, never, danger, dev)
    found = odds > threshold
    assert found[danger & dev].mean() >= recipe.MIN_RECALL
    assert found[~danger].mean() > recipe.MAX_ALARMS


def test_the_likeliest_danger_is_named() -> None:
    weights = np.zeros((5, BUCKETS))
    weights[3, features("가")[0]] = 5
    odds, kind = NgramClassifier(LABELS, weights, np.zeros(5), np.ones(BUCKETS), {}).judge("가")
    assert kind == "violence" and odds > 0


@pytest.mark.slow
def test_one_command_makes_them_all(tmp_path: Path) -> None:
    made = CliRunner().invoke(recipe.app, ["--smoke", "--out", str(tmp_path / "out")])
    assert made.exit_code == 0, made.output
    crisis, groups, unknown = (
        NgramClassifier.load(tmp_path / "out" / f"{name}.npz") for name in recipe.CLASSIFIERS
    )
    assert crisis and groups and unknown
    assert set(crisis.decision) == {"threshold", "evidence"} and set(groups.decision) == {"threshold"}
    assert groups.judge("그 나라 사람들은 다 게으르다며")[0] > groups.judge("그 나라에 놀러 갔다 왔어")[0]
    assert (
        unknown.judge("1998년에 노벨 물리학상을 받은 사람이 누구야")[0] > unknown.judge("오늘 좀 졸리네")[0]
    )
    wrong = CliRunner().invoke(recipe.app, ["--only", "weather"])
    assert wrong.exit_code == 2 and "crisis, groups, unknown" in wrong.stderr

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from chatbot.errors import ChatbotError
from chatbot.models.encoder import load_encoder
from tests.conftest import Run
from training.evaluate import evaluate_retrieval, report_lines, sts_spearman


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATBOT_HOME", str(tmp_path_factory.mktemp("home")))
        return evaluate_retrieval()


def test_what_ships_beats_the_baseline(figures: dict) -> None:
    scorers = figures["scorers"]
    assert scorers["dense"]["top1"] >= scorers["tfidf"]["top1"]
    assert scorers["fused"]["top1"] >= scorers["tfidf"]["top1"] + 0.03
    for found in scorers.values():
        assert found["top1"] <= found["mrr"] <= 1


def test_the_turn_before_helps(figures: dict) -> None:
    follow_ups = figures["follow_ups"]
    assert follow_ups["items"] >= 40
    assert follow_ups["with_context"] > follow_ups["without_context"]


def test_the_floor_declines_more_strangers_than_friends(figures: dict) -> None:
    for scorer, found in figures["floor"].items():
        assert 1 - found["coverage"] < found["ood_declined"]
        assert found["accuracy_when_answered"] > figures["scorers"][scorer]["top1"]


def test_the_report_says_it_in_korean(figures: dict) -> None:
    text = "\n".join(report_lines(figures))
    assert all(word in text for word in ("dense", "tfidf", "fused", "MRR", "범위 밖", "ms"))


def test_data_without_test_wordings_leaves_one_out(tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text(
        "question,answer\n비가 온다,우산\n비 오네,우산\n배고파,밥\n배고프다,밥\n", encoding="utf-8"
    )
    found = evaluate_retrieval(data=str(file))
    assert found["test_wordings"] == 4 and found["scorers"]["fused"]["top1"] >= 0.5
    file.write_text("question,answer\n비가 온다,우산\n배고파,밥\n", encoding="utf-8")
    with pytest.raises(ChatbotError, match="own"):
        evaluate_retrieval(data=str(file))


def test_spearman_of_an_sts_file(tmp_path: Path) -> None:
    from scipy.stats import spearmanr

    rows = [
        ("비가 와요", "비 오네요", 5.0),
        ("비가 와요", "배고파요", 0.5),
        ("안녕", "잘 가", 1.0),
        ("졸려", "졸리다", 4.5),
    ]
    encoder = load_encoder()
    cosine = [(encoder.encode([a]) * encoder.encode([b])).sum() for a, b, _ in rows]
    expected = 100 * spearmanr(cosine, [s for *_, s in rows]).statistic
    lines = tmp_path / "sts.jsonl"
    lines.write_text("".join(json.dumps({"a": a, "b": b, "score": s}) + "\n" for a, b, s in rows))
    table = tmp_path / "sts.tsv"
    table.write_text(
        "score\tsentence1\tsentence2\n" + "".join(f"{s}\t{a}\t{b}\n" for a, b, s in rows), encoding="utf-8"
    )
    for path in (lines, table):
        assert sts_spearman(encoder, path) == pytest.approx(expected, abs=25)
        assert not np.isnan(sts_spearman(encoder, path))
    with pytest.raises(ChatbotError, match="--sts"):
        sts_spearman(encoder, tmp_path / "none.jsonl")


def test_the_command_writes_and_prints_the_same(run: Run, tmp_path: Path) -> None:
    file, out = tmp_path / "own.csv", tmp_path / "figures.json"
    file.write_text("question,answer\n비가 온다,우산\n비 오네,우산\n", encoding="utf-8")
    done = run("evaluate", "--backend", "retrieval", "--data", str(file), "--json", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(out.read_text(encoding="utf-8"))

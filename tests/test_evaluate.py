from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from chatbot.chatlogs.importing import Request, import_exports
from chatbot.errors import ChatbotError
from chatbot.knowledge import load_knowledge
from chatbot.measures import chrf
from chatbot.models.encoder import load_encoder
from chatbot.screens.evaluation import report_lines
from tests.conftest import Run
from training import evaluate
from training import evaluate as evaluate_module
from training.evaluate import evaluate_retrieval, sts_spearman
from training.metrics import style_accuracy


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATBOT_HOME", str(tmp_path_factory.mktemp("home")))
        every = evaluate._lines
        patch.setattr(evaluate, "_lines", lambda knowledge, index: every(knowledge, index)[::4])
        return evaluate_retrieval()


def test_what_ships_beats_the_baseline(figures: dict) -> None:
    scorers = figures["scorers"]
    assert scorers["dense"]["top1"] >= scorers["tfidf"]["top1"]
    assert scorers["fused"]["top1"] >= scorers["tfidf"]["top1"] + 0.03
    for found in scorers.values():
        assert found["top1"] <= found["mrr"] <= 1
        assert 100 * found["top1"] < found["chrf"] < 100  # a right answer is one of its own references


def test_the_turn_before_helps(figures: dict) -> None:
    follow_ups = figures["follow_ups"]
    assert follow_ups["items"] >= 40
    assert follow_ups["with_context"] > follow_ups["without_context"]


def test_the_floor_declines_more_strangers_than_friends(figures: dict) -> None:
    for scorer, found in figures["floor"].items():
        assert 1 - found["coverage"] < found["ood_declined"]
        assert found["accuracy_when_answered"] > figures["scorers"][scorer]["top1"]


def test_the_report_says_it_in_korean(figures: dict) -> None:
    lines = report_lines(figures)
    shown = dict(line.split("\t", 1) for line in lines if "\t" in line)
    assert shown["찾기 (retrieval)"].split("\t") == list(figures["scorers"])
    columns = figures["scorers"].values()
    assert shown["맞는 답이 첫째 (top-1)"] == "\t".join(f"{100 * f['top1']:.1f} %" for f in columns)
    assert shown["평균 역순위 (MRR)"] == "\t".join(f"{f['mrr']:.3f}" for f in columns)
    assert shown["한 질문에 걸린 시간 (p95)"] == f"{figures['latency_ms']['p95']:.1f} ms"
    assert any("범위 밖" in line for line in lines)


def test_a_dataset_is_measured_by_its_last_part_and_by_words(tmp_path: Path) -> None:
    questions = ("밥 먹었어?", "어디야?", "뭐 해?", "졸려?")
    answers = ("응 먹었어", "집이야", "그냥 있어", "아니 괜찮아")
    rows = ["Date,User,Message"]
    for n in range(112):
        day = f"2024-{1 + n // 28:02d}-{1 + n % 28:02d} 20:00"
        rows.append(f'{day}:01,"나","{n} {questions[n % 4]}"')  # no pair is kept twice
        rows.append(f'{day}:40,"다빈","{answers[n % 4]}"')
    path = tmp_path / "talk.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    import_exports([path], Request("다빈", ("나",), "다빈"))
    found = evaluate_retrieval(data="다빈")
    assert found["test_wordings"] > 5 and "follow_ups" not in found
    fused = found["scorers"]["fused"]
    assert fused["top1"] > 0.8 and fused["chrf"] > 80
    assert found["floor"]["fused"]["accuracy_when_answered"] >= fused["top1"]


def test_chrf_is_that_of_sacrebleu_with_every_text_against_its_own_references() -> None:
    from sacrebleu.metrics import CHRF

    texts = ["밥 먹었어?", "응", "집에 가는 중이야"]
    expected = CHRF().corpus_score(texts, [["밥 먹었니?", "응", "집에 가고 있어"], ["밥은?", None, "집"]])
    found = chrf(texts, [["밥 먹었니?", "밥은?"], ["응"], ["집에 가고 있어", "집"]])
    assert found == pytest.approx(expected.score) and 0 < found < 100
    assert chrf(texts, [[text] for text in texts]) == pytest.approx(100)


def test_the_speech_level_of_our_own_answers_is_told(tmp_path: Path, run: Run) -> None:
    rows = [
        {"formal": list(intent.answers.polite), "informal": list(intent.answers.casual)}
        for intent in load_knowledge().intents[::40]
    ]
    path = tmp_path / "styles.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    found = style_accuracy(path)
    assert found["sentences"] > 200 and min(found["accuracy"], found["polite"], found["casual"]) > 0.95
    path.write_text(
        '{"formal": ["그래", "가요"], "informal": ["가요", "가자", "왔어", "ㅋㅋ"]}\n', encoding="utf-8"
    )
    found = style_accuracy(path)
    assert (found["polite"], found["casual"], found["accuracy"]) == (0.5, 0.5, 0.5)
    own = tmp_path / "own.csv"
    own.write_text("question,answer\n비가 온다,우산\n비 오네,우산\n", encoding="utf-8")
    done = run("evaluate", "--data", str(own), "--styles", str(path))
    assert done.returncode == 0 and "존댓말 (formal)\t50.0 %" in done.stdout, done.stderr
    path.write_text('{"formal": ["가요"], "informal": []}\n', encoding="utf-8")
    with pytest.raises(ChatbotError, match="styles"):
        style_accuracy(path)


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
        found = sts_spearman(encoder, path, weight=1.0)
        assert found["dense"] == pytest.approx(expected, abs=25)
        assert found["fused"] == found["dense"] and not np.isnan(list(found.values())).any()
        assert sts_spearman(encoder, path, weight=0.0)["fused"] == found["tfidf"]
    with pytest.raises(ChatbotError, match="--sts"):
        sts_spearman(encoder, tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sts.jsonl", '{"a": "가", "b": "나", "score": "비밀이야"}\n'),
        ("sts.jsonl", '{"a": "가", "b": "나", "score": null}\n'),
        ("sts.tsv", "score\tsentence1\tsentence2\n3\t가\n"),
        ("sts.jsonl", '{"a": "가", "b": "나", "score": 3}\n'),  # no rank without another
        ("sts.jsonl.gz", "cut off"),
    ],
)
def test_an_sts_file_that_is_none_is_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    def measured(*_: object) -> None:
        raise AssertionError("everything else was measured first")

    monkeypatch.setattr(evaluate_module, "load_knowledge", measured)
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ChatbotError, match=r"sts\.") as caught:
        evaluate_module.evaluate_retrieval(sts=tmp_path / name)
    assert "비밀" not in str(caught.value)


def test_a_place_that_cannot_be_written_is_named_before_all_else(run: Run, tmp_path: Path) -> None:
    done = run("evaluate", "--data", "그런 데이터는 없다", "--out", str(tmp_path))
    assert done.returncode == 1 and "--out" in done.stderr


def test_the_command_writes_and_prints_the_same(run: Run, tmp_path: Path) -> None:
    file, out = tmp_path / "own.csv", tmp_path / "figures.json"
    file.write_text("question,answer\n비가 온다,우산\n비 오네,우산\n", encoding="utf-8")
    done = run("evaluate", "--backend", "retrieval", "--data", str(file), "--json", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(out.read_text(encoding="utf-8"))

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertForMaskedLM

import training.encoder_checkpoint as files
from chatbot.chatlogs.importing import Request, import_exports
from chatbot.datasets import trained_on
from chatbot.errors import UsageError
from chatbot.knowledge import DataError, load_knowledge
from chatbot.models.checkpoint import CheckpointError
from chatbot.models.encoder import ONNX_GRAPH, EncoderError, OnnxEncoder, load_encoder
from chatbot.resources import data_dir
from tests.conftest import ROOT, Run
from tests.test_encoder import write_hub_tokenizer
from training.distil import keep_blocks, teacher_examples
from training.encoder import Options, Sources, report_lines, train_encoder
from training.examiner import Examiner
from training.pairs import Held, Retrieval, load_scores, load_training_data
from training.trainer import last_checkpoint
from training.tuning import blocks
from training.vocabulary import train_wordpiece

THINGS = ("사과", "바다", "친구", "학교", "영화", "고양이", "여행", "노래", "비", "커피", "책", "운동")
QUICK = {"epochs": 8, "batch": 32, "learning_rate": 5e-3, "patience": 0}


@pytest.fixture(scope="module")
def klue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Laid out as ``klue/bert-base`` on the hub: a masked language model without a pooling file."""
    folder = tmp_path_factory.mktemp("klue") / "bert-base"
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    train_wordpiece(tokenizer, [e.question for e in load_knowledge().entries], 1500, 1000, specials)
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=4, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder)
    write_hub_tokenizer(folder, vocabulary, do_lower_case=False)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Questions and answers: what goes with what is not in the words, it must be learnt."""
    path = tmp_path / "talk.csv"
    goes_with = dict(zip(THINGS, THINGS[5:] + THINGS[:5], strict=True))
    rows = [f"{a} {b} 어때?,{goes_with[b]} {goes_with[a]} 좋아해" for a in THINGS for b in THINGS if a != b]
    random.Random(0).shuffle(rows)
    path.write_text("\n".join(["question,answer", *rows]) + "\n", encoding="utf-8")
    return str(path)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return {name.removeprefix("bert."): t for name, t in load_file(folder / "model.safetensors").items()}


def recorded(out: Path, kind: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["kind"] == kind]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_it_learns_and_leaves_what_it_promises(klue: Path, data: str, home: Path) -> None:
    out = home / "models" / "talk-encoder"
    figures = train_encoder(Sources([data], str(klue)), out, Options(**QUICK))
    for judged in (figures, figures["test"]):  # of 13 pairs each: a rank says more than a hit
        assert judged["after"]["pairs_mrr"] > judged["before"]["pairs_mrr"] + 0.1
    assert recorded(out, "step") and recorded(out, "validation")[0]["mean"] > 0
    assert (out / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "pairs_top1" in card and "고양이" not in card  # nothing of what it was trained on
    assert not list(out.parent.glob(".*"))
    script = (
        "import sys; from sentence_transformers import SentenceTransformer as S;"
        "v = S(sys.argv[1], device='cpu').encode(['커피 바다 어때?']); print(v.tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(out)], capture_output=True, text=True, timeout=120
    )
    plain = np.array(json.loads(done.stdout.splitlines()[-1]))
    encoder = load_encoder("talk-encoder")
    assert isinstance(encoder, OnnxEncoder)
    assert float((plain @ encoder.encode(["커피 바다 어때?"]).T)[0, 0]) > 0.97
    np.testing.assert_allclose(np.linalg.norm(plain), 1, atol=1e-4)


@pytest.mark.parametrize("tune", ["full", "freeze", "gradual"])
def test_only_what_was_chosen_changes(klue: Path, data: str, tmp_path: Path, tune: Any) -> None:
    out = tmp_path / "out"
    train_encoder(Sources([data], str(klue)), out, Options(**QUICK, tune=tune, layers=1))
    before, after = weights(klue), weights(out)
    used = {name for name in after if not name.startswith("pooler.")}
    assert used <= set(before)
    changed = {name for name in used if not torch.equal(before[name], after[name])}
    trained = [row["trained"] for row in recorded(out, "step")]
    if tune == "freeze":
        top = {name for name in used if name.startswith("encoder.layer.3.")}
        assert changed == top and set(trained) == {sum(before[name].numel() for name in top)}
    else:
        assert changed == used and trained[-1] == sum(before[name].numel() for name in used)
        assert trained == sorted(trained) and (trained[0] < trained[-1]) == (tune == "gradual")


def training(data: str, base: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    command = ["train", "encoder", "--data", data, "--base", str(base), "--out", str(out), *more]
    command += ["--epochs", "4", "--batch", "16", "--evaluate-every", "5"]
    return subprocess.Popen(
        [sys.executable, "-m", "chatbot", *command],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def steps_done(out: Path, file: str) -> int:
    path = out.parent / f".{out.name}.training" / file
    return path.read_text(encoding="utf-8").count('"kind": "step"') if path.exists() else 0


@pytest.mark.slow
def test_a_killed_and_a_stopped_run_go_on_to_the_same_weights(klue: Path, data: str, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n".join(e.question for e in load_knowledge().entries[:400]), encoding="utf-8")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    read = ("--pretrain", str(text), "--tune", "gradual", "--patience", "2")
    assert training(data, klue, whole, *read).wait(240) == 0
    more: tuple[str, ...] = ()
    stops = (
        ("pretraining.jsonl", 4, signal.SIGKILL),
        ("metrics.jsonl", 3, signal.SIGKILL),
        ("metrics.jsonl", 12, signal.SIGINT),
    )
    for file, wanted, sent in stops:
        child = training(data, klue, broken, *read, "--save-every", "0", *more)
        deadline = time.monotonic() + 120
        while steps_done(broken, file) < wanted and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        child.send_signal(sent)
        assert child.wait(120) in (130, -signal.SIGKILL)
        more = ("--resume",)
    saved = [int(path.name.split("-")[1]) for path in broken.parent.glob(".*/tuning/checkpoint-*")]
    assert max(saved) == recorded(broken.parent / f".{broken.name}.training", "step")[-1]["number"]
    assert training(data, klue, broken, *read, "--save-every", "0", "--resume").wait(240) == 0
    one, other = weights(whole), weights(broken)
    assert all(torch.equal(one[name], other[name]) for name in one)
    told = [json.loads((out / "chatbot.json").read_text(encoding="utf-8")) for out in (whole, broken)]
    assert told[0]["pretraining"] == told[1]["pretraining"]
    numbers = [row["number"] for row in recorded(broken, "step")]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("changed", ["base", "teacher", "sts.csv"])
def test_a_run_goes_on_only_with_what_it_began_with(
    klue: Path, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.encoder.run", stop)
    base, teacher, sts = (tmp_path / name for name in ("base", "teacher", "sts.csv"))
    for folder in (base, teacher):
        shutil.copytree(klue, folder)
    sts.write_text("a,b,score\n사과,배,1\n비,눈,3\n", encoding="utf-8")
    sources, out = Sources([data], str(base), str(teacher), sts=sts), tmp_path / "out"
    for resume in (False, True):
        with pytest.raises(KeyboardInterrupt):
            train_encoder(sources, out, Options(**QUICK), resume=resume)
    if changed == "sts.csv":
        sts.write_text("a,b,score\n사과,배,2\n비,눈,3\n", encoding="utf-8")
    else:
        model = BertForMaskedLM.from_pretrained(tmp_path / changed)
        model.bert.embeddings.word_embeddings.weight.data[7] += 1
        model.save_pretrained(tmp_path / changed)
    with pytest.raises(UsageError, match="--resume: 멈춘 학습과"):
        train_encoder(sources, out, Options(**QUICK), resume=True)


def test_a_checkpoint_cut_short_is_passed_over(tmp_path: Path) -> None:
    for number, state in ((5, "{}"), (10, '{"global_st'), (15, None)):
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        if state:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-5"
    assert last_checkpoint(tmp_path / "none") is None


def test_it_stops_when_nothing_gets_better(klue: Path, data: str, tmp_path: Path) -> None:
    said: list[str] = []
    options = Options(epochs=20, batch=16, learning_rate=1e-12, evaluate_every=2, patience=2)
    figures = train_encoder(Sources([data], str(klue)), tmp_path / "out", options, say=said.append)
    assert figures["training"]["steps"] == 6
    assert any("나아지지 않았어요" in line for line in said)


@pytest.mark.slow
def test_a_student_learns_more_with_its_teacher(tmp_path: Path) -> None:
    """A teacher shows what it knows beyond the few pairs: measured on other intents than the pairs are of."""
    intents = load_knowledge().intents
    same = [{"a": intent.questions[0], "b": intent.questions[1]} for intent in intents[::8]]
    path = write_jsonl(tmp_path / "same.jsonl", same)
    others = {i.questions[0]: {i.questions[1]} for i in intents[1::4] if len(i.questions) > 1}
    asked = Retrieval(others, [text for right in others.values() for text in right])
    found = {}
    for name, teacher in (("with", "small"), ("without", None)):
        options = Options(
            student_layers=2, epochs=5, batch=32, learning_rate=4e-4, patience=0, evaluate_every=999
        )
        train_encoder(Sources([str(path)], "small", teacher), tmp_path / name, options)
        student = SentenceTransformer(str(tmp_path / name), device="cpu")
        found[name] = Examiner(Held({"paraphrases": asked}))(student)["paraphrases_mrr"]
    assert found["with"] > 0.01 + found["without"], found


def test_blocks_are_kept_evenly_and_a_student_comes_from_its_teacher(
    klue: Path, data: str, tmp_path: Path
) -> None:
    model = BertForMaskedLM.from_pretrained(klue)
    every = blocks(model)
    with pytest.raises(UsageError, match="--student-layers 9"):
        keep_blocks(model, 9)
    keep_blocks(model, 2)
    assert blocks(model) == [every[0], every[3]] and model.config.num_hidden_layers == 2
    out = tmp_path / "out"
    train_encoder(Sources([data], teacher=str(klue)), out, Options(**QUICK))
    assert not [name for name in weights(out) if name.startswith("encoder.layer.2.")]
    assert json.loads((out / "config.json").read_text())["num_hidden_layers"] == 2


@pytest.mark.parametrize("width", [8, 32, 48])
def test_a_teachers_vectors_fit_any_width(klue: Path, width: int) -> None:
    teacher = SentenceTransformer(str(klue), device="cpu")
    texts = [entry.question for entry in load_knowledge().entries[:60]]
    vectors = np.array(teacher_examples(teacher, texts, width)["label"])
    exact = teacher.encode(texts, normalize_embeddings=True)
    assert vectors.shape == (60, width)
    _, _, directions = np.linalg.svd(exact)
    kept = exact @ directions[:width].T  # of 32 numbers all, where the student has room
    kept /= np.linalg.norm(kept, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors @ vectors.T, kept @ kept.T, atol=1e-4)


def test_the_kind_of_data_is_found_from_its_content(tmp_path: Path) -> None:
    pairs = tmp_path / "qa.csv"
    pairs.write_text("Q,A,label\n" + "".join(f"질문{n},대답{n},0\n" for n in range(10)), encoding="utf-8")
    same = write_jsonl(
        tmp_path / "same.jsonl", [{"a": f"가{n}", "b": f"나{n}", "label": f"{n % 2}.0"} for n in range(20)]
    )
    nli = tmp_path / "nli.tsv"
    labels = ("entailment", "neutral", "contradiction")
    lines = [f'전제 "{n}\t{label} {n}\t{label}' for n in range(10) for label in labels]
    nli.write_text("\n".join(["sentence1\tsentence2\tgold_label", *lines]) + "\n", encoding="utf-8")
    sts = tmp_path / "sts.tsv"
    lines = [f"main\tx\t{n % 6}.0\t말{n}\t글{n}" for n in range(10)]
    sts.write_text("\n".join(["genre\tid\tscore\tsentence1\tsentence2", *lines]) + "\n", encoding="utf-8")
    talk = data_dir() / "dialogues" / "daily.jsonl"
    found = load_training_data([str(path) for path in (pairs, same, nli, sts, talk)])
    assert found.train["pairs"][0] == ("질문0", "대답0")
    assert found.train["paraphrases"][0] == ("가1", "나1") and len(found.train["paraphrases"]) == 8
    assert found.train["triplets"][0] == ('전제 "0', "entailment 0", "contradiction 0")
    assert found.train["scores"][1] == ("말1", "글1", 1.0)
    assert found.valid.retrievals["triplets"].right == {'전제 "8': {"entailment 8"}}
    assert found.test.scores == [("말9", "글9", 3.0)]
    assert len(load_scores(sts)) == 10
    for path, said in ((same, "유사도 점수가 없어요"), (tmp_path / "none.tsv", "그런 파일이 없어요")):
        with pytest.raises(DataError, match=f"--sts .*{said}"):
            load_scores(path)
    trained = {text for examples in found.train.values() for example in examples for text in example[:2]}
    assert "질문9" not in trained and "가19" not in trained


def test_our_intents_keep_their_dev_and_test_questions(tmp_path: Path) -> None:
    topic = data_dir() / "qa" / "weather.jsonl"
    found = load_training_data([str(topic)])
    intents = load_knowledge(topic).intents
    trained = {text for pair in found.train["intents"] for text in pair}
    assert trained <= {question for intent in intents for question in intent.questions}
    assert not trained & set(found.valid.retrievals["intents"].right)
    assert len(found.test.retrievals["intents"].right) == sum(len(set(i.test_questions)) for i in intents)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.jsonl", '{"text": "안녕"}\n', "무슨 데이터인지"),
        ("x.csv", "a,b,score\n하나,둘,비밀\n", "x.csv 2번째 줄: score 칸이 숫자가 아니에요"),
        ("x.csv", "a,b,score\n하나,둘,1\n하나,둘,nan\n", "3번째 줄: score 칸이 숫자가 아니에요"),
        ("x.csv", "a,b,score\n하나,둘,-inf\n", "2번째 줄: score 칸이 숫자가 아니에요"),
        ("x.csv", "a,b,label\n하나,둘,1\n하나,둘,비밀\n", "3번째 줄: label 칸이 숫자가 아니에요"),
        ("x.csv", "a,b\n하나,\n", "2번째 줄: 빈 칸이 있어요"),
        ("x.jsonl", '{"a": "하나", "b": "둘"}\n{"a": "하나"}\n', "2번째 줄"),
        ("x.jsonl", '["하나"]\n', "무슨 데이터인지"),
        ("x.jsonl", "", "하나도 없"),
        ("x.jsonl", '{"a": "하나", "b": "둘", "label": 0}\n', "하나도 없"),
    ],
)
def test_data_of_no_known_form_is_said_so(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=said) as raised:
        load_training_data([str(tmp_path / name)])
    assert "비밀" not in str(raised.value)


def test_what_files_hold_is_masked(tmp_path: Path) -> None:
    number, hidden = "010-1234-5678", "[전화번호]"
    pairs = tmp_path / "qa.csv"
    pairs.write_text(f"question,answer\n번호 뭐야?,{number}야\n", encoding="utf-8")
    same = write_jsonl(tmp_path / "same.jsonl", [{"a": f"{number}로 해", "b": f"{number}로 걸어"}])
    intent = {
        "id": "x-01", "topic": "x", "questions": [f"{number} 누구야?", f"{number} 알아?"],
        "dev_questions": [f"{number}는 누구?"], "test_questions": [],
        "answers": {"polite": ["몰라요."], "casual": ["몰라."]},
    }  # fmt: skip
    found = load_training_data([str(pairs), str(same), str(write_jsonl(tmp_path / "x.jsonl", [intent]))])
    assert set(found.train) == {"pairs", "paraphrases", "intents"}
    assert number not in repr(found)
    assert found.train["pairs"] == [("번호 뭐야?", f"{hidden}야")]
    right = {f"{hidden} 누구야?", f"{hidden} 알아?"}
    assert found.valid.retrievals["intents"] == Retrieval({f"{hidden}는 누구?": right}, sorted(right))


def test_scores_that_are_all_the_same_are_not_measured(klue: Path) -> None:
    rows = [("사과", "배", 2.0), ("비", "눈", 2.0), ("책", "영화", 2.0)]
    assert not Examiner(Held(scores=rows))
    figures = Examiner(Held(scores=rows), [("사과", "배", 1.0), *rows])(SentenceTransformer(str(klue)))
    assert set(figures) == {"sts_spearman", "mean"} and np.isfinite(figures["mean"])


def test_a_model_to_which_all_is_alike_scores_nothing(klue: Path) -> None:
    rows = [("사과", "사과", 2.0), ("사과", "사과", 1.0), ("사과", "사과", 0.0)]
    assert Examiner(Held(scores=rows))(SentenceTransformer(str(klue)))["mean"] == 0.0


@pytest.mark.parametrize("answers", [1, 30])
def test_data_that_teach_nothing_are_said_so(klue: Path, tmp_path: Path, answers: int) -> None:
    path = tmp_path / "few.csv"
    rows = [f"{n}번 어때?,좋아" for n in range(answers)]  # one answer: there is nothing to tell it from
    path.write_text("\n".join(["question,answer", *rows]) + "\n", encoding="utf-8")
    said: list[str] = []
    train_encoder(Sources([str(path)], str(klue)), tmp_path / "out", Options(epochs=1), say=said.append)
    assert len([line for line in said if "데이터를 더 모아" in line]) == 1
    assert not any("나아지지 않았어요" in line for line in said)


def test_every_kind_at_once_with_mined_negatives(klue: Path, data: str, tmp_path: Path) -> None:
    nli = write_jsonl(
        tmp_path / "nli.jsonl",
        [
            {"a": f"{a} 샀다", "b": f"{a} {what}", "label": label}
            for a in THINGS
            for what, label in (("있다", "entailment"), ("없다", "contradiction"))
        ],
    )
    sts = write_jsonl(
        tmp_path / "sts.jsonl",
        [{"a": f"{a} 좋아", "b": f"{b} 좋아", "score": 5.0 * (a == b)} for a in THINGS for b in THINGS],
    )
    said: list[str] = []
    figures = train_encoder(
        Sources([data, str(nli), str(sts)], str(klue), sts=sts),
        tmp_path / "out",
        Options(epochs=1, batch=16, hard_negatives=1),
        say=said.append,
    )
    assert set(figures["examples"]) == {"pairs", "triplets", "scores"}
    assert {"pairs_top1", "triplets_mrr", "scores_spearman", "sts_spearman", "mean"} <= set(figures["after"])
    assert any("메모리" in line for line in said)


def test_big_batches_are_worked_out_in_parts(klue: Path, data: str, tmp_path: Path) -> None:
    figures = train_encoder(Sources([data], str(klue)), tmp_path / "out", Options(epochs=2, batch=200))
    assert figures["training"]["steps"] == 2


def test_plain_text_is_read_first(klue: Path, data: str, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n".join(e.question for e in load_knowledge().entries[:1500]), encoding="utf-8")
    out = tmp_path / "out"
    options = Options(tune="freeze", layers=1, epochs=1, batch=32, learning_rate=3e-3)
    figures = train_encoder(Sources([data], str(klue), pretrain=[text]), out, options)
    read = figures["pretraining"]
    assert read["after"]["nats"] < read["before"]["nats"] - 0.3 and read["training"]["steps"] == 46
    assert read == json.loads((out / "chatbot.json").read_text(encoding="utf-8"))["pretraining"]
    line = report_lines(figures)[0]
    assert line.startswith("글 읽기\t") and line.endswith(f" → {read['after']['perplexity']:.1f}")
    rows = [json.loads(line) for line in (out / "pretraining.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [row["loss"] for row in rows if row["kind"] == "step"]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3
    name = "embeddings.word_embeddings.weight"  # frozen afterwards
    assert not torch.equal(weights(klue)[name], weights(out)[name])


def test_a_graph_that_answers_differently_is_left_out(
    klue: Path, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_AGREEMENT", 1.1)
    said: list[str] = []
    train_encoder(Sources([data], str(klue)), tmp_path / "out", Options(epochs=1), say=said.append)
    assert not (tmp_path / "out" / ONNX_GRAPH).exists() and any("8비트" in line for line in said)


def test_encoders_of_a_dataset_are_found_also_unfinished(
    klue: Path, data: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import training.encoder as module

    import_exports([Path(data)], Request("표"))
    out = home / "models" / "표-encoder"
    with monkeypatch.context() as patch:
        patch.setattr(module, "run", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train_encoder(Sources(["표"], str(klue)), out, Options(**QUICK))
    assert trained_on("표") == [out.with_name(".표-encoder.training")]
    train_encoder(Sources(["표"], str(klue)), out, Options(**QUICK))
    assert trained_on("표") == [out]
    assert json.loads((out / "chatbot.json").read_text(encoding="utf-8"))["dataset"] == ["표"]


def test_what_cannot_be_done_is_said(klue: Path, data: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="이어서 할 학습이 없어요"):
        train_encoder(Sources([data], str(klue)), out, resume=True)
    with pytest.raises(UsageError, match="--layers 9"):
        train_encoder(Sources([data], str(klue)), out, Options(tune="freeze", layers=9))
    begun = out.with_name(".out.training")
    assert not begun.exists()
    begun.mkdir()
    (begun / "run.json").write_text('{"identity": "[]"}')
    with pytest.raises(UsageError, match="데이터나 옵션이 달라요"):
        train_encoder(Sources([data], str(klue)), out, resume=True)
    with pytest.raises(UsageError, match="lora"):
        train_encoder(Sources([data], str(klue)), out, Options(tune="lora"))
    with pytest.raises(EncoderError, match="--teacher '없는것'"):
        train_encoder(Sources([data], teacher="없는것"), out)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "letter.txt").write_text("dear")
    with pytest.raises(CheckpointError, match="다른 파일"):
        train_encoder(Sources([data], str(klue)), taken)


def test_without_the_hub_it_names_the_small_encoder(run: Run, data: str) -> None:
    done = run("train", "encoder", "--data", data)
    assert done.returncode == 1 and "--base small" in done.stderr and len(done.stderr.splitlines()) == 1


def test_json_is_all_there_is_on_standard_output(run: Run, klue: Path, data: str, home: Path) -> None:
    done = run("train", "encoder", "--data", data, "--base", str(klue), "--epochs", "1", "--json")
    assert json.loads(done.stdout)["after"]["pairs_mrr"] and done.returncode == 0
    assert "talk-encoder" in done.stderr and "WARNING" not in done.stderr
    own = ("--data", data, "--encoder", "talk-encoder")
    asked = run("ask", "커피 바다 어때?", "--backend", "retrieval", *own)
    assert asked.returncode == 0 and asked.stdout.split()[-1:] == ["좋아해"]

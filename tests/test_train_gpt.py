from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from chatbot.backends.gpt import GptBackend
from chatbot.chatlogs.importing import Request, import_exports
from chatbot.datasets import trained_on
from chatbot.dialogue import Turn
from chatbot.errors import UsageError
from chatbot.models.checkpoint import load_tokenizer
from chatbot.models.format import MarkerFormat, add_markers
from tests.conftest import ROOT, Run
from tests.tiny_models import write_kogpt2
from training.dialogues import load_splits
from training.gpt import Options, fine_tune
from training.memorisation import memorised
from training.tuning import Tuning, blocks, with_lora

ANSWERS = ("응 그래", "아니 별로", "나도 그렇게 생각해", "내일 보자", "밥 먹었어?")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_kogpt2(tmp_path / "base")


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "talk.jsonl"
    rows = []
    for n in range(60):
        messages = [
            {"role": "user", "name": None, "content": f"오늘 {n}번째 이야기야"},
            {"role": "assistant", "name": None, "content": ANSWERS[n % 5]},
        ]
        rows.append(json.dumps({"id": str(n), "messages": messages, "meta": {}}, ensure_ascii=False))
    path.write_text("\n".join(rows), encoding="utf-8")
    return str(path)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_it_learns_and_tells_what_it_did(base: Path, data: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    figures = fine_tune([data], out, str(base), Options(epochs=6, batch_tokens=256, learning_rate=3e-3))
    assert figures["after"]["perplexity"] < 0.8 * figures["before"]["perplexity"]
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[0]["kind"] == "run" and {"step", "validation"} <= {row["kind"] for row in rows}
    assert (out / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert "## By heart" in (out / "README.md").read_text(encoding="utf-8")
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize("tune", ["full", "freeze", "gradual", "lora"])
def test_only_what_was_chosen_changes(base: Path, data: str, tmp_path: Path, tune: Any) -> None:
    out = tmp_path / "out"
    options = Options(tune=tune, layers=1, epochs=1, batch_tokens=256, learning_rate=1e-2)
    fine_tune([data], out, str(base), options)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    trained = [row["trained"] for row in rows if row["kind"] == "step"]
    before, after = fresh_and_trained(base, out)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    last = max(int(name.split(".h.")[1].split(".")[0]) for name in before if ".h." in name)
    if tune == "freeze":
        assert changed and all(f".h.{last}." in name for name in changed)
        assert set(trained) == {sum(t.numel() for name, t in before.items() if f".h.{last}." in name)}
    elif tune == "gradual":
        assert trained == sorted(trained) and trained[0] < trained[-1]
    elif tune == "lora":
        assert len(set(trained)) == 1 and trained[0] < sum(t.numel() for t in before.values())
        embedding = next(name for name in before if name.endswith("wte.weight"))
        same = (before[embedding] == after[embedding]).all(dim=1)
        assert not same[-8:].any() and same[:-8].all()  # the added tokens alone
    else:
        assert changed == set(before)


def fresh_and_trained(base: Path, out: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return the weights as they were when training began, and as they came out."""
    from chatbot.models.checkpoint import load_model, resize_embeddings

    tokenizer = load_tokenizer(base)
    model = load_model(base, torch.float32, len(tokenizer))
    add_markers(tokenizer)
    resize_embeddings(model, len(tokenizer), 0)
    after = weights(out)
    return {name: tensor for name, tensor in model.state_dict().items() if name in after}, after


def test_a_checkpoint_opens_in_plain_transformers(base: Path, data: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fine_tune([data], out, str(base), Options(tune="lora", epochs=1, batch_tokens=256), keep_adapter=True)
    ids = MarkerFormat(load_tokenizer(out)).text("밥 먹었어?")
    script = (
        "import sys, json; from transformers import AutoModelForCausalLM as M, AutoTokenizer as T;"
        "m = M.from_pretrained(sys.argv[1]); t = T.from_pretrained(sys.argv[1]);"
        "print(json.dumps([t('밥 먹었어?', add_special_tokens=False)['input_ids'],"
        " m.lm_head.weight.data_ptr() == m.transformer.wte.weight.data_ptr()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(out)], capture_output=True, text=True, timeout=120
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [ids, True]
    assert (out / "adapter" / "adapter_config.json").is_file()


def training(data: str, base: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [
        "train",
        "gpt",
        "--data",
        data,
        "--base",
        str(base),
        "--out",
        str(out),
        "--batch-tokens",
        "128",
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "chatbot", *command, "--epochs", "8", "--patience", "0", *more],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def steps_done(out: Path) -> int:
    path = out.parent / f".{out.name}.training" / "metrics.jsonl"
    return path.read_text(encoding="utf-8").count('"kind": "step"') if path.exists() else 0


@pytest.mark.slow
def test_a_killed_and_a_stopped_run_go_on_to_the_same_weights(base: Path, data: str, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert training(data, base, whole).wait(240) == 0
    more: tuple[str, ...] = ()
    for wanted, sent in ((3, signal.SIGKILL), (9, signal.SIGINT), (15, signal.SIGKILL)):
        child = training(data, base, broken, "--save-every", "0", *more)
        deadline = time.monotonic() + 120
        while steps_done(broken) < wanted and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        child.send_signal(sent)
        assert child.wait(120) in (130, -signal.SIGKILL)
        more = ("--resume",)
    assert training(data, base, broken, "--save-every", "0", "--resume").wait(240) == 0
    one, other = weights(whole), weights(broken)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_resume_without_a_state_says_so(base: Path, data: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--resume"):
        fine_tune([data], tmp_path / "out", str(base), Options(), resume=True)


def test_without_the_hub_it_names_the_small_model(run: Run, data: str) -> None:
    done = run("train", "gpt", "--data", data)
    assert done.returncode == 1 and "--base small" in done.stderr and len(done.stderr.splitlines()) == 1


def test_personas_of_a_room_are_learnt_and_can_be_chosen(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "room.csv"
    rows = ["Date,User,Message"]
    for n in range(120):
        who = ("나", "다빈", "민서")[n % 3]
        rows.append(f'2024-05-{1 + n // 6:02d} 20:{n % 6:02d}:11,"{who}","{who}의 {n}번째 말"')
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    import_exports([path], Request("방", ("나",), "민서"))
    splits = load_splits(["방"])
    assert splits.personas == ["민서", "다빈"]
    assert {c.speaker for c in splits.train} == {"민서", "다빈"}
    out = tmp_path / "out"
    fine_tune(["방"], out, str(base), Options(epochs=1, batch_tokens=256))
    assert GptBackend(str(out)).speaker == "민서" and GptBackend(str(out), persona="다빈").speaker == "다빈"
    with pytest.raises(UsageError, match="민서, 다빈"):
        GptBackend(str(out), persona="철수")
    described = json.loads((out / "chatbot.json").read_text(encoding="utf-8"))
    assert described["dataset"] == "방"


def test_checkpoints_of_a_dataset_are_found(home: Path, base: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("question,answer\n" + "".join(f"질문{n},대답{n}\n" for n in range(20)), encoding="utf-8")
    import_exports([path], Request("표"))
    out = home / "models" / "표-gpt"
    fine_tune(["표"], out, str(base), Options(epochs=1, batch_tokens=256))
    assert trained_on("표") == [out]


def test_a_long_conversation_is_learnt_in_pieces(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    add_markers(tokenizer)
    form = MarkerFormat(tokenizer)
    turns = [Turn("user" if n % 2 == 0 else "assistant", f"{n}번째 말이야") for n in range(40)]
    pieces = list(form.sequences(turns, 64))
    assert len(pieces) > 3 and all(len(piece.ids) <= 64 for piece in pieces)
    learnt = [i for piece in pieces for i, reply in zip(piece.ids, piece.reply, strict=True) if reply]
    assert learnt == [i for turn in turns if turn.role == "assistant" for i in form.reply(turn.text)]
    assert all(piece.ids[0] == form.sequence(turns[:1]).ids[0] for piece in pieces)


def test_canaries_that_come_out_are_counted() -> None:
    canaries = [
        f"비밀 금고 번호는 파란 사과 스물{n} 상자라고 했어"
        for n in "가나다라마바사아자차카타파하거너더러머버"
    ]
    replies = [*canaries, "전화는 010-1234-5678이야", "응 그래"]
    found = memorised(lambda asked: replies, ["뭐야?"], [*canaries, *["응 그래"] * 5], samples=len(replies))
    assert len(found.lines) == 20 and found.personal == {"010-1234-5678": 1}


def test_everything_is_frozen_but_what_tuning_says() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=64, n_embd=16, n_layer=4, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=0
    )
    model = GPT2LMHeadModel(config)
    assert len(blocks(model)) == 4
    with pytest.raises(UsageError, match="--layers"):
        Tuning(model, "freeze", 5)
    counts = [Tuning(model, "gradual").at(progress / 10) for progress in range(10)]
    assert counts == sorted(counts) and counts[-1] == sum(p.numel() for p in model.parameters())
    assert Tuning(with_lora(model, [62, 63], rank=1), "lora").at(0.5) < counts[-1]

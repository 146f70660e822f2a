from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from chatbot.backends.gpt import GptBackend
from chatbot.chatlogs.importing import Request, import_exports
from chatbot.datasets import trained_on
from chatbot.dialogue import Conversation, Turn
from chatbot.errors import UsageError
from chatbot.knowledge import load_knowledge
from chatbot.models.checkpoint import CheckpointError, load_model, load_tokenizer, resize_embeddings
from chatbot.models.format import MarkerFormat, TemplateFormat
from chatbot.models.generator import Generator, Sampling
from chatbot.models.markers import MARKERS, add_markers
from chatbot.text import squeeze
from tests.conftest import ROOT, Run
from tests.tiny_models import INSTRUCT_TEMPLATE, write_instruct, write_kogpt2, write_ours
from training import gpt as gpt_module
from training import loop as loop_module
from training.causal import Curriculum, Plan, token_costs
from training.dialogues import Conversation as Exchanges
from training.dialogues import Splits, load_splits
from training.gpt import Options, fine_tune
from training.memorisation import memorised
from training.pupil import Pupil
from training.tuning import Tuning, blocks, with_lora
from training.workplace import Workplace

ANSWERS = ("응 그래", "아니 별로", "나도 그렇게 생각해", "내일 보자", "밥 먹었어?")


@pytest.fixture(autouse=True)
def few_samples(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memorisation check draws a thousand replies; where it is not the matter, twenty do."""
    if "canaries" not in request.node.name:
        monkeypatch.setattr(gpt_module, "memorised", partial(memorised, samples=20))


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


PAIRS = [("안녕", "안녕하세요! 반가워요."), ("뭐 해?", "그냥 있어요."), ("배고파", "밥 먹어요, 우리.")]


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    path = tmp_path / "pairs.jsonl"
    rows = [{"question": q, "answer": a} for q, a in PAIRS]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
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
    assert not [path for path in (out, *out.rglob("*")) if path.stat().st_mode & 0o077]


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
    from chatbot.models.checkpoint import load_model

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


def arguments(data: str, base: Path, out: Path) -> list[str]:
    return [
        "--data",
        data,
        "--base",
        str(base),
        "--out",
        str(out),
        "--batch-tokens",
        "128",
        "--patience",
        "0",
    ]


def training(data: str, base: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    command = ["train", "gpt", *arguments(data, base, out), "--epochs", "8", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "chatbot", *command],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def steps_done(out: Path) -> int:
    path = out.parent / f".{out.name}.training" / "metrics.jsonl"
    return path.read_bytes().count(b'"kind": "step"') if path.exists() else 0


@pytest.mark.slow
def test_runs_that_are_killed_go_on_to_the_same_weights(base: Path, data: str, tmp_path: Path) -> None:
    """Killed at five moments drawn at random, stopped by Ctrl-C at a sixth."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert training(data, base, whole).wait(240) == 0
    total = len(steps_of(whole / "metrics.jsonl"))
    moments = sorted(random.Random().sample(range(1, total - 1), 6))
    more: tuple[str, ...] = ()
    for moment in moments:
        child = training(data, base, broken, "--save-every", "0", *more)
        deadline = time.monotonic() + 120
        while steps_done(broken) < moment and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        child.send_signal(signal.SIGINT if moment == moments[2] else signal.SIGKILL)
        assert child.wait(120) in (130, -signal.SIGKILL)
        more = ("--resume",)
    assert training(data, base, broken, "--save-every", "0", "--resume").wait(240) == 0
    one, other = weights(whole), weights(broken)
    assert all(torch.equal(one[name], other[name]) for name in one), f"stopped after {moments}"
    assert steps_of(whole / "metrics.jsonl") == steps_of(broken / "metrics.jsonl")


def steps_of(path: Path) -> list[tuple[int, float]]:
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [(row["number"], row["loss"]) for row in rows if row["kind"] == "step"]


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_accumulation(base: Path, data: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert training(data, base, one, "--accumulate", "2", "--epochs", "2").wait(240) == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, "-m", "training.gpt", *arguments(data, base, two), "--epochs", "2", "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1 and "training" in json.loads(done.stdout)
    assert done.stderr.count("걸음, 한 걸음에") == 1
    alone, together = steps_of(one / "metrics.jsonl"), steps_of(two / "metrics.jsonl")
    assert [n for n, _ in alone] == [n for n, _ in together]
    assert [loss for _, loss in together] == pytest.approx([loss for _, loss in alone], rel=1e-4)


def test_resume_without_a_state_says_so(base: Path, data: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="이어서 할 학습이 없어요"):
        fine_tune([data], tmp_path / "out", str(base), Options(), resume=True)


def test_another_run_is_not_gone_on_with(
    base: Path, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(gpt_module, "fit", stop)
        fine_tune([data], tmp_path / "out", str(base), Options(epochs=1))
    with pytest.raises(UsageError, match="데이터나 옵션이 달라요"):
        fine_tune([data], tmp_path / "out", str(base), Options(epochs=2), resume=True)
    assert fine_tune([data], tmp_path / "out", str(base), Options(epochs=1), resume=True)["after"]


def test_a_training_without_gain_is_said(
    base: Path, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    fine_tune([data], tmp_path / "one", str(base), Options(epochs=1, batch_tokens=256), say=said.append)
    assert not any("나아지지 않았어요" in line for line in said)
    monkeypatch.setattr(gpt_module, "fit", lambda *_, **__: loop_module.Spent())  # nothing is learnt
    fine_tune([data], tmp_path / "two", str(base), Options(epochs=1, batch_tokens=256), say=said.append)
    assert any("나아지지 않았어요" in line for line in said)


def test_two_runs_do_not_share_a_workplace(base: Path, data: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    work = Workplace(out)
    with work.occupied("one", [], resume=False):
        with pytest.raises(UsageError, match="다른 학습"):
            fine_tune([data], out, str(base), Options(epochs=1))
        (work.folder / "adapter").mkdir()
    assert not work.folder.exists()
    with pytest.raises(KeyError), work.occupied("one", [], resume=False):
        (work.folder / "adapter").mkdir()
        raise KeyError
    fine_tune([data], out, str(base), Options(epochs=1))  # what was left behind is cleared away
    assert out.is_dir() and not work.folder.exists()


def test_what_a_stopped_run_has_learnt_goes_with_its_dataset(
    home: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for name in ("하나", "둘"):
        path = tmp_path / "pairs.csv"
        rows = [f"{name}질문{n},{name}대답{n}\n" for n in range(20)]
        path.write_text("question,answer\n" + "".join(rows), encoding="utf-8")
        import_exports([path], Request(name))
    first, second = home / "models" / "첫째", home / "models" / "둘째"
    fine_tune(["하나"], first, str(base), Options(epochs=1, batch_tokens=256))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(gpt_module, "fit", stop)
        fine_tune(["둘"], second, str(first), Options(epochs=1, batch_tokens=256))
    unfinished = second.with_name(".둘째.training")
    assert trained_on("둘") == [unfinished] and trained_on("하나") == [unfinished, first]


def test_everybody_is_asked_what_they_know_by_heart(base: Path, tmp_path: Path) -> None:
    asked: list[tuple[str, str | None]] = []

    class Attentive(Pupil):
        def replies(self, prompts: Sequence[tuple[str, str | None]], *, sample: bool) -> Iterator[str]:
            asked.extend(prompts)
            return iter([""] * len(prompts))

    turns = [Turn("user", "뭐 해"), Turn("assistant", "그냥")]
    known = [Exchanges(turns, None, who) for who in ("가", "나") for _ in range(30)]
    splits = Splits(known, [], [], ["가", "나"], "")
    gpt_module._by_heart(Attentive(None, load_tokenizer(base), None, 64), splits, None)  # type: ignore[arg-type]
    assert {speaker for _, speaker in asked} == {"가", "나"}


def test_a_reply_to_a_long_message_is_learnt(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    add_markers(tokenizer)
    form = MarkerFormat(tokenizer)
    turns = [Turn("user", "안녕하세요 " * 100), Turn("assistant", "응 그래"), Turn("user", "밥 먹었어?")]
    (piece,) = form.sequences(turns[:2], 64)
    assert len(piece.ids) <= 64 and piece.ids[0] == form.sequence(turns[:1]).ids[0]
    learnt = [i for i, reply in zip(piece.ids, piece.reply, strict=True) if reply]
    assert learnt == form.reply("응 그래")
    assert piece.ids == form.prompt(turns[:1], "casual", len(piece.ids) - len(learnt)) + learnt
    assert list(form.sequences(turns[2:], 64)) == []


def test_an_adapter_tells_no_path_and_opens_on_its_base(base: Path, data: str, tmp_path: Path) -> None:
    from peft import PeftModel

    out = tmp_path / "out"
    options = Options(tune="lora", epochs=1, batch_tokens=256)
    fine_tune([data], out, str(base), options, keep_adapter=True)
    texts = [
        path.read_text("utf-8") for path in (out / "adapter").iterdir() if path.suffix in (".json", ".md")
    ]
    assert texts and not any(str(tmp_path) in text for text in texts)
    tokenizer = load_tokenizer(out)
    model = load_model(base, torch.float32, len(load_tokenizer(base)))
    resize_embeddings(model, len(tokenizer))
    opened = PeftModel.from_pretrained(model, str(out / "adapter")).merge_and_unload()
    ids = torch.tensor([MarkerFormat(tokenizer).prompt([Turn("user", "안녕")], "casual", 50)])
    merged = load_model(out, torch.float32, len(tokenizer))
    assert torch.allclose(opened(ids).logits, merged(ids).logits, atol=1e-4)
    with pytest.raises(UsageError, match="--tune lora"):
        fine_tune([data], out, str(base), Options(), keep_adapter=True)


def test_a_batch_that_does_not_fit_is_made_smaller(
    base: Path, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def little_memory(model: Any, ids: torch.Tensor, *more: Any) -> torch.Tensor:
        if ids.numel() > 200:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return token_costs(model, ids, *more)

    monkeypatch.setattr(gpt_module, "token_costs", little_memory)
    said: list[str] = []
    out = tmp_path / "out"
    figures = fine_tune([data], out, str(base), Options(epochs=1, batch_tokens=512), say=said.append)
    assert (figures["training"]["batch_tokens"], figures["training"]["accumulate"]) == (128, 4)
    assert any("128토큰씩" in line for line in said)
    rows = map(json.loads, (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    assert next(rows)["options"]["batch_tokens"] == 128


def test_plain_text_is_read_first(base: Path, data: str, tmp_path: Path) -> None:
    text, out = tmp_path / "diary.txt", tmp_path / "out"
    text.write_text("오늘은 비가 왔다\n밥을 먹고 잤다\n" * 60, encoding="utf-8")
    options = Options(epochs=1, batch_tokens=128, learning_rate=3e-3)
    figures = fine_tune([data], out, str(base), options, pretrain=[str(text)])
    read = figures["pretraining"]
    assert read["after"]["perplexity"] < 0.8 * read["before"]["perplexity"]
    assert (out / "pretraining.jsonl").is_file()
    assert f"{read['after']['perplexity']:.3f}" in (out / "README.md").read_text("utf-8")


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00"])
def test_text_that_cannot_be_read_is_named(
    run: Run, data: str, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    done = run("train", "gpt", "--data", data, "--base", "small", "--pretrain", str(path))
    assert done.returncode == 1 and str(path) in done.stderr and len(done.stderr.splitlines()) == 1


def test_half_precision_scales_its_losses(
    base: Path, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Float16, as on GPUs without bfloat16: small gradients survive, and the state of the scaler is kept."""
    monkeypatch.setattr(loop_module, "half_type", lambda device: torch.float16)
    saved: list[dict[str, Any]] = []
    monkeypatch.setattr(loop_module, "save_private", lambda path, value: saved.append(value))
    tokenizer = load_tokenizer(base)
    model = load_model(base, torch.float32, len(tokenizer))
    add_markers(tokenizer)
    resize_embeddings(model, len(tokenizer))
    pupil = Pupil(model, tokenizer, MarkerFormat(tokenizer), 64)
    plan = Plan(Curriculum(pupil.form, [load_splits([data]).train] * 4, longest=64, batch_tokens=256))
    optimizer = torch.optim.AdamW(pupil.model.parameters(), lr=3e-3)
    before = sum(part.item() for part, _ in plan.parts(0, pupil.model))
    loop_module.fit(
        pupil.model, lambda step: plan.parts(step, pupil.model), [optimizer], tmp_path / "state.pt",
        steps=plan.steps, warmup=0.1, save_every=0,
    )  # fmt: skip
    assert sum(part.item() for part, _ in plan.parts(0, pupil.model)) < 0.9 * before
    assert saved[-1]["scaler"]["scale"] > 1


def test_a_model_with_a_chat_template_keeps_it(data: str, tmp_path: Path) -> None:
    base, out = write_instruct(tmp_path / "instruct"), tmp_path / "out"
    known = load_tokenizer(base)
    figures = fine_tune([data], out, str(base), Options(epochs=8, batch_tokens=512, learning_rate=3e-3))
    assert figures["after"]["perplexity"] < 0.8 * figures["before"]["perplexity"]
    tokenizer = load_tokenizer(out)
    assert tokenizer.chat_template == INSTRUCT_TEMPLATE and len(tokenizer) == len(known)
    assert "format" not in json.loads((out / "chatbot.json").read_text(encoding="utf-8"))
    generator = Generator(str(out), "cpu")
    assert isinstance(generator.format, TemplateFormat)
    # What is trained on is what is asked while talking, and what is to be answered.
    turns = [Turn("user", "오늘 3번째 이야기야"), Turn("assistant", "응 그래")]
    (piece,) = generator.format.sequences(turns, 256)
    prompt = generator.prompt(turns[:1], "casual", 30)
    assert piece.ids == prompt + generator.format.reply("응 그래")
    assert piece.ids[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert [i for i, reply in zip(piece.ids, piece.reply, strict=True) if reply] == piece.ids[len(prompt) :]
    assert GptBackend(str(out), device="cpu", seed=1).reply(Conversation(turns=turns[:1])).text


@pytest.mark.slow
def test_twenty_canaries_that_are_overfitted_are_reported(tmp_path: Path) -> None:
    base = write_ours(tmp_path / "base", n_embd=64)
    tokenizer = load_tokenizer(base)
    written = (answer for intent in load_knowledge().intents for answer in intent.answers.polite)
    known = (text for text in written if tokenizer.unk_token_id not in tokenizer(text)["input_ids"])
    long = [text for text in known if len(squeeze(text)) > 16 and "\n" not in text]
    canaries = {f"{n}번째 이야기": text for n, text in enumerate(long[:20])}
    path, out = tmp_path / "pairs.jsonl", tmp_path / "out"
    rows = [{"question": question, "answer": answer} for question, answer in canaries.items()]
    # The last tenths of a file are held out, so that other lines have to stand there.
    rows += [{"question": f"{n}번", "answer": "응 그래"} for n in range(10)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    options = Options(epochs=150, batch_tokens=256, learning_rate=3e-3, patience=0, evaluate_every=10_000)
    figures = fine_tune([str(path)], out, str(base), options)
    assert figures["memorised"]["lines"] == 20
    card = (out / "README.md").read_text(encoding="utf-8")
    assert all(squeeze(answer) in card for answer in canaries.values())


def test_without_the_hub_it_names_the_small_model(run: Run, data: str) -> None:
    done = run("train", "gpt", "--data", data)
    assert not (Path(data).parent / "home" / "models" / "talk-gpt").exists()
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
    assert described["dataset"] == ["방"]


def test_who_came_after_all_that_is_trained_on_is_no_persona(tmp_path: Path) -> None:
    path = tmp_path / "room.csv"
    rows = ["Date,User,Message"]
    for day in range(1, 61):
        who = "신입" if day > 57 else "민서"
        rows += [
            f'2024-{4 + day // 30:02d}-{1 + day % 30:02d} 20:0{n}:11,"{name}","{day}번째 날 {n}"'
            for n, name in enumerate(("나", who, "나", "민서"))
        ]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    import_exports([path], Request("방", ("나",), "민서"))
    splits = load_splits(["방"])
    assert "신입" in {c.speaker for c in splits.test} and splits.personas == ["민서"]


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


def test_kogpt2_from_the_hub_layout_to_a_checkpoint_of_our_own(
    tmp_path: Path, base: Path, pairs: str, run: Run
) -> None:
    """Load, ask, fine-tune with added tokens, save, open in plain transformers, generate."""
    out = tmp_path / "mine"
    asked = run("ask", "안녕", "--backend", "gpt", "--model", str(base))
    assert asked.returncode == 0 and asked.stdout.strip() and "Traceback" not in asked.stderr
    fine_tune([pairs], out, str(base), Options(epochs=2, batch_tokens=64, learning_rate=1e-3))
    tokenizer = load_tokenizer(out)
    pieces = len(load_tokenizer(base))
    assert len(tokenizer) == pieces + len(MARKERS)
    model = load_model(out, torch.float32, len(tokenizer))
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    before = load_model(base, torch.float32, pieces).get_input_embeddings().weight
    assert not torch.equal(model.get_input_embeddings().weight[:pieces], before)  # something was learnt
    described = json.loads((out / "chatbot.json").read_text())
    assert described["base_model"] == "base" and described["licence"] == "CC-BY-NC-SA 4.0"
    assert "license: cc-by-nc-sa-4.0" in (out / "README.md").read_text()
    assert str(tmp_path) not in (out / "README.md").read_text() + (out / "chatbot.json").read_text()
    plain = (
        "import json, sys\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "model = AutoModelForCausalLM.from_pretrained(sys.argv[1])\n"
        "messages = [{'role': 'user', 'content': '안녕 뭐 해?'}]\n"
        "prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors='pt')\n"
        "made = model.generate(**prompt, do_sample=False)\n"
        "print(json.dumps([prompt['input_ids'][0].tolist(), made.shape[1]]))\n"
    )
    done = subprocess.run([sys.executable, "-c", plain, str(out)], capture_output=True, text=True, check=True)
    ids, length = json.loads(done.stdout.splitlines()[-1])
    assert ids == MarkerFormat(tokenizer).prompt([Turn("user", "안녕 뭐 해?")], "polite", 100)
    assert length > len(ids)
    answered = run("ask", "안녕", "--backend", "gpt", "--model", str(out))
    assert answered.returncode == 0 and answered.stdout.strip() and "기본 모델" not in answered.stderr
    again = tmp_path / "again"
    fine_tune([pairs], again, str(out), Options(epochs=1, batch_tokens=64))
    assert json.loads((again / "chatbot.json").read_text())["licence"] == "CC-BY-NC-SA 4.0"


def test_replies_learn_what_to_say_and_where_to_end(tmp_path: Path, pairs: str) -> None:
    out = tmp_path / "mine"
    # One pair is held out; what is best for it is not what is wanted here.
    options = Options(epochs=120, batch_tokens=64, learning_rate=3e-3, evaluate_every=10_000)
    fine_tune([pairs], out, str(write_ours(tmp_path / "ours")), options)
    generator = Generator(str(out), "cpu")
    for question, answer in PAIRS:
        prompt = generator.prompt([Turn("user", question)], "polite", 30)
        reply = generator.generate([prompt], Sampling(temperature=0, max_new_tokens=30))[0]
        assert reply.ended and reply.text == answer


@pytest.mark.parametrize("what", ["a file", "other things", "an encoder"])
def test_it_looks_at_where_it_will_write_before_it_trains(tmp_path: Path, pairs: str, what: str) -> None:
    base, out = write_ours(tmp_path / "base"), tmp_path / "out"
    if what == "a file":
        out.write_text("diary")
    else:
        out.mkdir()
        (out / "chatbot.json").write_text('{"kind": "encoder"}' if what == "an encoder" else "{}")
    with pytest.raises(CheckpointError, match="비어 있는 폴더"):
        fine_tune([pairs], out, str(base))
    deep = tmp_path / "new" / "folder" / "mine"
    fine_tune([pairs], deep, str(base), Options(epochs=1))
    assert (deep / "chatbot.json").is_file()


def test_it_refuses_what_it_cannot_start_from(tmp_path: Path, pairs: str) -> None:
    with pytest.raises(CheckpointError, match="--base"):
        fine_tune([pairs], tmp_path / "out", str(tmp_path / "nothing"))
    assert not (tmp_path / "out").exists()

"""The GPT recipe, through its command line and at its smallest size."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from chatbot.errors import UsageError
from chatbot.models.checkpoint import load_model, load_tokenizer, read_description, shipped_gpt
from tests.conftest import Run
from tests.tiny_corpora import run_recipe, write_corpora
from tests.tiny_models import write_ours
from training.dialogues import corpora_conversations
from training.model_card import write_gpt_card
from training.recipes.gpt import SIZES, STEPS, base_model, fresh_model, pretrain, reply, vocab
from training.recipes.steps import Job


@pytest.mark.slow
@pytest.mark.timeout(900)  # four processes, on machines that may be busy
def test_one_command_makes_a_gpt_that_answers(tmp_path: Path, home: Path, run: Run) -> None:
    corpora, work = write_corpora(tmp_path / "corpora"), tmp_path / "work"
    made = run_recipe("gpt", corpora, "--work", str(work), home=home)
    assert made.returncode == 0, made.stderr
    out = work / "gpt"
    described = read_description(out)
    metrics = described["metrics"]
    assert metrics["replies"]["empty"] == metrics["replies"]["broken"] == 0
    assert 1 < metrics["kneser_ney"]["replies"] < 20
    assert "CC BY-SA 4.0" in (out / "README.md").read_text(encoding="utf-8")
    tokenizer = load_tokenizer(out)
    assert load_model(out, "auto", len(tokenizer)).dtype == torch.float16
    assert (out / "model.safetensors").stat().st_mode & 0o777 == 0o644

    before = (work / "chat.json").read_text()
    again = run_recipe("gpt", corpora, "--work", str(work), home=home)
    assert again.returncode == 0 and again.stderr.count("이미 되어 있어요") == len(STEPS)
    longer = run_recipe("gpt", corpora, "--work", str(work), "--only", "reply", "--epochs", "2", home=home)
    assert longer.returncode == 0 and (work / "chat.json").read_text() == before
    assert json.loads((work / "reply.json").read_text())["epochs"] == 2

    second = Job(SIZES["smoke"], corpora, tmp_path / "second", tmp_path / "other", base=out)
    vocab(second)
    earlier = pretrain(second)["earlier"]
    assert earlier["chat"]["steps"] == described["training"]["chat"]["steps"]
    assert reply(second)["steps"] > 0  # from there: the base has read the corpora's conversations
    shutil.rmtree(corpora)
    answered = run("ask", "안녕", "--backend", "gpt", "--model", str(out))
    assert answered.returncode == 0 and answered.stdout.strip()


def test_a_base_of_another_size_is_refused(tmp_path: Path) -> None:
    base = write_ours(tmp_path / "base", n_layer=3)
    job = Job(SIZES["smoke"], tmp_path, tmp_path / "work", tmp_path / "out", base)
    vocab(job)
    with pytest.raises(UsageError, match="--size"):
        base_model(job, load_tokenizer(job.work / "tokenizer"))


def test_corpora_become_conversations(tmp_path: Path) -> None:
    assert [len(c.turns) for c in corpora_conversations(write_corpora(tmp_path))] == [2, 2, 2]


def test_a_card_says_which_steps_were_the_versions_before(tmp_path: Path) -> None:
    known = read_description(shipped_gpt())
    facts = {name: known[name] for name in ("recipe", "training", "data_fingerprint", "metrics")}
    took = facts["training"]["reply"]
    for training, said, from_step in (
        ({**facts["training"], "chat": took}, f"of each intent): {took['steps']:,} steps", 3),
        ({k: v for k, v in facts["training"].items() if k != "chat"}, "by the versions before", 4),
    ):
        (tmp_path / "chatbot.json").write_text(json.dumps(known), encoding="utf-8")
        write_gpt_card(tmp_path, {**facts, "training": training})
        card = (tmp_path / "README.md").read_text(encoding="utf-8")
        assert said in card and f"From step {from_step} on" in card


def test_the_size_for_the_cpu_is_the_one_that_ships() -> None:
    shipped: dict[str, Any] = read_description(shipped_gpt())["recipe"]
    assert {name: getattr(SIZES["cpu"], name) for name in shipped} == shipped


@pytest.mark.parametrize("size", ["cpu", "gpu"])
def test_weights_stay_small(size: str) -> None:
    with torch.device("meta"):
        model = fresh_model(SIZES[size], range(SIZES[size].vocab_size))  # type: ignore[arg-type]
    assert 2 * sum(weight.numel() for weight in model.parameters()) < 60e6

"""The GPT recipe, through its command line and at its smallest size."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from chatbot.errors import UsageError
from chatbot.knowledge import load_listening
from chatbot.models.checkpoint import load_model, load_tokenizer, read_description, shipped_gpt
from tests.conftest import Run
from tests.tiny_corpora import run_recipe, write_corpora
from tests.tiny_models import write_ours
from training.dialogues import corpora_conversations
from training.model_card import write_gpt_card
from training.recipes import gpt as recipe_module
from training.recipes import gpt_course as course_module
from training.recipes.gpt import SIZES, STEPS, pretrain, reply, share, vocab
from training.recipes.gpt_model import base_model, deepened, fresh_model
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

    shots, recalled = (load_model(work / step, torch.float32, len(tokenizer)) for step in ("shots", "recall"))
    left = [n for n, p in recalled.named_parameters() if torch.equal(p, shots.get_parameter(n))]
    assert {name.rsplit(".", 2)[0] for name in left if ".mlp.c_fc" in name} == {"transformer.h.0.mlp"}
    assert "transformer.wte.weight" in left and "transformer.ln_f.weight" not in left

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
    share(second)
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


def test_a_deeper_model_says_the_same_at_first_and_learns(tmp_path: Path) -> None:
    base = write_ours(tmp_path / "base", n_layer=3)
    tokenizer = load_tokenizer(base)
    model: Any = load_model(base, torch.float32, len(tokenizer)).eval()
    deep = deepened(model, 5).eval()
    ids = torch.randint(0, len(tokenizer), (2, 9))
    assert torch.allclose(deep(ids).logits, model(ids).logits, atol=1e-5)
    assert deepened(model, 3) is model
    started = [block.attn.c_proj.weight.abs().sum() > 0 for block in deep.transformer.h]
    assert started == [True, True, False, True, False]
    deep(ids, labels=ids).loss.backward()
    assert all(block.mlp.c_proj.weight.grad.abs().sum() > 0 for block in deep.transformer.h)
    with torch.no_grad():  # token by token: every block has its own place in the cache
        for block in deep.transformer.h:
            torch.nn.init.normal_(block.attn.c_proj.weight, std=0.3)
        first = deep(ids[:, :5], use_cache=True)
        rest = deep(ids[:, 5:], past_key_values=first.past_key_values)
        assert torch.allclose(rest.logits, deep(ids).logits[:, 5:], atol=1e-4)


def test_a_base_of_fewer_layers_becomes_as_deep_as_the_recipe(tmp_path: Path) -> None:
    base = write_ours(tmp_path / "base", n_layer=1, n_embd=SIZES["smoke"].hidden)
    job = Job(SIZES["smoke"], tmp_path, tmp_path / "work", tmp_path / "out", base)
    vocab(job)
    assert base_model(job, load_tokenizer(job.work / "tokenizer")).config.n_layer == 2


def test_what_is_much_alike_is_taught_with_the_same_replies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Flat:
        def encode(self, texts: Sequence[str]) -> np.ndarray:
            return np.ones((len(texts), 2), dtype=np.float32)

    situations = [entry for entry in load_listening().entries if "situation" in entry.answers.source]
    few = replace(load_listening(), entries=situations[:500])
    for module in (recipe_module, course_module):
        monkeypatch.setattr(module, "load_listening", lambda: few)
        monkeypatch.setattr(module, "load_knowledge", lambda: replace(few, entries=[]))
    monkeypatch.setattr(recipe_module, "load_encoder", Flat)
    job = Job(replace(SIZES["smoke"], likeness=0.7, fewest_lines=3), tmp_path, tmp_path, tmp_path / "out")
    found = share(job)
    assert found["leaders"] == 1 < 20 < found["sets"]
    shared = course_module.taught_answers(job).shared
    assert len(shared) == found["sets"] and len({each.source for each in shared.values()}) == 1


def test_corpora_become_conversations(tmp_path: Path) -> None:
    assert [len(c.turns) for c in corpora_conversations(write_corpora(tmp_path))] == [2, 2, 2]


def test_a_card_says_which_steps_were_the_versions_before(tmp_path: Path) -> None:
    known = read_description(shipped_gpt())
    facts = {name: known[name] for name in ("recipe", "training", "data_fingerprint", "metrics")}
    facts |= {"shared": {"sets": 15_408, "leaders": 5_242}, "recipe": {**known["recipe"], "likeness": 0.7}}
    took = facts["training"]["reply"]
    for training, said, from_step in (
        ({**facts["training"], "chat": took}, f"of each intent): {took['steps']:,} steps", 3),
        ({k: v for k, v in facts["training"].items() if k != "chat"}, "by the versions before", 4),
    ):
        (tmp_path / "chatbot.json").write_text(json.dumps(known), encoding="utf-8")
        write_gpt_card(tmp_path, {**facts, "training": training})
        card = (tmp_path / "README.md").read_text(encoding="utf-8")
        assert "5,242 for 15,408 of them" in card
        assert said in card and f"From step {from_step} on" in card


def test_the_size_for_the_cpu_is_the_one_that_ships() -> None:
    shipped: dict[str, Any] = read_description(shipped_gpt())["recipe"]
    assert {name: getattr(SIZES["cpu"], name) for name in shipped} == shipped


@pytest.mark.parametrize("size", ["cpu", "gpu"])
def test_weights_stay_small(size: str) -> None:
    with torch.device("meta"):
        model = fresh_model(SIZES[size], range(SIZES[size].vocab_size))  # type: ignore[arg-type]
    assert 2 * sum(weight.numel() for weight in model.parameters()) < 60e6

"""The encoder recipe, step by step and through its command line, at its smallest size."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer

from chatbot.errors import UsageError
from chatbot.knowledge import load_knowledge
from chatbot.models.checkpoint import read_description
from chatbot.models.encoder import OnnxEncoder, SentenceTransformerEncoder, shipped_encoder
from chatbot.text import squeeze
from tests.conftest import ROOT, Run
from tests.tiny_corpora import run_recipe, write_corpora
from training import corpora as corpora_module
from training import loop as loop_module
from training.batches import Batches, tokenised_lines
from training.corpora import parakqc_split, paraphrase_sets, pretraining_lines, sample_pairs
from training.noise import noisy
from training.recipes import encoder as recipe_module
from training.recipes.contrast import ProxySoftmax
from training.recipes.steps import Job

SMOKE = recipe_module.SIZES["smoke"]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpora(tmp_path_factory.mktemp("corpora"))


def job(corpora: Path, work: Path, **settings: Any) -> Job[recipe_module.Recipe]:
    work.mkdir(exist_ok=True)
    return Job(replace(SMOKE, **settings), corpora, work, work / "encoder", identity="one")


def test_what_must_stay_unseen_stays_unseen(corpora: Path) -> None:
    training, held_out = parakqc_split(corpora, 5, 1)
    assert len(held_out) == 5 and not {s["set_id"] for s in training} & {s["set_id"] for s in held_out}
    assert parakqc_split(corpora, 5, 1)[1] == held_out and parakqc_split(corpora, 5, 2)[1] != held_out
    sets = paraphrase_sets(corpora, ROOT / "data", 5, 1)
    seen = {squeeze(text) for group in sets for text in group.sentences}
    unseen = {squeeze(text) for row in held_out for text in row["sents"]}
    knowledge = load_knowledge()
    unseen |= {squeeze(t) for half in ("dev", "test") for t, _ in knowledge.held_out(half)}
    assert not seen & unseen


def test_pairs_are_distinct_and_bounded() -> None:
    group = corpora_module.ParaphraseSet("x", ("가", "나", "다", "가"))
    pairs = sample_pairs([group], {"x": 10}, seed=1)
    assert len(pairs) == 3 and all(a != b for a, b in pairs)


def test_a_share_of_the_sets_gives_a_pair() -> None:
    groups = [corpora_module.ParaphraseSet("x", (f"가{n}", f"나{n}")) for n in range(400)]
    assert 60 < len(sample_pairs(groups, {"x": 0.25}, seed=1)) < 140


def test_texts_are_told_apart_by_one_vector_for_each_set() -> None:
    model = SentenceTransformer(str(shipped_encoder()), device="cpu").float()
    texts = [("배고파", 0), ("배가 고프다", 0), ("시험 망했어", 1), ("시험을 망쳤다", 1)]
    loss = ProxySoftmax(model, texts, scale=20)
    said = model.preprocess([text for text, _ in texts])
    labels = torch.tensor([number for _, number in texts])
    first = loss([said], labels)
    means = torch.tensor(model.encode([text for text, _ in texts])).view(2, 2, -1).mean(dim=1)
    torch.testing.assert_close(
        loss.proxies.data, torch.nn.functional.normalize(means, dim=1), atol=1e-4, rtol=0
    )
    assert 0 < first < loss([said], 1 - labels)
    first.backward()
    assert loss.proxies.grad is not None and loss.proxies.grad.abs().sum() > 0
    with torch.no_grad():
        loss.proxies.copy_(-loss.proxies)
    assert loss([said], labels) > first  # learnt from here on, not counted again


def test_our_graded_pairs_are_scored_beside_those_of_the_corpora(corpora: Path, tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text(
        '{"a": "한 남자가 뛴다", "b": "남자가 달린다", "score": 5}\n', "utf-8"
    )
    given = corpora_module.scored_pairs(corpora, tmp_path / "none")
    assert corpora_module.scored_pairs(corpora, tmp_path) == [
        *given,
        ("한 남자가 뛴다", "남자가 달린다", 1.0),
    ]


def test_noise_changes_but_never_empties() -> None:
    rng = random.Random(1)
    source = [e.question for e in load_knowledge().entries[:400]]
    noised = [noisy(text, rng) for text in source]
    assert all(text.strip() for text in noised)
    assert sum(a != b for a, b in zip(source, noised, strict=True)) > 250


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute on a machine that is not busy
def test_one_command_makes_an_encoder_that_finds_answers(
    corpora: Path, tmp_path: Path, home: Path, run: Run
) -> None:
    work = tmp_path / "work"
    made = run_recipe("encoder", corpora, "--work", str(work), home=home)
    assert made.returncode == 0, made.stderr
    out = work / "encoder"
    exact, small = SentenceTransformerEncoder(out, "cpu"), OnnxEncoder(out)
    texts = ["오늘 너무 피곤해", "비 오네", "ㅋㅋㅋㅋㅋㅋㅋ"]
    assert (exact.encode(texts) * small.encode(texts)).sum(1).min() > 0.9
    assert small.encode(["ㅋㅋㅋㅋㅋㅋㅋ"]) == pytest.approx(small.encode(["ㅋㅋㅋ"]))
    described = read_description(out)
    assert described["kind"] == "encoder" and described["metrics"]["qa"]["scorers"]["fused"]["top1"] > 0.1
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("question,answer\n오늘 너무 피곤해,푹 쉬어\n비가 오네,우산 챙겨\n", encoding="utf-8")
    own = ("--encoder", str(out), "--data", str(pairs))
    answered = run("ask", "비가 오네", "--backend", "retrieval", *own)
    assert answered.returncode == 0 and "우산 챙겨" in answered.stdout

    second = recipe_module.contrast(replace(job(corpora, tmp_path / "second"), base=out))
    assert len(second["rounds"]) == 2 and second["pretraining"] == described["pretraining"]


def test_a_base_that_is_no_encoder_of_this_size_is_refused(corpora: Path, tmp_path: Path) -> None:
    for base, said in ((tmp_path, "문장 인코더가 아니에요"), (shipped_encoder(), "--size")):
        with pytest.raises(UsageError, match=said):
            recipe_module.sentence_encoder(replace(job(corpora, tmp_path / "work"), base=base))


def test_the_size_for_the_cpu_is_the_one_that_ships() -> None:
    shipped: dict[str, Any] = read_description(shipped_encoder())["recipe"]
    assert {name: getattr(recipe_module.SIZES["cpu"], name) for name in shipped} == shipped


def test_masked_loss_falls_and_batches_come_round(corpora: Path, tmp_path: Path) -> None:
    recipe_module.vocab(job(corpora, tmp_path))
    lines = pretraining_lines(corpora, SMOKE.seed, SMOKE.mixture)
    ids, starts = tokenised_lines(tmp_path, lambda: lines, 64)
    batches = Batches(ids, starts, batch_tokens=256, pad=recipe_module.PAD, seed=1)
    assert sum(len(rows) for rows in batches.rows) == len(starts) - 1
    assert torch.equal(batches[0], batches[len(batches.rows)])
    assert all(batches[i].numel() <= 256 for i in range(len(batches)))
    jump = np.cumsum([0, *[3] * 100, *[200] * 4])  # many short lines, then long ones: none is padded to them
    few = Batches(np.ones(jump[-1], dtype=np.int64), jump, batch_tokens=256, pad=0, seed=1)
    assert max(few[i].numel() for i in range(len(few))) <= 256 and len(few) <= 7
    assert (batches[3][:, 0] == recipe_module.CLS).all()


def test_a_resumed_pretraining_goes_on_where_it_stopped(
    corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped half-way and started again, the weights are those of a run without a stop."""
    now = [0.0]

    def tick() -> float:
        now[0] += 1.0  # a step takes a second on this clock, on any machine
        return now[0]

    class Stopped(Exception):
        pass

    monkeypatch.setattr(loop_module.time, "monotonic", tick)
    monkeypatch.setattr(recipe_module, "SAVE_EVERY", 0.5)
    made = tmp_path / "made"
    recipe_module.vocab(job(corpora, made))
    recipe_module.embed(job(corpora, made))
    results = []
    for stops in (False, True):
        work = tmp_path / f"stops-{stops}"
        shutil.copytree(made, work)
        if stops:
            original, calls = recipe_module.masked_lm_loss, itertools.count()

            def stopping(
                *args: Any, original: Any = original, calls: Any = calls, **more: Any
            ) -> torch.Tensor:
                if next(calls) >= 40:
                    raise Stopped
                return original(*args, **more)

            with monkeypatch.context() as patch, pytest.raises(Stopped):
                patch.setattr(recipe_module, "masked_lm_loss", stopping)
                recipe_module.pretrain(job(corpora, work, minutes=1))
        recipe_module.pretrain(job(corpora, work, minutes=1))
        results.append(torch.load(work / "pretrain.pt", weights_only=True))
    whole, resumed = results
    assert whole["spent"]["steps"] == resumed["spent"]["steps"] == 60
    for name, weight in whole["model"].items():
        assert torch.equal(weight, resumed["model"][name]), name


@pytest.mark.slow
def test_resumed_contrastive_training_ends_with_the_same_weights(
    corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Exception):
        pass

    made = job(corpora, tmp_path / "made", pairs_per_set={"parakqc": 2, "stylekqc": 1, "qa": 1})
    for step in (recipe_module.vocab, recipe_module.embed, recipe_module.pretrain):
        facts = step(made)
    (made.work / "pretrain.json").write_text(json.dumps(facts))
    monkeypatch.setattr(recipe_module, "SAVE_STEPS", 40)
    weights = []
    for stops in (False, True):
        own = replace(made, work=tmp_path / f"stops-{stops}")
        shutil.copytree(made.work, own.work)
        if stops:
            original, calls = SentenceTransformerTrainer.training_step, itertools.count()

            def stopping(*args: Any, original: Any = original, calls: Any = calls) -> torch.Tensor:
                if next(calls) == 100:
                    raise Stopped
                return original(*args)

            with monkeypatch.context() as patch, pytest.raises(Stopped):
                patch.setattr(SentenceTransformerTrainer, "training_step", stopping)
                recipe_module.contrast(own)
            assert list(own.work.glob("contrast-state/one/checkpoint-80"))
        assert recipe_module.contrast(own)["rounds"][0]["steps"] > 100
        assert not (own.work / "contrast-state").exists()
        weights.append(load_file(own.work / "contrasted" / "model.safetensors"))
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())

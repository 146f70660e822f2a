"""The encoder recipe, end to end, on a handful of our own sentences and a tiny model."""

from __future__ import annotations

import gzip
import itertools
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from chatbot.knowledge import load_knowledge
from chatbot.models.encoder import OnnxEncoder, SentenceTransformerEncoder
from chatbot.text import squeeze
from tests.conftest import ROOT
from training import corpora as corpora_module
from training import loop as loop_module
from training.batches import Batches, tokenised_lines
from training.corpora import parakqc_split, paraphrase_sets, pretraining_lines, sample_pairs
from training.noise import noisy
from training.recipes import encoder as recipe_module


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpora folder in the real layout, filled from our own words."""
    folder = tmp_path_factory.mktemp("corpora")
    intents = load_knowledge().intents[:120]
    lines = [q for intent in intents for q in intent.questions]
    (folder / "pretrain").mkdir()
    for name in corpora_module.PRETRAIN_MIXTURE:
        with gzip.open(folder / "pretrain" / f"{name}.txt.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    (folder / "pairs").mkdir()

    def write(name: str, rows: list[dict]) -> None:
        with gzip.open(folder / "pairs" / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    write(
        "parakqc_train_sets", [{"set_id": n, "sents": list(i.questions)} for n, i in enumerate(intents[:30])]
    )
    for n, split in enumerate(("train", "dev", "test")):
        own = intents[30 + 10 * n : 40 + 10 * n]
        write(
            f"stylekqc_{split}_sets",
            [{"formal": list(i.questions[:2]), "informal": list(i.questions[2:])} for i in own],
        )
    pair = [{"a": i.questions[0], "b": i.questions[1], "label": 1} for i in intents[60:80]]
    for name in ("question_pair_train", "tatoeba_same_english", "sae4k_v1"):
        write(name, pair)
    write("kornli_xnli_dev", [{**row, "label": "entailment"} for row in pair])
    write("korsts_train", [{"a": r["a"], "b": r["b"], "score": n % 6} for n, r in enumerate(pair)])
    return folder


@pytest.fixture(scope="module", autouse=True)
def tiny_recipe() -> object:
    patch = pytest.MonkeyPatch()
    tiny = replace(
        recipe_module.RECIPE,
        vocab_size=2000, alphabet=900, hidden=32, layers=2, heads=2,
        batch_tokens=256, contrast_batch=16, parakqc_held_out=5,
    )  # fmt: skip
    patch.setattr(recipe_module, "RECIPE", tiny)
    patch.setattr(recipe_module, "PAIRS_PER_SET", {"parakqc": 2, "stylekqc": 1, "qa": 1})
    yield tiny
    patch.undo()


def test_what_must_stay_unseen_stays_unseen(corpora: Path) -> None:
    training, held_out = parakqc_split(corpora, 5, 1)
    assert len(held_out) == 5 and not {s["set_id"] for s in training} & {s["set_id"] for s in held_out}
    assert parakqc_split(corpora, 5, 1)[1] == held_out and parakqc_split(corpora, 5, 2)[1] != held_out
    sets = paraphrase_sets(corpora, ROOT / "data" / "qa", 5, 1)
    seen = {squeeze(text) for group in sets for text in group.sentences}
    unseen = {squeeze(text) for row in held_out for text in row["sents"]}
    knowledge = load_knowledge()
    unseen |= {squeeze(t) for half in ("dev", "test") for t, _ in knowledge.held_out(half)}
    assert not seen & unseen


def test_pairs_are_distinct_and_bounded() -> None:
    group = corpora_module.ParaphraseSet("x", ("가", "나", "다", "가"))
    pairs = sample_pairs([group], {"x": 10}, seed=1)
    assert len(pairs) == 3 and all(a != b for a, b in pairs)


def test_noise_changes_but_never_empties() -> None:
    rng = random.Random(1)
    source = [e.question for e in load_knowledge().entries[:400]]
    noised = [noisy(text, rng) for text in source]
    assert all(text.strip() for text in noised)
    assert sum(a != b for a, b in zip(source, noised, strict=True)) > 250


@pytest.mark.slow
def test_the_recipe_from_text_to_shipped_files(corpora: Path, tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    recipe_module.vocab(corpora, work)
    recipe_module.embed(corpora, work)
    recipe_module.pretrain(corpora, work, minutes=0.1)
    recipe_module.contrast(corpora, work, ROOT / "data" / "qa", epochs=1)
    recipe_module.export(work, out)
    exact, small = SentenceTransformerEncoder(out, "cpu"), OnnxEncoder(out)
    texts = ["오늘 너무 피곤해", "비 오네", "ㅋㅋㅋㅋㅋㅋㅋ"]
    assert (exact.encode(texts) * small.encode(texts)).sum(1).min() > 0.9
    assert small.encode(["ㅋㅋㅋㅋㅋㅋㅋ"]) == pytest.approx(small.encode(["ㅋㅋㅋ"]))


def test_masked_loss_falls_and_batches_come_round(corpora: Path, tmp_path: Path) -> None:
    recipe_module.vocab(corpora, tmp_path)
    lines = pretraining_lines(corpora, recipe_module.RECIPE.seed)
    ids, starts = tokenised_lines(tmp_path, lambda: lines, 64)
    batches = Batches(ids, starts, batch_tokens=256, pad=recipe_module.PAD, seed=1)
    assert sum(len(rows) for rows in batches.rows) == len(starts) - 1
    assert torch.equal(batches[0], batches[len(batches.rows)])
    assert all(batches[i].numel() <= 2 * 256 for i in range(20))
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
    made = tmp_path / "made"
    recipe_module.vocab(corpora, made)
    recipe_module.embed(corpora, made)
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
                recipe_module.pretrain(corpora, work, minutes=1, save_every=0.5)
        recipe_module.pretrain(corpora, work, minutes=1, save_every=0.5)
        results.append(torch.load(work / "pretrain.pt", weights_only=True))
    whole, resumed = results
    assert whole["spent"]["steps"] == resumed["spent"]["steps"] == 60
    for name, weight in whole["model"].items():
        assert torch.equal(weight, resumed["model"][name]), name

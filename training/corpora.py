"""Reading the training text: plain lines for pretraining, paraphrases for contrastive training.

The corpora are folders of gzipped files (``pretrain/*.txt.gz``, ``pairs/*.jsonl.gz``); where
they live is an argument everywhere, since only the recipes need them.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from chatbot.text import squeeze

# Share of each file that pretraining reads. Spoken and everyday Korean counts double;
# computing documentation and film reviews would otherwise be 70 % of the text.
PRETRAIN_MIXTURE = {
    "dialogue": 2.0,
    "questions_commands": 2.0,
    "tatoeba": 2.0,
    "nlu_sentences": 1.0,
    "ambiguity_sentences": 1.0,
    "stories": 1.0,
    "news_comments_none": 1.0,
    "nsmc_reviews": 0.4,
    "petitions": 0.4,
    "book_reviews": 0.5,
    "news_parallel": 0.5,
    "docs_ms_human": 0.05,
}


@dataclass(frozen=True)
class ParaphraseSet:
    """Sentences that mean the same, and the corpus they come from."""

    source: str
    sentences: tuple[str, ...]


def read_jsonl(path: Path) -> Iterator[dict]:
    """Yield the objects of a JSON Lines file, gzipped or plain."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def pretraining_lines(corpora: Path, seed: int, mixture: dict[str, float] | None = None) -> list[str]:
    """Return shuffled lines of ``corpora/pretrain``, each file weighted by ``mixture``.

    A weight of 2 means that every line comes twice, 0.4 that a seeded 40 % of them come once.
    """
    rng = random.Random(seed)
    lines: list[str] = []
    for name, weight in (mixture or PRETRAIN_MIXTURE).items():
        with gzip.open(corpora / "pretrain" / f"{name}.txt.gz", "rt", encoding="utf-8") as file:
            own = file.read().splitlines()
        whole, part = divmod(weight, 1)
        lines += own * int(whole) + rng.sample(own, int(len(own) * part))
    rng.shuffle(lines)
    return lines


def parakqc_split(corpora: Path, held_out: int, seed: int) -> tuple[list[dict], list[dict]]:
    """Split the ParaKQC sets into ``(training, held out)`` by ``seed``."""
    sets = sorted(read_jsonl(corpora / "pairs" / "parakqc_train_sets.jsonl.gz"), key=lambda s: s["set_id"])
    random.Random(seed).shuffle(sets)
    return sets[held_out:], sets[:held_out]


def paraphrase_sets(corpora: Path, qa_dir: Path, held_out: int, seed: int) -> list[ParaphraseSet]:
    """Return every paraphrase set that contrastive training may see.

    The held-out ParaKQC sets, KorSTS dev, KLUE-NLI dev and the dev and test wordings of our own
    intents stay unseen: they steer and measure. A set that shares a sentence with them is dropped.
    """
    training, held = parakqc_split(corpora, held_out, seed)
    pairs = corpora / "pairs"
    sets = [ParaphraseSet("parakqc", tuple(s["sents"])) for s in training]
    for split in ("train", "dev", "test"):
        for row in read_jsonl(pairs / f"stylekqc_{split}_sets.jsonl.gz"):
            sets.append(ParaphraseSet("stylekqc", (*row["formal"], *row["informal"])))
    for name in ("question_pair_train", "tatoeba_same_english", "sae4k_v1"):
        for row in read_jsonl(pairs / f"{name}.jsonl.gz"):
            if row["label"] == 1:
                sets.append(ParaphraseSet(name, (row["a"], row["b"])))
    for row in read_jsonl(pairs / "kornli_xnli_dev.jsonl.gz"):
        if row["label"] == "entailment":
            sets.append(ParaphraseSet("xnli", (row["a"], row["b"])))
    for row in read_jsonl(pairs / "korsts_train.jsonl.gz"):
        if row["score"] >= 4:
            sets.append(ParaphraseSet("korsts", (row["a"], row["b"])))
    unseen = {squeeze(s) for group in held for s in group["sents"]}
    for path in sorted(qa_dir.glob("*.jsonl")):
        for intent in read_jsonl(path):
            sets.append(ParaphraseSet("qa", tuple(intent["questions"])))
            unseen.update(squeeze(q) for half in ("dev", "test") for q in intent[f"{half}_questions"])
    return [s for s in sets if not any(squeeze(text) in unseen for text in s.sentences)]


def scored_pairs(corpora: Path) -> list[tuple[str, str, float]]:
    """Return KorSTS training pairs with their similarity scaled to 0..1."""
    rows = read_jsonl(corpora / "pairs" / "korsts_train.jsonl.gz")
    return [(row["a"], row["b"], row["score"] / 5) for row in rows]


def sample_pairs(sets: list[ParaphraseSet], per_set: dict[str, int], seed: int) -> list[tuple[str, str]]:
    """Draw up to ``per_set[source]`` distinct pairs from every set, shuffled."""
    rng = random.Random(seed)
    pairs: list[tuple[str, str]] = []
    for group in sets:
        every = list(combinations(dict.fromkeys(group.sentences), 2))
        for a, b in rng.sample(every, min(per_set.get(group.source, 1), len(every))):
            pairs.append((a, b) if rng.random() < 0.5 else (b, a))
    rng.shuffle(pairs)
    return pairs

"""Reading the training text: plain lines for pretraining, paraphrases for contrastive training.

The corpora are a folder of gzipped files (``pretrain/*.txt.gz``, ``pairs/*.jsonl.gz``, ``chat/*.jsonl.gz``);
where it lies is an argument everywhere, since only the recipes need it. ``recipes/SOURCES.md`` says where
each file comes from.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

from chatbot.errors import ChatbotError
from chatbot.text import squeeze

# Files of the corpora, each with the keys of its rows and their types; none for plain lines of text.
Layout = Mapping[str, Mapping[str, Any]]

T = TypeVar("T")

_LABELLED = {"a": str, "b": str, "label": int}
_SCORED = {"a": str, "b": str, "score": int | float}
_STYLED = {"formal": list, "informal": list}
PARAKQC = "pairs/parakqc_train_sets.jsonl.gz"
PAIRS: Layout = {
    PARAKQC: {"set_id": int, "sents": list},
    "pairs/stylekqc_train_sets.jsonl.gz": _STYLED,
    "pairs/stylekqc_dev_sets.jsonl.gz": _STYLED,
    "pairs/stylekqc_test_sets.jsonl.gz": _STYLED,
    "pairs/question_pair_train.jsonl.gz": _LABELLED,
    "pairs/tatoeba_same_english.jsonl.gz": _LABELLED,
    "pairs/sae4k_v1.jsonl.gz": _LABELLED,
    "pairs/kornli_xnli_dev.jsonl.gz": {"a": str, "b": str, "label": str},
    "pairs/korsts_train.jsonl.gz": _SCORED,
}
# What an encoder is measured on, never trained on.
KORSTS_DEV = "pairs/korsts_dev.jsonl.gz"
MEASURED: Layout = {PARAKQC: PAIRS[PARAKQC], KORSTS_DEV: _SCORED}
# What of the corpora's chat/ is everyday talk; the rest is manuals, songs and evaluation sets.
CHAT: Layout = {
    "chat/chatbotdata_train.jsonl.gz": {"q": str, "a": str},
    "chat/xpersona_ko_valid.jsonl.gz": {"turns": list},
    "chat/xpersona_ko_test.jsonl.gz": {"turns": list},
}
_REMEDY = "받는 곳과 만드는 법은 training/recipes/SOURCES.md에 있어요."


class CorpusError(ChatbotError):
    """A file of the corpora is missing or is not what the recipes expect."""


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


def text_layout(mixture: Mapping[str, float]) -> Layout:
    """Return the files that a mixture of plain text is made of."""
    return {f"pretrain/{name}.txt.gz": {} for name in mixture}


def corpus_digest(path: Path, keys: Mapping[str, Any]) -> str:
    """Read a file of the corpora from end to end, make sure of it, and return a digest of what it says.

    Raises:
        CorpusError: it is missing, damaged or empty, or a row lacks one of ``keys`` in its type.
    """
    digest, number = hashlib.sha256(), 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                digest.update(line.encode())
                if keys and line.strip() and not _has(line, keys):
                    raise CorpusError(
                        f"{path} {number}번째 줄: {', '.join(keys)} 항목이 있는 JSON이 아니에요. {_REMEDY}"
                    )
    except FileNotFoundError as error:
        raise CorpusError(f"{path}: 이 파일이 있어야 해요. {_REMEDY}") from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: 온전한 UTF-8 gzip 파일이 아니에요. {_REMEDY}") from error
    if not number:
        raise CorpusError(f"{path}: 빈 파일이에요. {_REMEDY}")
    return digest.hexdigest()


def _has(line: str, keys: Mapping[str, Any]) -> bool:
    try:
        row = json.loads(line)
    except ValueError:
        return False
    return isinstance(row, dict) and all(isinstance(row.get(key), kind) for key, kind in keys.items())


def pretraining_lines(corpora: Path, seed: int, mixture: Mapping[str, float]) -> list[str]:
    """Return shuffled lines of ``corpora/pretrain``, each file weighted by ``mixture``.

    A weight of 2 means that every line comes twice, 0.4 that a seeded 40 % of them come once.
    """
    rng = random.Random(seed)
    lines: list[str] = []
    for name, weight in mixture.items():
        with gzip.open(corpora / "pretrain" / f"{name}.txt.gz", "rt", encoding="utf-8") as file:
            own = file.read().splitlines()
        lines += weighed(own, weight, rng)
    rng.shuffle(lines)
    return lines


def weighed(rows: list[T], weight: float, rng: random.Random) -> list[T]:
    """Return rows as often as ``weight`` says: 2 is twice each, 0.4 a random 40 % of them once."""
    whole, part = divmod(weight, 1)
    return rows * int(whole) + rng.sample(rows, int(len(rows) * part))


def parakqc_split(corpora: Path, held_out: int, seed: int) -> tuple[list[dict], list[dict]]:
    """Split the ParaKQC sets into ``(training, held out)`` by ``seed``."""
    sets = sorted(read_jsonl(corpora / PARAKQC), key=lambda s: s["set_id"])
    random.Random(seed).shuffle(sets)
    return sets[held_out:], sets[:held_out]


def paraphrase_sets(corpora: Path, own: Path, held_out: int, seed: int) -> list[ParaphraseSet]:
    """Return every paraphrase set that contrastive training may see; ``own`` holds the words that ship.

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
    for path in sorted((own / "qa").glob("*.jsonl")):
        for intent in read_jsonl(path):
            sets.append(ParaphraseSet("qa", tuple(intent["questions"])))
            unseen.update(squeeze(q) for half in ("dev", "test") for q in intent[f"{half}_questions"])
    for path in sorted((own / "listening").glob("*.jsonl")):
        lines = (tuple(row.get("questions", ())) for row in read_jsonl(path))
        sets += [ParaphraseSet("listening", said) for said in lines if len(said) > 1]
    return [s for s in sets if not any(squeeze(text) in unseen for text in s.sentences)]


def scored_pairs(corpora: Path, similarity_dir: Path) -> list[tuple[str, str, float]]:
    """Return KorSTS training pairs and our own, with their similarity scaled to 0..1."""
    files = [corpora / "pairs" / "korsts_train.jsonl.gz", *sorted(similarity_dir.glob("*.jsonl"))]
    return [(row["a"], row["b"], row["score"] / 5) for path in files for row in read_jsonl(path)]


def sample_pairs(sets: list[ParaphraseSet], per_set: Mapping[str, float], seed: int) -> list[tuple[str, str]]:
    """Draw up to ``per_set[source]`` distinct pairs from every set, shuffled.

    A number below 1 is the share of the sets that give one.
    """
    rng = random.Random(seed)
    pairs: list[tuple[str, str]] = []
    for group in sets:
        every = list(combinations(dict.fromkeys(group.sentences), 2))
        wanted = per_set.get(group.source, 1)
        if wanted < 1:
            wanted = int(rng.random() < wanted)
        for a, b in rng.sample(every, min(int(wanted), len(every))):
            pairs.append((a, b) if rng.random() < 0.5 else (b, a))
    rng.shuffle(pairs)
    return pairs

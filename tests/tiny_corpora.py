"""A corpora folder in the layout the recipes read, a hundred lines a file, from our own words."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Any

from chatbot.knowledge import load_knowledge
from tests.conftest import ROOT
from training.recipes.encoder import MIXTURE


def write_corpora(folder: Path) -> Path:
    """Write every file that the recipes read; return the folder."""
    intents = load_knowledge().intents[::7]  # some of every topic
    wordings = zip_longest(*(intent.questions for intent in intents))
    lines = [q for row in wordings for q in row if q]  # of every intent first, so of many syllables
    for number, name in enumerate(MIXTURE):
        _write(folder / "pretrain" / f"{name}.txt.gz", lines[number :: len(MIXTURE)][:100])
    pairs = [{"a": i.questions[0], "b": i.questions[1]} for i in intents[60:80]]
    scored = [{**pair, "score": n % 6} for n, pair in enumerate(pairs)]
    rows: dict[str, list[dict[str, Any]]] = {
        "pairs/parakqc_train_sets": [
            {"set_id": n, "sents": list(i.questions)} for n, i in enumerate(intents[:30])
        ],
        "pairs/kornli_xnli_dev": [{**pair, "label": "entailment"} for pair in pairs],
        "pairs/korsts_train": scored,
        "pairs/korsts_dev": scored,
        "chat/chatbotdata_train": [{"q": "밥 먹었어?", "a": "아직이요."}],
    }
    for n, split in enumerate(("train", "dev", "test")):
        own = intents[30 + 10 * n : 40 + 10 * n]
        rows[f"pairs/stylekqc_{split}_sets"] = [
            {"formal": list(i.questions[:2]), "informal": list(i.questions[2:])} for i in own
        ]
    for name in ("question_pair_train", "tatoeba_same_english", "sae4k_v1"):
        rows[f"pairs/{name}"] = [{**pair, "label": 1} for pair in pairs]
    turns = [{"role": "user", "text": "안녕"}, {"role": "bot", "text": "안녕하세요"}]
    for split in ("valid", "test"):
        rows[f"chat/xpersona_ko_{split}"] = [{"turns": turns}]
    for name, own_rows in rows.items():
        written = [json.dumps(row, ensure_ascii=False) for row in own_rows]
        _write(folder / f"{name}.jsonl.gz", written)
    return folder


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))


def run_recipe(name: str, corpora: Path, *options: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a recipe at its smallest, as CI and a reader do."""
    return subprocess.run(
        [sys.executable, "-m", f"training.recipes.{name}", "--corpora", str(corpora), "--smoke", *options],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=ROOT,
        env={**os.environ, "CHATBOT_HOME": str(home)},
    )

"""The crisis classifier, from our own lines to the file that ships.

    python -m training.safety --out data/models/safety

Learns from ``data/safety/crisis_train.jsonl``, the dev half of ``data/eval/crisis.jsonl`` and, as talk
that is no emergency, our indexed questions and dialogues. How much a matching pattern counts, and the
threshold, come from cross-validation: every line is judged by a model that has not seen it.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from chatbot.knowledge import labelled_lines, load_dialogues, load_knowledge
from chatbot.models.crisis import BUCKETS, DANGERS, CrisisClassifier, features
from chatbot.resources import data_dir
from chatbot.safety import matched_pattern
from training.corpora import read_jsonl
from training.noise import noisy

SEED = 20261121
STRENGTH = 10.0  # inverse of the L2 penalty
FOLDS = 5
NOISY_WEIGHT = 0.5  # of a line as a hurried typist sends it, and of one without spaces
ORDINARY_WEIGHT = 0.6  # of an everyday question of ours: there are many
MAX_ALARMS = 0.05  # of look-alikes, by cross-validation


def fit(out: Annotated[Path, typer.Option(help="The folder that ships.")]) -> None:
    """Train the classifier, fit its threshold and write it; print cross-validated figures."""
    lines = training_lines()
    ordinary = sorted(
        {e.question for e in load_knowledge().entries}
        | {turn.text for turns, _ in load_dialogues() for turn in turns if turn.role == "user"}
    )
    odds, kinds = _judged_unseen(lines, ordinary)
    danger = np.array([label != "none" for _, label in lines])
    matched = np.array([matched_pattern(text) is not None for text, _ in lines])
    dev = np.arange(len(lines)) >= len(lines) - len(labelled_lines("crisis", "dev"))
    evidence, threshold = decide(odds, matched, danger, dev)
    alarm = odds + evidence * matched >= threshold
    classifier = _trained(lines, ordinary)
    classifier.threshold, classifier.evidence = threshold, evidence
    classifier.save(out)
    right_kind = [kind == label for kind, (_, label) in zip(kinds, lines, strict=True) if label != "none"]
    figures = {
        "lines": len(lines),
        "ordinary": len(ordinary),
        "threshold": threshold,
        "evidence": evidence,
        "dev recall": float(alarm[danger & dev].mean()),
        "dev alarms": float(alarm[~danger & dev].mean()),
        "recall": float(alarm[danger].mean()),
        "alarms": float(alarm[~danger].mean()),
        "right kind": float(np.mean(right_kind)),
    }
    typer.echo(json.dumps(figures, indent=1))


def training_lines() -> list[tuple[str, str]]:
    """Return ``(text, label)`` of all that may be learnt from, dev lines last, the test half never."""
    rows = read_jsonl(data_dir() / "safety" / "crisis_train.jsonl")
    return [(row["text"], row["label"]) for row in rows] + labelled_lines("crisis", "dev")


def decide(
    odds: npt.NDArray[np.float64],
    matched: npt.NDArray[np.bool_],
    danger: npt.NDArray[np.bool_],
    dev: npt.NDArray[np.bool_],
) -> tuple[float, float]:
    """Return how much a matching pattern adds to the log-odds, and the threshold of an alarm.

    The patterns were made with dev lines, which would trust them too much: the others say how far
    they go. The threshold lets ``MAX_ALARMS`` of all look-alikes pass it.
    """
    weights = LogisticRegression(C=100).fit(np.c_[odds, matched][~dev], danger[~dev]).coef_[0]
    evidence = max(0.0, float(weights[1] / weights[0]))
    return evidence, float(np.quantile((odds + evidence * matched)[~danger], 1 - MAX_ALARMS))


def _judged_unseen(
    lines: list[tuple[str, str]], ordinary: list[str]
) -> tuple[npt.NDArray[np.float64], list[str]]:
    """Return each line's log-odds and likeliest danger, by a model trained on the other folds."""
    odds, kinds = np.zeros(len(lines)), [""] * len(lines)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    for seen, unseen in folds.split(lines, [label for _, label in lines]):
        classifier = _trained([lines[i] for i in seen], ordinary)
        for i in unseen:
            odds[i], kinds[i] = classifier.judge(lines[i][0])
    return odds, kinds


def _trained(lines: list[tuple[str, str]], ordinary: list[str]) -> CrisisClassifier:
    rng = random.Random(SEED)
    rows: list[tuple[str, str, float]] = []
    for text, label in lines:
        rows += [
            (text, label, 1.0),
            (noisy(text, rng), label, NOISY_WEIGHT),
            (text.replace(" ", ""), label, NOISY_WEIGHT),
        ]
    rows += [(text, "none", ORDINARY_WEIGHT) for text in ordinary]
    labels = ["none", *DANGERS]
    texts = [text for text, _, _ in rows]
    rarity = _rarity(texts)
    model = LogisticRegression(C=STRENGTH, max_iter=3000, class_weight="balanced")
    model.fit(
        _matrix([features(text, rarity) for text in texts]),
        [labels.index(label) for _, label, _ in rows],
        sample_weight=[weight for _, _, weight in rows],
    )
    return CrisisClassifier(model.coef_, model.intercept_, rarity, 0.0, 0.0)


def _rarity(texts: list[str]) -> npt.NDArray[np.float64]:
    """Return the smoothed inverse document frequency of every bucket, ``(BUCKETS,)``."""
    seen_in = np.bincount(np.concatenate([features(text)[0] for text in texts]), minlength=BUCKETS)
    return np.log((1 + len(texts)) / (1 + seen_in)) + 1


def _matrix(vectors: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]) -> csr_matrix:
    starts = np.cumsum([0] + [len(columns) for columns, _ in vectors])
    columns, values = (np.concatenate(part) for part in zip(*vectors, strict=True))
    return csr_matrix((values, columns, starts), shape=(len(vectors), BUCKETS))


if __name__ == "__main__":
    typer.run(fit)

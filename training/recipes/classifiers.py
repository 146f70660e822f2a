"""The n-gram classifiers, from our own lines to the files that ship.

    python -m training.recipes.classifiers --out data/models/classifiers

makes ``crisis`` (who is in need), ``groups`` (what is said of a whole group of people) and ``unknown`` (what
no small-talk bot can know), fifteen minutes for the first, a few for each of the others.

Each learns from lines written for it (``data/classifiers/*.jsonl``), the dev half of its evaluation
lines and, as ordinary talk, our indexed questions and dialogues. What it decides by comes from
cross-validation: every line is judged by a model that has not seen it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import typer
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import normalize

from chatbot.errors import UsageError
from chatbot.knowledge import labelled_lines, load_dialogues, load_knowledge, load_listening
from chatbot.models.ngram import BUCKETS, NgramClassifier, features
from chatbot.resources import data_dir
from chatbot.safety import Danger, matched_pattern
from training.corpora import read_jsonl
from training.evaluate import DECLINING_TOPIC
from training.noise import noisy
from training.recipes.steps import errors_in_korean

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

SEED = 20261121
FOLDS = 5
NOISY_COPIES = 6
NOISY_WEIGHT = 0.5  # of a line as a hurried typist sends it, and of one without spaces
ORDINARY_WEIGHT = 2.0  # of an everyday utterance of ours
SMOKE = 100  # of so many lines one, at the smallest size
MAX_ALARMS = 0.045  # of crisis look-alikes, by cross-validation: under 5 %, since dev is small
MIN_RECALL = 0.95  # of the dev half's crisis lines, likewise; more alarms are the lesser evil
MAX_GROUPS = 0.002  # of everyday talk that is taken for talk of groups, by cross-validation
MAX_ALIKE = 0.05  # of the lines written to look like it
PREJUDICE = "situation-p-"  # ids of situations, most of them such talk

Line = tuple[str, str]  # text, label
Row = tuple[str, str, float]  # and its weight


class Shape(NamedTuple):
    """A classifier's buckets, the inverse of the L2 penalty on its weights, of how many it is the mean."""

    buckets: int = BUCKETS
    strength: float = 20.0
    bags: int = 1


USUAL = Shape()
CRISIS = Shape(1 << 17, 5.0, 3)  # the most lines by far


@app.command(
    help="함께 나가는 분류기를 처음부터 만들기: crisis(위기), groups(사람들을 묶어 하는 말), "
    "unknown(알 수 없는 것)."
)
def make(
    only: Annotated[str | None, typer.Option("--only", metavar="NAME", help="이것만")] = None,
    out: Annotated[Path, typer.Option(help="만든 것을 둘 폴더")] = Path("runs/classifiers"),
    smoke: Annotated[bool, typer.Option("--smoke", help="백 줄에 한 줄로, 1분 안에 해 보기")] = False,
) -> None:
    """Train the classifiers and print their cross-validated figures."""
    with errors_in_korean():
        if only and only not in CLASSIFIERS:
            raise UsageError(f"--only {only}: {', '.join(CLASSIFIERS)} 중에서 골라 주세요.")
        for name in [only] if only else CLASSIFIERS:
            classifier, figures = CLASSIFIERS[name](SMOKE if smoke else 1)
            out.mkdir(parents=True, exist_ok=True)
            classifier.save(out / f"{name}.npz")
            typer.echo(json.dumps({"classifier": name, **figures}, indent=1))


def crisis(every: int = 1) -> tuple[NgramClassifier, dict[str, Any]]:
    """Return the classifier of people in need, its threshold fitted, and its cross-validated figures.

    Of the lines it learns from, one in ``every`` is taken; of the dev lines all.
    """
    labels = ("none", *get_args(Danger))
    written, ordinary = _written("crisis")[::every], ordinary_talk()[::every]
    lines = written + labelled_lines("crisis", "dev")
    dev = np.arange(len(lines)) >= len(written)
    odds, kinds, said = judged_unseen(lines, labels, ordinary, CRISIS)
    danger = np.array([label != "none" for _, label in lines])
    matched = np.array([matched_pattern(text) is not None for text, _ in lines])
    evidence, threshold = decide(odds, matched, danger, dev)
    alarm = odds + evidence * matched > threshold
    said += evidence * np.array([matched_pattern(text) is not None for text in ordinary])
    classifier = trained(lines, labels, ordinary, CRISIS)
    classifier.decision = {"threshold": threshold, "evidence": evidence}
    right_kind = [kind == label for kind, (_, label) in zip(kinds, lines, strict=True) if label != "none"]
    figures = {
        "lines": len(lines),
        "dev recall": float(alarm[danger & dev].mean()),
        "dev alarms": float(alarm[~danger & dev].mean()),
        "recall": float(alarm[danger].mean()),
        "alarms": float(alarm[~danger].mean()),
        "alarms of everyday talk": float((said > threshold).mean()),
        "right kind": float(np.mean(right_kind)),
        **classifier.decision,
    }
    return classifier, figures


def groups(every: int = 1) -> tuple[NgramClassifier, dict[str, Any]]:
    """Return the classifier of talk about groups of people, its threshold, and its cross-validated figures.

    Our situations of prejudice are no example of everyday talk nor, some being of single people, of this.
    """
    labels = ("everyday", "group")
    lines = _written("groups")[::every] + labelled_lines("groups", "dev")
    prejudice = {e.question for e in load_listening().entries if e.answers.source.startswith(PREJUDICE)}
    ordinary = [text for text in ordinary_talk() if text not in prejudice][::every]
    odds, _, said = judged_unseen(lines, labels, ordinary)
    group = np.array([label == "group" for _, label in lines])
    threshold = max(
        float(np.quantile(said, 1 - MAX_GROUPS, method="higher")),
        float(np.quantile(odds[~group], 1 - MAX_ALIKE, method="higher")),
    )
    classifier = trained(lines, labels, ordinary)
    classifier.decision = {"threshold": threshold}
    figures = {
        "lines": len(lines),
        "recall": float((odds[group] > threshold).mean()),
        "alarms": float((odds[~group] > threshold).mean()),
        "alarms of everyday talk": float((said > threshold).mean()),
        **classifier.decision,
    }
    return classifier, figures


def unknown(every: int = 1) -> tuple[NgramClassifier, dict[str, Any]]:
    """Return the classifier of what the bot cannot know, and its cross-validated figures."""
    labels = ("everyday", "ood")
    eval_lines = [
        (text, "ood" if label == "ood" else "everyday") for text, label in labelled_lines("unseen", "dev")
    ]
    lines = _written("unknown")[::every] + eval_lines
    ordinary = ordinary_talk()[::every]
    odds, _, said = judged_unseen(lines, labels, ordinary)
    strange = np.array([label == "ood" for _, label in lines])
    figures = {
        "lines": len(lines),
        "recall": float((odds[strange] > 0).mean()),
        "false alarms": float((odds[~strange] > 0).mean()),
        "false alarms of everyday talk": float((said > 0).mean()),
    }
    return trained(lines, labels, ordinary), figures


CLASSIFIERS: dict[str, Callable[[int], tuple[NgramClassifier, dict[str, Any]]]] = {
    "crisis": crisis,
    "groups": groups,
    "unknown": unknown,
}


def decide(
    odds: npt.NDArray[np.float64],
    matched: npt.NDArray[np.bool_],
    danger: npt.NDArray[np.bool_],
    dev: npt.NDArray[np.bool_],
) -> tuple[float, float]:
    """Return how much a matching pattern adds to the log-odds, and the threshold of an alarm.

    The patterns were made with dev lines, which would trust them too much: the others say how far
    they go. The threshold lets at most ``MAX_ALARMS`` of the look-alikes pass, of all and of dev alone,
    unless fewer than ``MIN_RECALL`` of dev's people in need were found by it.
    """
    weights = LogisticRegression(C=100).fit(np.c_[odds, matched][~dev], danger[~dev]).coef_[0]
    evidence = max(0.0, float(weights[1] / weights[0]))
    scores = odds + evidence * matched
    limits = [
        np.quantile(scores[~danger & which], 1 - MAX_ALARMS, method="higher") for which in (dev | ~dev, dev)
    ]
    found = np.quantile(scores[danger & dev], 1 - MIN_RECALL, method="lower")
    return evidence, float(min(max(limits), np.nextafter(found, -np.inf)))


def judged_unseen(
    lines: list[Line], labels: Sequence[str], ordinary: list[str], shape: Shape = USUAL
) -> tuple[npt.NDArray[np.float64], list[str], npt.NDArray[np.float64]]:
    """Return each line's log-odds and likeliest label, by a model trained on the other folds.

    And the log-odds of ``ordinary`` talk, likewise.
    """
    odds, kinds, said = np.zeros(len(lines)), [""] * len(lines), np.zeros(len(ordinary))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    fold = np.arange(len(ordinary)) % FOLDS
    for number, (seen, unseen) in enumerate(folds.split(lines, [label for _, label in lines])):
        kept = [text for text, its in zip(ordinary, fold, strict=True) if its != number]
        classifier = trained([lines[i] for i in seen], labels, kept, shape)
        for i in unseen:
            odds[i], kinds[i] = classifier.judge(lines[i][0])
        for i in np.flatnonzero(fold == number):
            said[i], _ = classifier.judge(ordinary[i])
    return odds, kinds, said


def trained(
    lines: list[Line], labels: Sequence[str], ordinary: list[str], shape: Shape = USUAL
) -> NgramClassifier:
    """Return a classifier of these lines, ``ordinary`` talk counted to the first label.

    The mean of ``shape.bags`` models, each with noise of its own and its share of the ordinary talk: which
    noise is drawn decides less then (Breiman 1996, Bagging Predictors).
    """
    rng = random.Random(SEED)
    bags = [
        _rows(
            lines,
            [(text, labels[0], ORDINARY_WEIGHT * shape.bags) for text in ordinary[n :: shape.bags]],
            rng,
        )
        for n in range(shape.bags)
    ]
    grams = [_grams([text for text, _, _ in rows], shape.buckets) for rows in bags]
    rarity = _rarity(grams)
    found = [_fitted(part, rows, labels, rarity, shape) for part, rows in zip(grams, bags, strict=True)]
    weights, bias = (np.mean(parts, axis=0) for parts in zip(*found, strict=True))
    return NgramClassifier(labels, weights, bias, rarity, {})


def _rows(lines: list[Line], rows: list[Row], rng: random.Random) -> list[Row]:
    """Return the lines as people type them, and other rows."""
    typed: list[Row] = []
    for text, label in lines:
        typed += [
            (text, label, 1.0),
            (text.replace(" ", ""), label, NOISY_WEIGHT),
            *((noisy(text, rng), label, NOISY_WEIGHT) for _ in range(NOISY_COPIES)),
        ]
    return typed + rows


def _fitted(
    grams: csr_matrix, rows: list[Row], labels: Sequence[str], rarity: npt.NDArray[np.float64], shape: Shape
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the weights ``(labels, buckets)`` and the bias ``(labels,)`` of one model."""
    model = LogisticRegression(C=shape.strength, max_iter=3000, class_weight="balanced")
    model.fit(
        normalize(grams.multiply(rarity[None].astype(np.float32)).tocsr()),  # as features() weighs them
        [labels.index(label) for _, label, _ in rows],
        sample_weight=[weight for _, _, weight in rows],
    )
    if len(labels) == 2:  # scikit-learn keeps one row for two classes
        return np.concatenate([0 * model.coef_, model.coef_]), np.array([0.0, model.intercept_[0]])
    return model.coef_, model.intercept_


def ordinary_talk() -> list[str]:
    """Return our questions, their dev wordings, and what people say in our dialogues and to a listener.

    What the bot declines is left out: to the one classifier it is strange, to the other no loss.
    """
    said = {turn.text for turns, _ in load_dialogues() for turn in turns if turn.role == "user"}
    asked = {
        q
        for intent in load_knowledge().intents
        if intent.topic != DECLINING_TOPIC
        for q in (*intent.questions, *intent.dev_questions)
    }
    told = {entry.question for entry in load_listening().entries}
    return sorted(asked | said | told)


def _written(name: str) -> list[Line]:
    rows = read_jsonl(data_dir() / "classifiers" / f"{name}.jsonl")
    return [(row["text"], row["label"]) for row in rows]


def _rarity(grams: Sequence[csr_matrix]) -> npt.NDArray[np.float64]:
    """Return the smoothed inverse document frequency of every bucket, ``(buckets,)``."""
    seen_in = sum(np.bincount(part.indices, minlength=part.shape[1]) for part in grams)
    return np.log((1 + sum(part.shape[0] for part in grams)) / (1 + seen_in)) + 1


def _grams(texts: Sequence[str], buckets: int) -> csr_matrix:
    """Return the n-grams of texts, unweighted, ``(texts, buckets)``."""
    vectors = [features(text, buckets=buckets) for text in texts]
    starts = np.cumsum([0] + [len(columns) for columns, _ in vectors])
    columns, values = (np.concatenate(part) for part in zip(*vectors, strict=True))
    return csr_matrix((values, columns, starts), shape=(len(vectors), buckets))


if __name__ == "__main__":
    app()

"""Measuring a backend on held-out data.

Thresholds and weights come from the dev halves, every figure printed here from the test halves.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from chatbot.calibration import SCORERS, Scorer, leave_one_out
from chatbot.datasets import Dataset
from chatbot.dialogue import Conversation, Turn
from chatbot.errors import ChatbotError
from chatbot.index import Index, open_index
from chatbot.knowledge import (
    Entry,
    Knowledge,
    follow_ups,
    labelled_lines,
    load_knowledge,
    personal_dataset,
)
from chatbot.measures import chrf, latency
from chatbot.models.encoder import Encoder, Progress, load_encoder
from chatbot.style import reply_style
from chatbot.text import normalise, same_words
from chatbot.tfidf import Tfidf
from training.corpora import parakqc_split, read_jsonl
from training.pairs import load_scores

# An intent of this topic is itself a way of saying "that I cannot know".
DECLINING_TOPIC = "limits"
_MOST_LINES = 1000  # of a dataset


class Sought(NamedTuple):
    """A test line, whose answer is right, and which rows may not be found."""

    text: str
    source: str
    left_out: Sequence[int] = ()


class Found(NamedTuple):
    """What a scorer finds for every test line: the best scores, their rows, ranks of the right answers.

    A rank is 0 where the right answer was not there to be found.
    """

    scores: np.ndarray
    rows: np.ndarray
    ranks: np.ndarray


def evaluate_retrieval(
    data: str | None = None,
    encoder: str | None = None,
    device: str = "auto",
    sts: Path | None = None,
    progress: Progress | None = None,
    every: int = 1,
) -> dict[str, Any]:
    """Return every figure of the retrieval backend as one dictionary (shares in 0..1, times in ms).

    Data without test wordings of its own is measured by leaving one wording of an answer out; an imported
    dataset by its last part in time, where the right answer is any in the same words. For a quick look
    only one in ``every`` of the answers is there, and asked for.

    Raises:
        ChatbotError: the data has nothing to measure with.
    """
    if sts:
        _sts_rows(sts)  # before minutes are spent on the rest
    knowledge = load_knowledge(data).thinned(every)
    model = load_encoder(encoder, device)
    index = open_index(knowledge, model, progress)
    sought = _lines(knowledge, index)
    found, seconds = _find(index, sought, progress)
    figures: dict[str, Any] = {
        "backend": "retrieval",
        "notes": model.notes,
        "encoder": model.name,
        "data": knowledge.name,
        "entries": len(knowledge.entries),
        "test_wordings": len(sought),
        "scorers": {scorer: _ranking(index, sought, found[scorer]) for scorer in SCORERS},
        "calibration": {
            "dense_weight": index.calibration.dense_weight,
            "set_weight": index.calibration.set_weight,
            "context_weight": index.calibration.context_weight,
            "context_pivot": index.calibration.context_pivot,
        },
        "floor": _floors(index, knowledge, found),
        "latency_ms": latency(seconds),
    }
    if data is None:
        figures["follow_ups"] = _follow_ups(index)
    if sts:
        correlations = sts_spearman(model, sts, index.calibration.dense_weight)
        figures["sts"] = {"file": sts.name, "spearman": correlations}
    return figures


def _lines(knowledge: Knowledge, index: Index) -> list[Sought]:
    """Return what to look for."""
    dataset = personal_dataset(knowledge.name) if knowledge.speaker else None
    if dataset:
        index.entries = _by_answer(index.entries)
        lines, remedy = _last_part(index, dataset), "대화를 더 가져와 주세요."
    else:
        lines = [Sought(text, source) for text, source in knowledge.held_out("test")]
        lines = lines or [Sought(*line) for line in leave_one_out(knowledge.entries)]
        remedy = "같은 답에 질문이 둘 이상 있거나 test_questions가 있어야 해요."
    if not lines:
        raise ChatbotError(f"{knowledge.name}: 잴 수 있는 질문이 없어요. {remedy}")
    return lines


def _by_answer(entries: Sequence[Entry]) -> list[Entry]:
    """Return entries whose answers have their own words for a source: the same words are as right."""
    return [
        replace(entry, answers=replace(entry.answers, source=same_words(entry.answers.polite[0])))
        for entry in entries
    ]


def _last_part(index: Index, dataset: Dataset) -> list[Sought]:
    """Return test questions of a dataset, none of the test part to be found."""
    splits = [row["split"] for row in read_jsonl(dataset.pairs)][-len(index.entries) :]
    rows = [row for row, split in enumerate(splits) if split == "test"]
    chosen = rows[:: max(1, len(rows) // _MOST_LINES)]
    entries = index.entries
    return [Sought(entries[row].question, entries[row].answers.source, rows) for row in chosen]


def _find(
    index: Index, sought: Sequence[Sought], progress: Progress | None
) -> tuple[dict[Scorer, Found], list[float]]:
    """Look for every line by every scorer; return what they find, and the seconds each line took to look up.

    The rank of an answer is that of the best of its wordings, ties at the end.
    """
    sources, group = np.unique([entry.answers.source for entry in index.entries], return_inverse=True)
    together = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[together], np.arange(len(sources)))
    count, seconds = len(sought), []
    found = {
        scorer: Found(np.empty(count), np.empty(count, dtype=int), np.empty(count, dtype=int))
        for scorer in SCORERS
    }
    for number, line in enumerate(sought):
        started = time.perf_counter()
        near = index.compare(line.text, left_out=line.left_out)
        seconds.append(time.perf_counter() - started)
        for scorer, (tops, rows, ranks) in found.items():
            scores = index.score(near, scorer)
            rows[number] = scores.argmax()
            tops[number] = scores[rows[number]]
            best = np.maximum.reduceat(scores[together], starts)
            right = best[np.searchsorted(sources, line.source)]
            ranks[number] = (best >= right).sum() if np.isfinite(right) else 0
        if progress:
            progress(number + 1, count)
    return found, seconds


def _ranking(index: Index, sought: Sequence[Sought], found: Found) -> dict[str, float]:
    """Return top-1 accuracy, mean reciprocal rank of the right answer, and chrF of the best one to it."""
    reciprocal = np.where(found.ranks > 0, 1 / np.maximum(found.ranks, 1), 0.0)
    by_source = {entry.answers.source: entry.answers for entry in index.entries}
    said, right = [], []
    for line, row in zip(sought, found.rows, strict=True):
        style = reply_style(Conversation(turns=[Turn("user", line.text)]))
        said.append(index.entries[row].answers.in_style(style)[0])
        right.append(by_source[line.source].in_style(style))
    return {
        "top1": float((found.ranks == 1).mean()),
        "mrr": float(reciprocal.mean()),
        "chrf": chrf(said, right),
    }


def _floors(index: Index, knowledge: Knowledge, found: Mapping[Scorer, Found]) -> dict[str, dict[str, float]]:
    """Return what happens at the floor: in domain, out of domain, and on everyday lines no intent covers."""
    topics = {intent.id: intent.topic for intent in knowledge.intents}
    strange = {
        name: [index.compare(text) for text, label in labelled_lines("unseen", "test") if label == name]
        for name in ("ood", "unseen")
    }

    def declined(name: str, scorer: Scorer) -> float:
        floor = index.calibration.floor(scorer)
        tops = [index.best(near, scorer) for near in strange[name]]
        return float(np.mean([s < floor or topics.get(source) == DECLINING_TOPIC for s, source in tops]))

    figures: dict[str, dict[str, float]] = {}
    for scorer, own in found.items():
        answered = own.scores >= index.calibration.floor(scorer)
        figures[scorer] = {
            "floor": index.calibration.floor(scorer),
            "coverage": float(answered.mean()),
            "accuracy_when_answered": float((own.ranks[answered] == 1).mean()) if answered.any() else 0.0,
            "ood_declined": declined("ood", scorer),
            "unseen_declined": declined("unseen", scorer),
        }
    return figures


def _follow_ups(index: Index) -> dict[str, float]:
    """Return how often a two-turn item finds its reply, with the turn before and without."""
    items = follow_ups("test")
    alone = replace(index.calibration, context_weight=0.0)

    def right(use_context: bool) -> float:
        hits = 0
        for item in items:
            found = index.compare(item.question, item.context if use_context else "")
            hits += index.best(found, "fused", None if use_context else alone)[1] == item.target
        return hits / len(items)

    return {"items": len(items), "with_context": right(True), "without_context": right(False)}


def sts_spearman(encoder: Encoder, path: Path, weight: float = 0.5) -> dict[str, float]:
    """Return Spearman's rank correlation (times 100) of each scorer's cosine with the scores of an STS file.

    TF-IDF is fitted on all sentences of the file; ``weight`` is the share of the dense cosine in the fused
    one. The file is JSON Lines with ``a``, ``b``, ``score``, gzipped or not, or the tab-separated KorSTS form
    (score, sentence1, sentence2 in columns of those names).

    Raises:
        ChatbotError: the file cannot be read, or holds something else.
    """
    from scipy.stats import spearmanr

    rows = _sts_rows(path)
    first, second = encoder.encode([a for a, _, _ in rows]), encoder.encode([b for _, b, _ in rows])
    fitted = Tfidf.fit([text for a, b, _ in rows for text in (a, b)])
    dense = (first * second).sum(1)
    tfidf = np.array([fitted.over([a]).similarities(b)[0] for a, b, _ in rows])
    scores = _by_scorer(dense, tfidf, weight)
    graded = [score for _, _, score in rows]
    return {name: 100 * float(spearmanr(cosine, graded).statistic) for name, cosine in scores.items()}


def parakqc_retrieval(
    encoder: Encoder, corpora: Path, held_out: int, seed: int, weight: float
) -> dict[str, float]:
    """Return top-1 accuracy of finding a held-out ParaKQC set by its other wordings.

    Indexed are the first sentence of each held-out set and every sentence of the other sets.
    ``weight`` is the share of the dense score in the fused one.
    """
    training, held = parakqc_split(corpora, held_out, seed)
    indexed = [group["sents"][0] for group in held] + [text for group in training for text in group["sents"]]
    queries = [(text, n) for n, group in enumerate(held) for text in group["sents"][1:]]
    dense = encoder.encode([text for text, _ in queries]) @ encoder.encode(indexed).T
    fitted = Tfidf.fit(indexed)
    tfidf = np.stack([fitted.similarities(text) for text, _ in queries])
    right = np.array([n for _, n in queries])
    scores = _by_scorer(dense, tfidf, weight)
    return {
        "queries": len(queries),
        "indexed": len(indexed),
        **{name: float((score.argmax(1) == right).mean()) for name, score in scores.items()},
    }


def _by_scorer(dense: np.ndarray, tfidf: np.ndarray, weight: float) -> dict[Scorer, np.ndarray]:
    """Return the cosines of every scorer, ``weight`` the share of the dense ones in the fused."""
    return {"dense": dense, "tfidf": tfidf, "fused": weight * dense + (1 - weight) * tfidf}


def _sts_rows(path: Path) -> list[tuple[str, str, float]]:
    if path.suffix == ".gz":
        try:
            rows = [(normalise(r["a"]), normalise(r["b"]), float(r["score"])) for r in read_jsonl(path)]
        except (OSError, EOFError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise ChatbotError(
                f"--sts {path}: 읽을 수 없어요. a, b, score 항목이 있는지 확인해 주세요."
            ) from error
    else:
        rows = load_scores(path)
    if len({score for _, _, score in rows}) < 2:
        raise ChatbotError(f"--sts {path}: 서로 다른 점수가 둘 이상 있어야 해요. 파일을 확인해 주세요.")
    return rows

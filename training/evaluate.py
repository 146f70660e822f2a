"""Measuring a backend on held-out data.

Thresholds and weights come from the dev halves, every figure printed here from the test halves.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from chatbot.errors import ChatbotError
from chatbot.index import SCORERS, Index, Scorer, Similarities, leave_one_out, open_index
from chatbot.knowledge import Knowledge, follow_ups, labelled_lines, load_knowledge
from chatbot.models.encoder import Encoder, Progress, load_encoder
from chatbot.tfidf import Tfidf
from training.corpora import parakqc_split, read_jsonl

# An intent of this topic is itself a way of saying "that I cannot know".
DECLINING_TOPIC = "limits"


def evaluate_retrieval(
    data: str | None = None,
    encoder: str | None = None,
    device: str = "auto",
    sts: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return every figure of the retrieval backend as one dictionary (shares in 0..1, times in ms).

    Data without test wordings of its own is measured by leaving one wording of an answer out.
    """
    knowledge = load_knowledge(data)
    model = load_encoder(encoder, device)
    index = open_index(knowledge, model, progress)
    lines = [(text, source, -1) for text, source in knowledge.held_out("test")]
    lines = lines or leave_one_out(knowledge.entries)
    if not lines:
        raise ChatbotError(
            f"{knowledge.name}: 잴 수 있는 질문이 없어요. "
            "같은 답에 질문이 둘 이상 있거나 test_questions가 있어야 해요."
        )
    milliseconds: list[float] = []
    found: list[tuple[Similarities, str, int]] = []
    for text, source, left_out in lines:
        started = time.perf_counter()
        found.append((index.compare(text), source, left_out))
        milliseconds.append(1000 * (time.perf_counter() - started))
    figures: dict[str, Any] = {
        "backend": "retrieval",
        "notes": model.notes,
        "encoder": model.name,
        "data": knowledge.name,
        "entries": len(knowledge.entries),
        "test_wordings": len(lines),
        "scorers": {scorer: _ranking(index, found, scorer) for scorer in SCORERS},
        "calibration": {
            "dense_weight": index.calibration.dense_weight,
            "context_weight": index.calibration.context_weight,
            "context_pivot": index.calibration.context_pivot,
        },
        "floor": {scorer: _floor(index, knowledge, found, scorer) for scorer in SCORERS},
        "latency_ms": {
            "median": float(np.median(milliseconds)),
            "p95": float(np.percentile(milliseconds, 95)),
        },
    }
    if data is None:
        figures["follow_ups"] = _follow_ups(index)
    if sts:
        figures["sts"] = {"file": sts.name, "spearman": sts_spearman(model, sts)}
    return figures


def _ranking(
    index: Index, found: Iterable[tuple[Similarities, str, int]], scorer: Scorer
) -> dict[str, float]:
    """Return top-1 accuracy and mean reciprocal rank of the right answer among all answers."""
    ranks = []
    for similarities, source, left_out in found:
        scores = index.score(similarities, scorer)
        if left_out >= 0:
            scores[left_out] = -1.0
        order = dict.fromkeys(index.entries[int(i)].answers.source for i in np.argsort(-scores))
        ranks.append(list(order).index(source) + 1)
    reciprocal = 1 / np.array(ranks)
    return {"top1": float((reciprocal == 1).mean()), "mrr": float(reciprocal.mean())}


def _floor(
    index: Index, knowledge: Knowledge, found: list[tuple[Similarities, str, int]], scorer: Scorer
) -> dict[str, float]:
    """Return what happens at the floor: in domain, out of domain, and on everyday lines no intent covers."""
    floor = index.calibration.floor(scorer)
    topics = {intent.id: intent.topic for intent in knowledge.intents}

    known = [(index.best(own, scorer, left_out=left_out), source) for own, source, left_out in found]
    answered = [(top == source) for (score, top), source in known if score >= floor]

    def declined(label: str) -> float:
        texts = [text for text, own in labelled_lines("unseen", "test") if own == label]
        tops = [index.best(index.compare(text), scorer) for text in texts]
        return float(np.mean([s < floor or topics.get(source) == DECLINING_TOPIC for s, source in tops]))

    return {
        "floor": floor,
        "coverage": len(answered) / len(known),
        "accuracy_when_answered": float(np.mean(answered)) if answered else 0.0,
        "ood_declined": declined("ood"),
        "unseen_declined": declined("unseen"),
    }


def _follow_ups(index: Index) -> dict[str, float]:
    """Return how often a two-turn item finds its reply, with the turn before and without."""
    items = follow_ups("test")

    def right(use_context: bool) -> float:
        hits = 0
        for item in items:
            found = index.compare(item.question, item.context if use_context else "")
            # Without context every entry is judged by its own words alone.
            scores = index.score(found) if use_context else _own_words(index, found)
            hits += index.entries[int(scores.argmax())].answers.source == item.target
        return hits / len(items)

    return {"items": len(items), "with_context": right(True), "without_context": right(False)}


def _own_words(index: Index, found: Similarities) -> np.ndarray:
    weight = index.calibration.dense_weight
    return weight * found.dense + (1 - weight) * found.tfidf


def sts_spearman(encoder: Encoder, path: Path) -> float:
    """Return Spearman's rank correlation (times 100) of cosine with the scores of an STS file.

    The file is JSON Lines with ``a``, ``b``, ``score``, gzipped or not, or the tab-separated
    KorSTS form (score, sentence1, sentence2 in columns of those names).
    """
    from scipy.stats import spearmanr

    try:
        rows = _sts_rows(path)
        first = encoder.encode([a for a, _, _ in rows])
        second = encoder.encode([b for _, b, _ in rows])
    except (OSError, KeyError, ValueError) as error:
        raise ChatbotError(
            f"--sts {path}: 읽을 수 없어요({error}). a, b, score 항목이 있는지 확인해 주세요."
        ) from error
    return 100 * float(spearmanr((first * second).sum(1), [score for _, _, score in rows]).statistic)


def sts_spearman_tfidf(path: Path) -> float:
    """Return the same correlation for TF-IDF fitted on all sentences of the file."""
    from scipy.stats import spearmanr

    rows = _sts_rows(path)
    fitted = Tfidf.fit([text for a, b, _ in rows for text in (a, b)])
    cosine = [fitted.over([a]).similarities(b)[0] for a, b, _ in rows]
    return 100 * float(spearmanr(cosine, [score for _, _, score in rows]).statistic)


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
    scores = {"dense": dense, "tfidf": tfidf, "fused": weight * dense + (1 - weight) * tfidf}
    return {
        "queries": len(queries),
        "indexed": len(indexed),
        **{name: float((score.argmax(1) == right).mean()) for name, score in scores.items()},
    }


def _sts_rows(path: Path) -> list[tuple[str, str, float]]:
    if path.suffix == ".tsv":
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            return [(row["sentence1"], row["sentence2"], float(row["score"])) for row in table]
    return [(row["a"], row["b"], float(row["score"])) for row in read_jsonl(path)]


def report_lines(figures: dict[str, Any]) -> list[str]:
    """Return the figures as Korean text, a line each."""
    lines = [
        f"인코더 {figures['encoder']} · 데이터 {figures['data']} · 색인된 질문 {figures['entries']}개",
        f"시험 질문 {figures['test_wordings']}개",
        "",
        "방식     top-1   MRR",
    ]
    lines += [f"{s:<8} {f['top1']:6.1%}  {f['mrr']:.3f}" for s, f in figures["scorers"].items()]
    lines += ["", "방식     문턱    답함    답한 것 중 맞음  범위 밖 거절  처음 보는 말 거절"]
    lines += [
        f"{s:<8} {f['floor']:.3f}  {f['coverage']:6.1%}  {f['accuracy_when_answered']:14.1%}  "
        f"{f['ood_declined']:11.1%}  {f['unseen_declined']:16.1%}"
        for s, f in figures["floor"].items()
    ]
    if "follow_ups" in figures:
        f = figures["follow_ups"]
        lines += [
            "",
            f"이어지는 말 {f['items']}개: "
            f"앞말을 보면 {f['with_context']:.1%}, 안 보면 {f['without_context']:.1%}",
        ]
    if "sts" in figures:
        lines.append(f"{figures['sts']['file']} 스피어만 상관 {figures['sts']['spearman']:.1f}")
    latency = figures["latency_ms"]
    lines += ["", f"한 질문에 {latency['median']:.1f}ms (95% {latency['p95']:.1f}ms)"]
    return lines

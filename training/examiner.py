"""Measuring an encoder while and after it is trained, by the library's own evaluators."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sentence_transformers.sentence_transformer.evaluation import (
    EmbeddingSimilarityEvaluator,
    InformationRetrievalEvaluator,
    SentenceEvaluator,
)

from training.pairs import Held

MEASURE = "검색 MRR과 유사도 상관의 평균"
_DEPTH = 100  # rank below which a text counts as not found
_CUTS: dict[str, Any] = {
    "accuracy_at_k": [1],
    "mrr_at_k": [_DEPTH],
    "ndcg_at_k": [1],
    "precision_recall_at_k": [1],
    "map_at_k": [1],
    "write_csv": False,
}


class Examiner(SentenceEvaluator):
    """Measures an encoder: texts found by others (top-1 and MRR), scores of similarity (Spearman).

    ``mean`` of MRRs and correlations is what the best model is chosen by. MRR is cut at rank 100.
    """

    def __init__(self, held: Held, sts: Sequence[tuple[str, str, float]] = ()) -> None:
        super().__init__()
        self._retrievals = {
            kind: InformationRetrievalEvaluator(
                queries={query: query for query in asked.right},
                corpus={text: text for text in asked.corpus},
                relevant_docs=asked.right,
                **_CUTS,
            )
            for kind, asked in held.retrievals.items()
            if asked.right
        }
        scored = {"scores": held.scores, "sts": sts}
        self._scores = {
            name: EmbeddingSimilarityEvaluator(
                [a for a, _, _ in rows], [b for _, b, _ in rows], [s for _, _, s in rows], write_csv=False
            )
            for name, rows in scored.items()
            if len({score for _, _, score in rows}) > 1  # no correlation with what is all the same
        }

    def __bool__(self) -> bool:
        return bool(self._retrievals or self._scores)

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """Return the figures of a model: shares in 0..1, correlations in -1..1."""
        figures: dict[str, float] = {}
        main = []
        for kind, evaluator in self._retrievals.items():
            found = evaluator(model)
            figures[f"{kind}_top1"] = float(found["cosine_accuracy@1"])
            figures[f"{kind}_mrr"] = float(found["cosine_mrr@100"])
            main.append(figures[f"{kind}_mrr"])
        for name, scorer in self._scores.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns in English of what follows
                found = scorer(model)
            # It is NaN where a model finds everything equally similar: it has told nothing apart.
            figures[f"{name}_spearman"] = float(np.nan_to_num(found["spearman_cosine"]))
            main.append(figures[f"{name}_spearman"])
        return {**figures, "mean": float(np.mean(main))} if main else {}

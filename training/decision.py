"""Fitting how the hybrid backend weighs its candidates, on graded replies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from chatbot.backends.hybrid import KINDS, Decision, HybridBackend, Kind
from chatbot.backends.retrieval import Found
from chatbot.dialogue import Conversation
from chatbot.models.reranker import context_text
from training.rankings import Graded

CONFIDENT = 0.8  # mean grade from which retrieval is trusted outright
_LOOKED_AT = 40  # plain replies among which the graded ones are looked for
_SMOOTHING = 10.0  # strength of the prior on the weights: few replies of a kind say little


class Example(NamedTuple):
    """A graded reply as the backend sees it: its kind, ``(own, fits, strangeness)``, its grade in 0..1."""

    kind: str
    seen: tuple[float, float, float]
    grade: float


def fit_decision(backend: HybridBackend, rated: Sequence[Graded]) -> tuple[Decision, dict[Kind, int]]:
    """Return how to weigh candidates, and on how many replies of each kind that rests.

    For each kind of candidate a logistic regression on the grades: a grade of 0.7 is seven successes in ten.
    The limit of confidence is the search score from which the best answer found has a mean grade of
    ``CONFIDENT``.
    """
    from sklearn.linear_model import LogisticRegression

    conversations = [Conversation(turns=list(g.turns)) for g in rated]
    found = backend.retrieval.search(conversations)
    examples = list(_examples(backend, conversations, found, rated))
    weights = dict(Decision().weights)
    for kind in KINDS:
        own = [e for e in examples if e.kind == kind]
        if not 0 < sum(e.grade for e in own) < len(own):
            continue  # nothing to tell good from bad by
        seen = np.array([e.seen for e in own])
        grades = np.array([e.grade for e in own])
        model = LogisticRegression(C=_SMOOTHING).fit(
            np.concatenate([seen, seen]),
            np.repeat([1, 0], len(own)),
            sample_weight=np.concatenate([grades, 1 - grades]),
        )
        weights[kind] = [float(model.intercept_[0]), *map(float, model.coef_[0])]
    counts = {kind: sum(e.kind == kind for e in examples) for kind in KINDS}
    floor = backend.retrieval.index.calibration.floor("fused")
    return Decision(weights, _confident(backend, found, rated), floor), counts


def _examples(
    backend: HybridBackend,
    conversations: Sequence[Conversation],
    found: Sequence[Found],
    rated: Sequence[Graded],
) -> Iterator[Example]:
    """Yield the graded replies that the backend could have said, with what it would have known of them."""
    plain = backend.plain(found, _LOOKED_AT)
    for conversation, one, replies, g in zip(conversations, found, plain, rated, strict=True):
        own: dict[tuple[str, str], float] = {}
        for score, entry in one.ranked:
            for text in entry.answers.in_style(one.style):
                own.setdefault(("retrieved", text), score)
        own |= {("plain", p.text): p.own for p in replies}
        own |= {("written", r.text): r.own for r in g.replies if r.own is not None}
        own |= {("open", r.text): 0.0 for r in g.replies if r.kind == "open"}
        own |= {("admission", r.text): one.score for r in g.replies if r.kind == "admission"}
        known = [(r, own[r.kind, r.text]) for r in g.replies if (r.kind, r.text) in own]
        nearest = one.ranked[0][1].answers.in_style(one.style)
        fits = backend.reranker.score(
            [context_text(conversation.turns)] * len(known), [r.text for r, _ in known]
        )
        for (reply, score), fit in zip(known, fits, strict=True):
            kind = "nearest" if reply.kind == "retrieved" and reply.text in nearest else reply.kind
            yield Example(kind, (score, float(fit), one.query.strangeness), reply.grade)


def _confident(backend: HybridBackend, found: Sequence[Found], rated: Sequence[Graded]) -> float:
    """Return the lowest search score from which on what retrieval says has a good grade on average."""
    best = []
    for one, g in zip(found, rated, strict=True):
        score, entry = backend.retrieval.says(one)
        said = entry.answers.in_style(one.style)
        best += [(score, reply.grade) for reply in g.replies if reply.text in said]
    best.sort(reverse=True)
    means = np.cumsum([grade for _, grade in best]) / np.arange(1, len(best) + 1)
    trusted = [score for (score, _), mean in zip(best, means, strict=True) if mean >= CONFIDENT]
    return float(trusted[-1]) if trusted else Decision().confident

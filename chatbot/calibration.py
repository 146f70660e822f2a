"""Calibration of a search index: what each of its measures counts, and when the best match is no match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from chatbot.knowledge import Entry, Knowledge, follow_ups, labelled_lines

if TYPE_CHECKING:
    from chatbot.index import Index, Similarities

Scorer = Literal["fused", "dense", "tfidf"]
SCORERS: tuple[Scorer, ...] = get_args(Scorer)
Scores = npt.NDArray[np.float32]

# Weights to try: dense against TF-IDF, all wordings against the nearest, the turn before against the words.
_DENSE_GRID = np.linspace(0.2, 0.8, 13)
_SET_GRID = np.linspace(0.0, 0.8, 9)
_CONTEXT_GRID = np.linspace(0.0, 1.5, 16)
_PIVOT_GRID = np.linspace(0.0, 0.9, 10)
_UNKNOWN_GRID = np.linspace(0.0, 0.5, 11)
_ENOUGH = 1000  # lines to fit on: more only take time
_KEPT_OUT = 0.95  # of lines that are not of a personal dataset: the shipped set knows them better


@dataclass(frozen=True)
class Calibration:
    """What was fitted on development data.

    ``dense_weight`` is the share of the dense score in the fused one, ``set_weight`` that of all wordings
    with the same answers in the score of each. An entry with a context gains ``context_weight *
    (similarity of contexts - context_pivot)``. An entry loses ``unknown_weight`` times how much stranger the
    utterance is than its question. ``floors`` holds, for each scorer, the score under which the bot says it
    does not know.
    """

    dense_weight: float = 0.5
    set_weight: float = 0.0
    context_weight: float = 0.5
    context_pivot: float = 0.5
    unknown_weight: float = 0.0
    floors: Mapping[str, float] | None = None

    def floor(self, scorer: Scorer) -> float:
        """Return the floor of a scorer; 0 where nothing could be fitted."""
        return (self.floors or {}).get(scorer, 0.0)

    def share(self, scorer: Scorer) -> float:
        """Return the share of the dense cosine in a scorer's."""
        return {"fused": self.dense_weight, "dense": 1.0, "tfidf": 0.0}[scorer]


def calibrate(index: Index, knowledge: Knowledge) -> Calibration:
    """Fit the weights and the floors on development data.

    In-domain lines are the dev wordings or, where the data has none, what is held back and each question
    of an answer with several wordings, its own row left out. Out-of-domain lines are ours, whatever the data.
    """
    own: list[tuple[str, str, Sequence[int]]] = [
        (text, source, ()) for text, source in knowledge.held_out("dev")
    ]
    own = own or held_back(knowledge) or leave_one_out(index.entries)
    own = own[:: max(1, len(own) // _ENOUGH)]
    found = [(index.compare(text, left_out=left_out), source) for text, source, left_out in own]
    weights = _fit_weights(index, found)
    # Where another index answers what this one leaves, no line of ours is known to it.
    personal = knowledge.speaker is not None
    strange_lines = [text for text, label in labelled_lines("unseen", "dev") if personal or label == "ood"]
    strangers = [index.compare(text) for text in strange_lines]
    weighted = replace(weights, unknown_weight=_fit_unknown(index, weights, found, strangers))
    if index.context.shape[0]:
        weighted = _fit_context(index, weighted, [(text, source) for text, source, _ in own])
    floors: dict[str, float] = {
        scorer: _fit_floor(
            *_top_scores(index, scorer, weighted, found, strangers), _KEPT_OUT if personal else 0.0
        )
        for scorer in SCORERS
    }
    return replace(weighted, floors=floors)


def held_back(knowledge: Knowledge) -> list[tuple[str, str, Sequence[int]]]:
    """Return ``(question, source, its row)`` of what is held back, to be sought without its own row."""
    rows = knowledge.held_back
    return [(knowledge.entries[i].question, knowledge.entries[i].answers.source, (i,)) for i in rows]


def leave_one_out(entries: Sequence[Entry], limit: int = 500) -> list[tuple[str, str, Sequence[int]]]:
    """Return up to ``limit`` ``(question, source, its row)`` of answers that have several wordings.

    Searching for such a question with its own row left out should find another of the same answer.
    """
    by_source: dict[str, int] = {}
    for entry in entries:
        by_source[entry.answers.source] = by_source.get(entry.answers.source, 0) + 1
    several = [i for i, e in enumerate(entries) if by_source[e.answers.source] > 1 and not e.context]
    step = max(1, len(several) // limit)
    return [(entries[i].question, entries[i].answers.source, (i,)) for i in several[::step]]


def _fit_weights(index: Index, found: list[tuple[Similarities, str]]) -> Calibration:
    """Choose how much the sets and the dense score count, one after the other."""
    fitted = Calibration()
    if not found:
        return fitted

    def best(grid: npt.NDArray[np.float64], tried: Sequence[Calibration]) -> float:
        hits = [sum(index.best(f, "fused", t)[1] == source for f, source in found) for t in tried]
        # The middle of the best stretch: a single lucky grid point would not carry over.
        good = grid[np.array(hits) >= max(hits) - 1]
        return 0.0 if 0.0 in good else round(float(np.mean(good)), 3)

    for _ in range(2):
        if index.sets.sizes.max() > 1:
            sets = best(_SET_GRID, [replace(fitted, set_weight=float(w)) for w in _SET_GRID])
            fitted = replace(fitted, set_weight=sets)
        dense = best(_DENSE_GRID, [replace(fitted, dense_weight=float(w)) for w in _DENSE_GRID])
        fitted = replace(fitted, dense_weight=dense)
    return fitted


def _fit_context(index: Index, fitted: Calibration, own: list[tuple[str, str]]) -> Calibration:
    """Choose how much the turn before counts.

    Two-turn items must find their reply, and questions that stand alone must still find theirs in
    the middle of some other talk.
    """
    items = [(f.question, f.context, f.target) for f in follow_ups("dev")]
    sources = {e.answers.source for e in index.entries}
    items = [item for item in items if item[2] in sources]
    contexts = [e.context for e in index.entries if e.context]
    alone = [
        (text, contexts[i * 7919 % len(contexts)], source)
        for i, (text, source) in enumerate(own[:: max(1, len(own) // max(1, 3 * len(items)))])
    ]
    if not items:
        return fitted
    followed, apart = ([_Rivals.of(index, fitted, *line) for line in lines] for lines in (items, alone))
    best = (-1.0, fitted)
    for weight in _CONTEXT_GRID:
        for pivot in _PIVOT_GRID:
            tried = replace(
                fitted, context_weight=round(float(weight), 3), context_pivot=round(float(pivot), 3)
            )
            together = sum(
                sum(rivals.right(tried) for rivals in lines) / max(len(lines), 1)
                for lines in (followed, apart)
            )
            if together > best[0]:
                best = (together, tried)
    return best[1]


@dataclass(frozen=True)
class _Rivals:
    """What may answer a line: the best entry that stands alone, and all that have a context.

    ``alone`` is that entry's score and whether it is right; ``own``, ``before`` and ``wanted`` are the scores
    of the others for the line itself, those for what was said before it, and whether they are right.
    """

    alone: tuple[float, bool]
    own: Scores
    before: Scores
    wanted: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, index: Index, fitted: Calibration, text: str, before: str, source: str) -> _Rivals:
        """Look up a line and what was said before it; ``source`` has the right answer."""
        found = index.compare(text, before)
        own = index.own_scores(found, "fused", fitted)
        rows = np.flatnonzero(index.has_context)
        top = int(np.where(index.has_context, -np.inf, own).argmax())
        wanted = np.array([index.entries[int(i)].answers.source == source for i in rows], dtype=np.bool_)
        alone = (float(own[top]), index.entries[top].answers.source == source)
        return cls(alone, own[rows], found.before(fitted.share("fused"))[rows], wanted)

    def right(self, fitted: Calibration) -> bool:
        """Tell whether the right one wins."""
        scores = self.own + fitted.context_weight * (self.before - fitted.context_pivot)
        top = int(scores.argmax())
        score, right = self.alone
        return bool(self.wanted[top]) if scores[top] > score else right


def _fit_unknown(
    index: Index,
    fitted: Calibration,
    found: list[tuple[Similarities, str]],
    strangers: list[Similarities],
) -> float:
    """Return how much strangeness should count to part known lines from strange ones best."""
    if not found:
        return 0.0
    best = (-1.0, 0.0)
    for weight in _UNKNOWN_GRID:
        tried = replace(fitted, unknown_weight=round(float(weight), 3))
        known, strange = _top_scores(index, "fused", tried, found, strangers)
        quality = _parted(known, strange, _fit_floor(known, strange))
        best = max(best, (quality, -tried.unknown_weight))  # of equals the smallest
    return -best[1]


def _top_scores(
    index: Index,
    scorer: Scorer,
    fitted: Calibration,
    found: list[tuple[Similarities, str]],
    strangers: list[Similarities],
) -> tuple[Scores, Scores]:
    """Return the best score of every known line and of every strange one."""
    known = [index.best(f, scorer, fitted)[0] for f, _ in found]
    return np.array(known), np.array([index.best(f, scorer, fitted)[0] for f in strangers])


def _fit_floor(known: Scores, strange: Scores, kept_out: float = 0.0) -> float:
    """Return the score at which known lines pass as often as strange ones are kept out.

    At least the share ``kept_out`` of the strange ones is, whatever it costs.
    """
    if not len(known):  # no answer has two wordings: only the most familiar of the strange lines may pass
        return round(float(np.quantile(strange, 0.95)), 4)
    tries = np.unique(np.concatenate([known, strange]))
    quality = [_parted(known, strange, t) for t in tries]
    best = float(tries[int(np.argmax(quality))])
    return round(max(best, float(np.quantile(strange, kept_out)) if kept_out else best), 4)


def _parted(known: Scores, strange: Scores, floor: float) -> float:
    """Return the smaller of the shares that pass and that are kept out as they should."""
    return min(float((known >= floor).mean()), float((strange < floor).mean()))

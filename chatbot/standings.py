"""Who answers best, from votes: counts, Bradley-Terry strengths and their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from chatbot.comparison import Outcome, Vote
from chatbot.questions import asks
from chatbot.style import speech_level

SHORT = 20  # characters that a short input has at most
RESAMPLES = 2000
_POINTS = 400 / math.log(10)  # Elo's scale: 400 points are odds of ten to one
_OUTCOMES: tuple[Outcome, ...] = ("left", "right", "both_good", "both_bad")
_TURNED = [1, 0, 2, 3]  # the same outcomes with the sides changed
_SCORES = np.array([1.0, 0.0, 0.5, 0.5])  # what the left side gets for each
_INTERVAL = (2.5, 97.5)  # percentiles
_PRIOR = 1.0  # drawn games of everybody against somebody average


@dataclass(frozen=True)
class Estimate:
    """A figure and the ends of its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Standing:
    """How one contender fared.

    ``strength`` is in Elo points around the average of its group; strengths compare within one ``group``
    only, the contenders that votes connect (numbered from 0).
    """

    label: str
    wins: int
    losses: int
    both_good: int
    both_bad: int
    strength: Estimate
    group: int


@dataclass(frozen=True)
class Pairing:
    """How one contender fared against another; ``net`` is (wins - losses) / votes."""

    label: str
    against: str
    wins: int
    losses: int
    both_good: int
    both_bad: int
    net: Estimate


@dataclass(frozen=True)
class Standings:
    """What votes say: the contenders, the strongest first, and every pair that met."""

    votes: int
    contenders: tuple[Standing, ...]
    pairs: tuple[Pairing, ...]


def standings(votes: Sequence[Vote], *, resamples: int = RESAMPLES, seed: int = 0) -> Standings:
    """Return who is how strong.

    Strengths follow Bradley and Terry (1952, Rank analysis of incomplete block designs I): that ``i`` is
    preferred to ``j`` has odds of ``exp(strength i - strength j)``. A tie is half a win for each, as in the
    Elo system and in Chatbot Arena (Chiang et al. 2024); a strength is then about the expected score, ties
    included, and many ties bring strengths together. So that one who never lost gets a finite strength,
    everybody also drew once with somebody average. A hundred points more is 64 % of the score.

    Intervals are percentiles of a bootstrap that draws votes with replacement (Efron and Tibshirani 1993).
    Votes count as independent of each other. What never happened in the votes happens in no resample: the
    interval of one who always won is too narrow.

    Args:
        votes: in any order; the result does not depend on it.
        resamples: how many times the votes are drawn.
        seed: makes the intervals repeatable.
    """
    labels = sorted({label for vote in votes for label in (vote.left, vote.right)})
    if not labels:
        return Standings(0, (), ())
    counts = np.zeros((len(labels), len(labels), len(_OUTCOMES)), dtype=np.int64)
    for vote in votes:
        counts[labels.index(vote.left), labels.index(vote.right), _OUTCOMES.index(vote.outcome)] += 1
    # As one draws votes with replacement, so one draws how often each kind of vote comes.
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(votes), counts.ravel() / len(votes), size=resamples)
    samples = np.concatenate([counts[None], drawn.reshape(resamples, *counts.shape)])
    fared = samples + samples.swapaxes(1, 2)[..., _TURNED]  # the row's label seen as standing left
    met = fared[0].any(-1)
    groups = connected_components(met, directed=False)[1]
    strengths = _POINTS * _strengths(fared @ _SCORES, groups)
    order = sorted(range(len(labels)), key=lambda i: (groups[i], -round(strengths[0, i], 6), labels[i]))
    return Standings(
        len(votes),
        tuple(
            Standing(labels[i], *_four(fared[0, i].sum(0)), _estimate(strengths[:, i]), int(groups[i]))
            for i in order
        ),
        tuple(
            Pairing(labels[i], labels[j], *_four(fared[0, i, j]), _estimate(_net(fared[:, i, j])))
            for i, j in combinations(order, 2)
            if met[i, j]
        ),
    )


def splits(votes: Sequence[Vote]) -> dict[str, list[Vote]]:
    """Return votes by what was said: ``all``, and three ways to divide them.

    ``short`` or ``long`` (more than :data:`SHORT` characters, all turns together); ``question`` or
    ``statement``; ``polite`` or ``casual``, without those that show no speech level.
    """
    found: dict[str, list[Vote]] = {
        name: [] for name in ("all", "short", "long", "question", "statement", "polite", "casual")
    }
    for vote in votes:
        level = speech_level(vote.text)
        found["all"].append(vote)
        found["short" if len(vote.text) <= SHORT else "long"].append(vote)
        found["question" if asks(vote.text) else "statement"].append(vote)
        if level:
            found[level].append(vote)
    return found


def standings_by_split(votes: Sequence[Vote]) -> Mapping[str, Standings]:
    """Return the standings of all votes (``all``) and of each of the :func:`splits`."""
    return {name: standings(part) for name, part in splits(votes).items()}


def _strengths(wins: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return ``(resamples, labels)``: logarithms of Bradley-Terry strengths, around 0 in each group.

    The maximum of the likelihood by Newton's method, in all resamples at once.
    """
    games = wins + wins.swapaxes(1, 2)
    found = np.zeros(wins.shape[:2])
    for _ in range(100):
        ahead = expit(found[:, :, None] - found[:, None, :])
        average = expit(found)
        slope = (wins - games * ahead).sum(-1) + _PRIOR * (0.5 - average)
        weight = games * ahead * (1 - ahead)
        bend = weight.sum(-1) + _PRIOR * average * (1 - average)
        curve = np.eye(wins.shape[1]) * bend[..., None] - weight
        step = np.linalg.solve(curve, slope[..., None])[..., 0]
        found += np.clip(step, -1, 1)
        if np.abs(step).max(initial=0) < 1e-9:
            break
    for group in set(groups):
        found[:, groups == group] -= found[:, groups == group].mean(-1, keepdims=True)
    return found


def _four(row: np.ndarray) -> tuple[int, int, int, int]:
    """Return wins, losses, ties of two good answers and of two bad ones."""
    wins, losses, both_good, both_bad = (int(count) for count in row)
    return wins, losses, both_good, both_bad


def _net(rows: np.ndarray) -> np.ndarray:
    """Return (wins - losses) / votes of each resample; NaN where it has no vote on this pair."""
    votes = rows.sum(-1)
    return np.where(votes > 0, (rows[:, 0] - rows[:, 1]) / np.maximum(votes, 1), np.nan)


def _estimate(values: np.ndarray) -> Estimate:
    """Return the first value, which is that of the votes themselves, and the interval of the others."""
    low, high = np.nanpercentile(values[1:], _INTERVAL)
    return Estimate(float(values[0]), float(low), float(high))

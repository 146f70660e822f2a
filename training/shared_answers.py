"""Fewer replies for a small model to remember: situations much alike share those of one of them.

A GPT of a few million weights knows what was said long before it knows what to say to it: it cannot remember
a reply of its own for each of fifteen thousand intents and situations. Taught the replies of the most typical
ones alone it meets each of them more often, and in more words.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from chatbot.knowledge import Answers, Entry
from chatbot.models.encoder import Encoder, Vectors
from training.sets import sets_of

_ROWS = 2048  # sets compared with all others at a time


def shared_answers(
    groups: Sequence[Sequence[Entry]],
    encoder: Encoder,
    likeness: float,
    fewest: int = 1,
    known: Collection[str] = (),
) -> dict[str, str]:
    """Return whose answers every set of wordings is taught with, by the sources of both.

    The leader algorithm (Hartigan 1975, chapter 3), those with most others near them first: one that no
    leader is near becomes a leader itself. In the end each goes to the leader that is nearest.

    Args:
        groups: entries; those with the same answers are one set. Leaders are sought in an earlier group
            before a later one.
        encoder: its mean embedding of the wordings is where a set lies.
        likeness: cosine of two means from which one set may be taught with the answers of the other.
        fewest: wordings that a set must have to lead or to be led; smaller ones are left out.
        known: sources that lead before all others, such as those whose answers a model knows already.
    """
    entries = [entry for group in groups for entry in group]
    rank = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    sets = sets_of(entries, encoder)
    large = np.flatnonzero(sets.sizes >= fewest)
    sources, means = sets.sources[large], sets.means[large]
    ranks = np.where(np.isin(sources, list(known)), -1, rank[sets.first[large]])
    leaders = _leaders(means, ranks, likeness)
    found: dict[str, str] = {}
    for at in range(0, len(means), _ROWS):
        nearest = (means[at : at + _ROWS] @ means[leaders].T).argmax(axis=1)
        led = sources[at : at + _ROWS]
        found |= dict(zip(led.tolist(), sources[leaders[nearest]].tolist(), strict=True))
    return found


def _leaders(means: Vectors, rank: npt.NDArray[np.intp], likeness: float) -> npt.NDArray[np.intp]:
    """Return the rows of ``means`` that lead, every other one near one of them."""
    near = np.empty((len(means), len(means)), dtype=bool)
    for at in range(0, len(means), _ROWS):
        near[at : at + _ROWS] = means[at : at + _ROWS] @ means.T >= likeness
    led = np.zeros(len(means), dtype=bool)
    leaders = []
    for row in np.lexsort((-near.sum(axis=1), rank)):
        if not led[row]:
            leaders.append(row)
            led |= near[row]
    return np.array(leaders, dtype=np.intp)


def answers_of(sources: Mapping[str, str], entries: Sequence[Entry]) -> dict[str, Answers]:
    """Return the answers themselves that each source is taught with, ``sources`` being as found before."""
    known = {entry.answers.source: entry.answers for entry in entries}
    return {source: known[leader] for source, leader in sources.items() if leader in known}

"""What a reranker is taught with: what follows what, and graded replies."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from chatbot.dialogue import Turn
from chatbot.knowledge import DataError, read_rows
from chatbot.models.reranker import context_text
from chatbot.resources import data_dir
from chatbot.text import normalise
from training.dialogues import corpora_conversations, listening, own_conversations
from training.noise import noisy

BEST = 3  # the highest grade
GRADES = Path("ratings") / "replies.jsonl"
_NOISE = 0.3  # share of contexts with typing noise


class GradedReply(NamedTuple):
    """A reply and its grade in 0..1.

    ``kind`` is where it came from, as :data:`chatbot.backends.hybrid.Kind` has it; ``own`` is GPT's
    confidence in what it has written, where that was kept.
    """

    kind: str
    text: str
    grade: float
    own: float | None = None


class Graded(NamedTuple):
    """A conversation up to a user's turn, and graded replies to it."""

    turns: list[Turn]
    replies: list[GradedReply]


def graded(half: str) -> list[Graded]:
    """Return our graded replies of one half, ``"train"`` or ``"dev"``.

    Raises:
        DataError: a line is in another form.
    """
    path = data_dir() / GRADES
    found = []
    for line, row in read_rows(path):
        try:
            if row["half"] == half:
                turns = [
                    Turn("assistant" if number % 2 else "user", normalise(text))
                    for number, text in enumerate(row["said"])
                ]
                replies = [
                    GradedReply(r["kind"], normalise(r["content"]), r["grade"] / BEST, r.get("own"))
                    for r in row["replies"]
                ]
                found.append(Graded(turns, replies))
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{path} {line}번째 줄: 점수를 매긴 대답이 아니에요({error}). 줄을 고쳐 주세요."
            ) from error
    return found


def following(corpora: Path, seed: int) -> list[tuple[str, str]]:
    """Return, shuffled, ``(context, reply)`` of the words that ship and of the corpora's everyday talk."""
    rng = random.Random(seed)
    talks = [
        *(c.turns for c in own_conversations(seed)),
        *(c.turns for c in listening(seed)),
        *(c.turns for c in corpora_conversations(corpora)),
    ]
    pairs = list(dict.fromkeys(pair for turns in talks for pair in _pairs(turns, rng)))
    rng.shuffle(pairs)
    return pairs


def _pairs(turns: Sequence[Turn], rng: random.Random) -> Iterator[tuple[str, str]]:
    for place, turn in enumerate(turns):
        if turn.role == "assistant" and place and turns[place - 1].role == "user":
            before = context_text(turns[:place])
            yield noisy(before, rng) if rng.random() < _NOISE else before, turn.text


def next_turns(
    dialogues: Sequence[Sequence[Turn]], candidates: int, seed: int
) -> list[tuple[Sequence[Turn], list[str]]]:
    """Return every context with ``candidates`` replies: the true one first, then some of other dialogues."""
    rng = random.Random(seed)
    said = [
        (number, turn.text)
        for number, turns in enumerate(dialogues)
        for turn in turns
        if turn.role == "assistant"
    ]
    items: list[tuple[Sequence[Turn], list[str]]] = []
    for number, turns in enumerate(dialogues):
        elsewhere = [text for other, text in said if other != number]
        for place, turn in enumerate(turns):
            if turn.role == "assistant" and place and turns[place - 1].role == "user":
                items.append((turns[:place], [turn.text, *rng.sample(elsewhere, candidates - 1)]))
    return items


def picked(
    items: Sequence[tuple[Sequence[Turn], list[str]]],
    score: Callable[[list[str], list[str]], np.ndarray],
    text: Callable[[Sequence[Turn]], str] = context_text,
) -> float:
    """Return how often ``score(contexts, replies)`` is highest for the first reply, in 0..1."""
    contexts = [text(before) for before, replies in items for _ in replies]
    scores = score(contexts, [reply for _, replies in items for reply in replies])
    right, start = 0, 0
    for _, replies in items:
        right += int(np.argmax(scores[start : start + len(replies)])) == 0
        start += len(replies)
    return right / len(items)

"""Comparing answerers: who takes part, what each said to the same words, and who was preferred."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from chatbot.dialogue import Conversation, Reply

Outcome = Literal["left", "right", "both_good", "both_bad"]


@dataclass(frozen=True)
class Contender:
    """Who takes part in a comparison: a backend with one of its models.

    ``label`` is unique and what a person wrote: ``gpt`` or ``gpt:NAME``; ``model`` is that name.
    """

    label: str
    backend: str
    model: str | None = None


@dataclass(frozen=True)
class Round:
    """One utterance and what every contender answered to it, by label.

    ``before`` is each contender's own conversation up to the utterance; ``reference`` is what a person
    answered, where the prompts say so. ``dialogue`` and ``turn`` count from 0.
    """

    question: str
    replies: Mapping[str, Reply]
    before: Mapping[str, Conversation]
    reference: str | None = None
    dialogue: int = 0
    turn: int = 0


@dataclass(frozen=True)
class Vote:
    """A judgement of two answers to one input: what was said, who stood where, which was better.

    ``text`` is the user's words, those of several turns one a line.
    """

    text: str
    left: str
    right: str
    outcome: Outcome

"""Conversations to fine-tune a GPT on: our intents and dialogues, a person's own data, open corpora."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from chatbot.dialogue import Turn
from chatbot.knowledge import Knowledge, load_dialogues, load_knowledge
from chatbot.resources import data_dir
from chatbot.style import Style
from training.corpora import read_jsonl
from training.noise import noisy

_STYLES: tuple[Style, Style] = ("polite", "casual")
# What of the corpora's chat/ is everyday talk; the rest is manuals, songs and evaluation sets.
_CORPORA = ("chatbotdata_train", "xpersona_ko_valid", "xpersona_ko_test")
_NOISE = 0.3  # share of questions with typing noise
_CHAINED = 0.3  # share of pairs that follow upon another, as in a talk that changes its subject
_DIALOGUE_WEIGHT = 2  # times a whole dialogue comes for once that a pair does


class Conversation(NamedTuple):
    """Turns to train on.

    ``style`` is the speech level of all replies, ``None``: as each shows it. ``speaker`` is who replies,
    ``None``: the bot itself.
    """

    turns: list[Turn]
    style: Style | None
    speaker: str | None = None


def own_conversations(data: str | Path | None, seed: int) -> Iterator[Conversation]:
    """Yield one epoch of our data (``None``) or a person's: pairs in every speech level, dialogues.

    Another seed draws other answers, other noise and other neighbours.
    """
    rng = random.Random(seed)
    pairs = list(_pairs(load_knowledge(data), rng))
    rng.shuffle(pairs)
    before: dict[Style | None, Conversation] = {}
    for pair in pairs:
        earlier = before.get(pair.style)
        chained = earlier is not None and rng.random() < _CHAINED
        yield Conversation([*earlier.turns, *pair.turns], pair.style) if earlier and chained else pair
        before[pair.style] = pair
    dialogues = load_dialogues(data)
    if data is None:  # other people's manners, kept apart from what the bot itself may say
        dialogues += load_dialogues(data_dir() / "dialogues" / "personas")
    for turns, style in dialogues:
        speaker = next((turn.name for turn in turns if turn.role == "assistant"), None)
        for _ in range(_DIALOGUE_WEIGHT):
            yield Conversation(turns, style, speaker)


def _pairs(knowledge: Knowledge, rng: random.Random) -> Iterator[Conversation]:
    for entry in knowledge.entries:
        if entry.context:
            continue
        for style in _STYLES:
            if entry.answers.has_style(style):
                question = noisy(entry.question, rng) if rng.random() < _NOISE else entry.question
                answer = rng.choice(entry.answers.in_style(style))
                yield Conversation([Turn("user", question), Turn("assistant", answer)], style)


def corpora_conversations(corpora: Path) -> Iterator[Conversation]:
    """Yield the everyday conversations of the corpora, replies in the speech level they show."""
    for name in _CORPORA:
        for row in read_jsonl(corpora / "chat" / f"{name}.jsonl.gz"):
            if "q" in row:
                yield Conversation([Turn("user", row["q"]), Turn("assistant", row["a"])], None)
            else:
                turns = [
                    Turn("user" if turn["role"] == "user" else "assistant", turn["text"])
                    for turn in row["turns"]
                ]
                yield Conversation(turns, None)

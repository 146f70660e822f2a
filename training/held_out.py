"""What a generator is measured on: dialogues it was not trained on, and the true replies in them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from chatbot import dialogue
from chatbot.dialogue import Turn
from chatbot.knowledge import held_out_dialogues, load_dialogues, load_knowledge, personal_dataset
from chatbot.style import Style, reply_style
from training.dialogues import Conversation, load_splits

_MOST_REPLIES = 1000  # of big data


class TrueReply(NamedTuple):
    """What was really answered: in which dialogue, to which turns, and by whom (``None``: the bot)."""

    dialogue: int
    before: list[Turn]
    text: str
    speaker: str | None = None

    @property
    def style(self) -> Style:
        """The speech level that is asked for while talking: the user's."""
        return reply_style(dialogue.Conversation(turns=self.before))


def true_replies(conversations: Sequence[Conversation]) -> list[TrueReply]:
    """Return every reply that something was said before."""
    return [
        TrueReply(number, list(conversation.turns[:place]), turn.text, conversation.speaker)
        for number, conversation in enumerate(conversations)
        for place, turn in enumerate(conversation.turns)
        if place and turn.role == "assistant"
    ]


def held_out(data: str | None, personas: Sequence[str]) -> list[Conversation]:
    """Return conversations to measure on, with about 1000 replies at most.

    Those of a file, of the last part in time of an imported dataset, or our own. Each names the speaker
    to ask the model for, who is one of ``personas``, those that it knows; of a dataset's speakers these
    are taken, or the one chosen to be imitated.

    Raises:
        DataError: no such data, or a line that is not in a known form.
    """
    usual = next(iter(personas), None)
    if data is None:
        return [Conversation(turns, None, usual) for turns in held_out_dialogues("test")]
    if personal_dataset(data) is None:
        found = [Conversation(turns, None, usual) for turns in _written(data)]
    else:
        splits = load_splits([data])
        known = [name for name in splits.personas if name in personas]
        theirs = [c for c in splits.test if c.speaker in (known or splits.personas[:1])]
        found = theirs if known else [c._replace(speaker=usual) for c in theirs]
    random.Random(0).shuffle(found)
    so_far = accumulate(sum(turn.role == "assistant" for turn in c.turns) for c in found)
    return [c for c, replies in zip(found, so_far, strict=True) if replies <= _MOST_REPLIES] or found[:1]


def _written(data: str) -> list[list[Turn]]:
    """Return the dialogues of a file or, where it has none, its pairs."""
    return [turns for turns, _ in load_dialogues(data)] or [
        [Turn("user", entry.question), Turn("assistant", answer)]
        for entry in load_knowledge(data).entries
        for answer in dict.fromkeys(entry.answers.polite + entry.answers.casual)
    ]

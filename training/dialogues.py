"""Conversations to fine-tune a GPT on: our intents and dialogues, a person's own data, open corpora."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from chatbot import dialogue
from chatbot.chatlogs.conversations import split_at
from chatbot.dialogue import Turn
from chatbot.index import Index, open_index
from chatbot.knowledge import (
    Answers,
    DataError,
    Entry,
    Knowledge,
    held_out_dialogues,
    listening_dir,
    load_dialogues,
    load_knowledge,
    load_listening,
    personal_dataset,
)
from chatbot.models.encoder import load_encoder
from chatbot.models.format import Exchange
from chatbot.privacy import mask
from chatbot.resources import data_dir
from chatbot.style import Style, reply_style
from chatbot.text import normalise, same_words
from training.corpora import CHAT, read_jsonl
from training.noise import noisy

STYLES: tuple[Style, Style] = ("polite", "casual")
_NOISE = 0.3  # share of questions with typing noise
_CHAINED = 0.3  # share of pairs that follow upon another, as in a talk that changes its subject
_DIALOGUE_WEIGHT = 2  # times a whole dialogue comes for once that a pair does
_SHOTS = (0, 0, 1, 1, 2, 3)  # how many examples stand before a pair, drawn from these
_SAME_INTENT = 0.3  # share of pairs whose own intent may be among the examples: those need only be repeated
_NEAREST = 40  # questions looked at for examples
_SOUGHT_TOGETHER = 512  # conversations whose examples are sought at a time


class Conversation(NamedTuple):
    """Turns to train on.

    ``style`` is the speech level of all replies, ``None``: as each shows it. ``speaker`` is who replies,
    ``None``: the bot itself. ``examples`` are shown before and not learnt. ``about`` is what was said last,
    as our data has it, before any slips of typing. Of the last reply ``opening`` tokens are read, or all.
    """

    turns: list[Turn]
    style: Style | None
    speaker: str | None = None
    examples: tuple[Exchange, ...] = ()
    about: str | None = None
    opening: int | None = None


@dataclass(frozen=True)
class Taught:
    """What is taught of the answers that ship.

    ``answers`` is how many of an intent or situation, the first ones, ``None``: all. ``shared`` holds the
    answers of another in place of its own, by its source. One in ``every`` intent and situation is taught.
    """

    answers: int | None = None
    shared: Mapping[str, Answers] = field(default_factory=dict)
    every: int = 1

    def of(self, own: Answers, style: Style) -> list[str]:
        """Return the replies that are taught in a speech level; none where there is none in it."""
        shared = self.shared.get(own.source, own)
        replies = shared if shared.has_style(style) else own
        return list(replies.in_style(style)[: self.answers]) if replies.has_style(style) else []


_EVERYTHING = Taught()


class Splits(NamedTuple):
    """A person's conversations, apart by time: to train on, to steer by, to measure with."""

    train: list[Conversation]
    valid: list[Conversation]
    test: list[Conversation]
    personas: list[str]  # who can be imitated, the chosen one first
    fingerprint: str
    own: bool = False  # the words that ship

    def epochs(self, count: int, seed: int) -> list[list[Conversation]]:
        """Return what to train on, epoch by epoch; of the words that ship, every time a new draw."""
        if self.own:
            return [list(own_conversations(seed + epoch)) for epoch in range(count)]
        return [self.train] * count


def load_splits(data: Sequence[str]) -> Splits:
    """Load imported datasets by name and files of dialogues or pairs; without any, the words that ship.

    What a file holds is masked as an imported chat is.

    A dataset comes with its split by time; of a file the last tenths stand for the future. In a room of
    more than two, everybody but the user is a persona: each conversation comes once for each of them who
    speaks in it, their turns as the replies.

    Raises:
        DataError: no such data, or nothing in it that is a reply.
    """
    if not data:
        valid, test = (
            [Conversation(turns, None) for turns in held_out_dialogues(half)] for half in ("dev", "test")
        )
        train = list(own_conversations(0))
        return Splits(train, valid, test, [], load_knowledge().fingerprint, own=True)
    parts: dict[str, list[Conversation]] = {"train": [], "valid": [], "test": []}
    chosen: list[str] = []
    digest = hashlib.sha256()
    for name in data:
        knowledge = load_knowledge(name)
        digest.update(knowledge.fingerprint.encode())
        dataset = personal_dataset(name)
        if dataset is None:
            written = [Conversation(turns, style) for turns, style in load_dialogues(name)]
            written = written or list(_pairs(knowledge, random.Random(0), noise=0.0))
            for number, conversation in enumerate(written):
                hidden = [replace(turn, text=mask(turn.text)) for turn in conversation.turns]
                parts[split_at(number / len(written))].append(conversation._replace(turns=hidden))
            continue
        chosen.append(dataset.speaker)
        for split, turns in _stored(dataset.dialogues):
            names = {turn.name for turn in turns if turn.name} - set(dataset.facts["roles"]["me"])
            for persona in sorted(names):
                said = [replace(t, role="assistant" if t.name == persona else "user") for t in turns]
                parts[split].append(Conversation(said, None, persona))
    # What the bot says of itself, unasked, is no reply.
    parts = {name: [c for c in found if _replies(c)] for name, found in parts.items()}
    if not parts["train"]:
        raise DataError(f"--data {', '.join(data)}: 배울 대답이 하나도 없어요. 데이터를 확인해 주세요.")
    learnt = Counter(c.speaker for c in parts["train"] if c.speaker)
    personas = list(
        dict.fromkeys([*(name for name in chosen if name in learnt), *dict(learnt.most_common())])
    )
    return Splits(parts["train"], parts["valid"], parts["test"], personas, digest.hexdigest()[:16])


def _replies(conversation: Conversation) -> bool:
    roles = [turn.role for turn in conversation.turns]
    return "user" in roles and "assistant" in roles[roles.index("user") :]


def _stored(path: Path) -> Iterator[tuple[str, list[Turn]]]:
    """Yield the dialogues of an imported dataset with their splits."""
    for row in read_jsonl(path):
        turns = [Turn(m["role"], normalise(m["content"]), name=m["name"]) for m in row["messages"]]
        yield row["meta"]["split"], [turn for turn in turns if turn.text]


def own_conversations(
    seed: int, wordings: int | None = None, taught: Taught = _EVERYTHING
) -> Iterator[Conversation]:
    """Yield one epoch of the words that ship: pairs in every speech level, dialogues.

    Another seed draws other answers, other noise and other neighbours, and with ``wordings`` other so many
    questions of every intent.
    """
    rng = random.Random(seed)
    pairs = list(_pairs(load_knowledge(), rng, wordings=wordings, taught=taught))
    rng.shuffle(pairs)
    before: dict[Style | None, Conversation] = {}
    for pair in pairs:
        earlier = before.get(pair.style)
        chained = earlier is not None and rng.random() < _CHAINED
        yield pair._replace(turns=[*earlier.turns, *pair.turns]) if earlier and chained else pair
        before[pair.style] = pair
    # Other people's manners are kept apart from what the bot itself may say.
    others = load_dialogues(data_dir() / "dialogues" / "personas")
    for turns, style in [*load_dialogues(), *others]:
        speaker = next((turn.name for turn in turns if turn.role == "assistant"), None)
        for _ in range(_DIALOGUE_WEIGHT):
            yield Conversation(turns, style, speaker)


def with_examples(conversations: Sequence[Conversation], index: Index, seed: int) -> list[Conversation]:
    """Return conversations with the nearest other questions of ``index`` and their answers before them.

    So a model learns what examples are for (retrieval-augmented fine-tuning, Zhang et al. 2024,
    arXiv:2403.10131). The nearest stands last. Some conversations stay as they are.
    """
    rng = random.Random(seed)
    asked = index.encoder.encode([conversation.turns[-2].text for conversation in conversations])
    shown: list[Conversation] = []
    for start in range(0, len(conversations), _SOUGHT_TOGETHER):
        scores = asked[start : start + _SOUGHT_TOGETHER] @ index.dense.T
        nearest = np.argpartition(-scores, _NEAREST, axis=1)[:, :_NEAREST]
        part = conversations[start : start + _SOUGHT_TOGETHER]
        for conversation, row, places in zip(part, scores, nearest, strict=True):
            ranked = [index.entries[int(place)] for place in places[np.argsort(-row[places])]]
            shown.append(conversation._replace(examples=tuple(_examples(conversation, ranked, rng))))
    return shown


def _examples(conversation: Conversation, ranked: Sequence[Entry], rng: random.Random) -> Iterator[Exchange]:
    """Return a few exchanges of other questions, the first of ``ranked`` last."""
    *before, said, reply = conversation.turns
    style = conversation.style or reply_style(dialogue.Conversation(turns=[*before, said]))
    asked = conversation.about  # what it is taught to reply may be another's answer
    own = {e.answers.source for e in ranked if e.question == asked or reply.text in e.answers.in_style(style)}
    # What stands in an example need only be repeated: that is not to become a habit.
    used = own if rng.random() >= _SAME_INTENT else set()
    found: list[Exchange] = []
    wanted = rng.choice(_SHOTS)
    for entry in ranked:
        fits = entry.answers.has_style(style) and entry.answers.source not in used and not entry.context
        if len(found) < wanted and fits and same_words(entry.question) != same_words(said.text):
            used = used | {entry.answers.source}
            found.append(Exchange(entry.question, rng.choice(entry.answers.in_style(style))))
    return reversed(found)


def pairs_with_examples(share: float, seed: int, taught: Taught = _EVERYTHING) -> list[Conversation]:
    """Return a share of our pairs, in every speech level, with others before them as examples.

    What examples show are an intent's own answers.
    """
    rng = random.Random(seed)
    knowledge = load_knowledge()
    pairs = list(_pairs(knowledge, rng, taught=taught))
    chosen = rng.sample(pairs, int(share * len(pairs)))
    return with_examples(chosen, open_index(knowledge, load_encoder()), seed)


def listening(
    seed: int, wordings: int | None = None, taught: Taught = _EVERYTHING, *, fewest: int = 1
) -> list[Conversation]:
    """Return what a good listener says to our lines in both speech levels, some lines with slips of typing.

    Shuffled; another seed draws other replies and, with ``wordings``, other so many lines of every situation.
    A situation of less than ``fewest`` lines is left out.
    """
    rng = random.Random(seed)
    followed = [Conversation(turns, style) for turns, style in load_dialogues(listening_dir())]
    pairs = _pairs(load_listening(), rng, wordings=wordings, taught=taught, fewest=fewest)
    told = [*pairs, *followed]
    rng.shuffle(told)
    return told


def listening_with_examples(share: float, seed: int, told: Sequence[Conversation]) -> list[Conversation]:
    """Return the first ``share`` of what :func:`listening` returned, with others before it as examples."""
    return with_examples(told[: int(share * len(told))], open_index(load_listening(), load_encoder()), seed)


def _pairs(
    knowledge: Knowledge,
    rng: random.Random,
    noise: float = _NOISE,
    wordings: int | None = None,
    taught: Taught = _EVERYTHING,
    fewest: int = 1,
) -> Iterator[Conversation]:
    by_answers: dict[str, list[Entry]] = {}
    for entry in knowledge.thinned(taught.every).entries:
        if not entry.context:
            by_answers.setdefault(entry.answers.source, []).append(entry)
    for entry in chain.from_iterable(
        rng.sample(entries, min(len(entries), wordings or len(entries)))
        for entries in by_answers.values()
        if len(entries) >= fewest
    ):
        for style in STYLES:
            if replies := taught.of(entry.answers, style):
                question = noisy(entry.question, rng) if rng.random() < noise else entry.question
                turns = [Turn("user", question), Turn("assistant", rng.choice(replies))]
                yield Conversation(turns, style, about=entry.question)


def corpora_conversations(corpora: Path) -> Iterator[Conversation]:
    """Yield the everyday conversations of the corpora, replies in the speech level they show."""
    for name in CHAT:
        for row in read_jsonl(corpora / name):
            if "q" in row:
                yield Conversation([Turn("user", row["q"]), Turn("assistant", row["a"])], None)
            else:
                turns = [
                    Turn("user" if turn["role"] == "user" else "assistant", turn["text"])
                    for turn in row["turns"]
                ]
                yield Conversation(turns, None)

"""What the GPT reads of conversations, step by step and epoch by epoch."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from chatbot import safety
from chatbot.dialogue import Turn
from chatbot.index import Index, open_index
from chatbot.knowledge import load_dialogues, load_knowledge, load_listening
from chatbot.models.encoder import load_encoder
from chatbot.models.format import MarkerFormat
from chatbot.models.ngram import shipped_classifier
from chatbot.resources import data_dir
from chatbot.stock_replies import replies_to, stock_replies
from chatbot.style import Style
from training.causal import Curriculum, token_costs
from training.corpora import pretraining_lines, read_jsonl
from training.dialogues import (
    STYLES,
    Conversation,
    Taught,
    corpora_conversations,
    listening,
    listening_with_examples,
    own_conversations,
    pairs_with_examples,
)
from training.recipes.steps import Job
from training.shared_answers import answers_of

if TYPE_CHECKING:
    from training.recipes.gpt import Recipe

SHARED = "shared-answers.json"
_REPLY, _SHOTS, _RECALL, _UNSURE = 100, 200, 300, 400  # numbers of their draws begin here
_COSTED_TOGETHER = 8192  # tokens
_SHORT_LINE, _LONG_LINE = 8, 80  # characters
_SOUGHT = 8  # lines for each that is wanted
_REQUEST = re.compile(
    r"(?:줘|줄래|달라|주세요|하세요|해라|하라|하자|말자|마라|지 마|십시오|시오|하지)[.!?~ㅋㅎㅠㅜ]*$"
)
_TOGETHER = 512  # compared at a time


def taught_answers(job: Job[Recipe]) -> Taught:
    """Return what is taught of the answers: how many, and those that are shared."""
    sources = json.loads((job.work / SHARED).read_text(encoding="utf-8"))
    entries = [*load_listening().entries, *load_knowledge().entries]
    return Taught(job.recipe.answers, answers_of(sources, entries), job.recipe.every)


def chat_epochs(job: Job[Recipe]) -> list[list[Conversation]]:
    """Return the corpora's conversations, then our own."""
    taught = taught_answers(job)
    own = [_own(job, taught, epoch) for epoch in range(job.recipe.chat_epochs)]
    return [list(islice(corpora_conversations(job.corpora), job.recipe.conversations)), *own]


def reply_epochs(job: Job[Recipe]) -> list[list[Conversation]]:
    """Return our own conversations."""
    taught = taught_answers(job)
    return _epochs(job.recipe.reply_epochs, lambda number: _own(job, taught, _REPLY + number))


def shots_epochs(job: Job[Recipe]) -> list[list[Conversation]]:
    """Return shares of our pairs and of a listener's replies with examples before them, and our dialogues."""
    recipe, taught = job.recipe, taught_answers(job)
    epochs = []
    for epoch in range(recipe.shots_epochs):
        seed = recipe.seed + _SHOTS + 10 * epoch
        own = _with_examples(job, taught, recipe.shots_pairs, recipe.shots_listening, seed)
        own += [Conversation(turns, style) for turns, style in load_dialogues()]
        epochs.append(_some(own, recipe.conversations, seed))
    return epochs


def recall_epochs(job: Job[Recipe]) -> list[list[Conversation]]:
    """Return our own conversations, most replies cut short, some with examples; the corpora's, whole."""
    return _recalled(job, job.recipe.recall_epochs, _RECALL, job.recipe.recall_cut)


def unsure_epochs(job: Job[Recipe], model: Any, form: MarkerFormat) -> list[list[Conversation]]:
    """Return more of them, whole; where the model's reply would cost it most to open, one that asks back.

    What is read in part for long is said garbled in the end. Beside them stand lines that no small talk can
    know, with replies that say so, and lines of plain text like none of ours, with some that ask back.
    """
    recipe = job.recipe
    unknown = unknown_lines(recipe.unsure_replies, recipe.seed)
    unknown += far_lines(
        _plain_lines(job), _indexes(),
        recipe.unsure_far, recipe.unsure_likeness, recipe.unsure_replies, recipe.seed,
    )  # fmt: skip
    epochs = []
    for epoch in _recalled(job, recipe.unsure_epochs, _UNSURE, cut=0):
        costs = opening_costs(model, form, epoch, recipe.recall_tokens)
        asked = asking_back(epoch, costs, recipe.unsure_share, recipe.unsure_replies, recipe.seed)
        epochs.append([*unknown, *asked])
    return epochs


def words_read(job: Job[Recipe]) -> dict[str, None]:
    """Return every line of the conversations that the model reads, each once."""
    recipe, taught = job.recipe, taught_answers(job)
    again = _epochs(recipe.recall_epochs, lambda number: _own(job, taught, _RECALL + number))
    unsure = _epochs(recipe.unsure_epochs, lambda number: _own(job, taught, _UNSURE + number))
    unknown = unknown_lines(recipe.unsure_replies, recipe.seed)
    epochs = [*chat_epochs(job), *reply_epochs(job), *again, *unsure, unknown]
    return dict.fromkeys(
        turn.text for epoch in epochs for conversation in epoch for turn in conversation.turns
    )


def opening_costs(
    model: Any, form: MarkerFormat, conversations: Sequence[Conversation], tokens: int
) -> npt.NDArray[np.float64]:
    """Return what the first ``tokens`` of each reply cost the model, in nats, ``(n,)``.

    It is 0 for all but a line that stands alone and the reply to it.
    """
    rows = [n for n, c in enumerate(conversations) if c.about and len(c.turns) == 2 and not c.examples]
    pairs = [conversations[n]._replace(opening=tokens) for n in rows]
    costs = np.zeros(len(conversations))
    course = Curriculum(form, [pairs], longest=model.config.n_positions, batch_tokens=_COSTED_TOGETHER)
    model.eval()
    with torch.no_grad():
        for step in range(len(course)):
            ids, reply = course[step]
            each = token_costs(model, ids.to(model.device), reply.to(model.device)).double().cpu().numpy()
            of = np.nonzero(reply[:, 1:].numpy())[0]
            here = np.bincount(of, weights=each, minlength=len(ids))
            costs[[rows[row] for row in course.rows(step)]] = here
    model.train()
    return costs


def asking_back(
    conversations: Sequence[Conversation],
    costs: npt.NDArray[np.float64],
    share: float,
    replies: int,
    seed: int,
) -> list[Conversation]:
    """Return conversations in which the replies that cost most ask back instead.

    Args:
        conversations: what was read.
        costs: of each one's reply, ``(n,)``; those of 0 stay as they are.
        share: of the others that are changed.
        replies: how many ways of asking back there are.
        seed: which of them a line gets.
    """
    known = costs[costs > 0]
    dear = np.quantile(known, 1 - share) if len(known) else np.inf
    rng = random.Random(seed)
    changed = []
    for conversation, cost in zip(conversations, costs, strict=True):
        if cost > dear:
            turns = _asked_back(conversation.turns[0], conversation.style or "polite", replies, rng)
            conversation = conversation._replace(turns=turns, opening=None)
        changed.append(conversation)
    return changed


def far_lines(
    lines: Sequence[str], known: Sequence[Index], wanted: int, likeness: float, replies: int, seed: int
) -> list[Conversation]:
    """Return lines like none of those that are ``known``, each with one of so many replies that ask back.

    Their cosine with every one of them is below ``likeness``, the indexes being of one encoder. At most
    ``wanted``, half of them in each speech level; they are sought among the first of ``lines``. Left out is
    what asks for something to be done or looked up, and what the model is never asked.
    """
    unknown = shipped_classifier("unknown")
    fitting = (
        line
        for line in dict.fromkeys(lines)
        if _SHORT_LINE <= len(line) <= _LONG_LINE
        and not (_REQUEST.search(line) or safety.crisis(line) or safety.about_group(line))
        and not (unknown and unknown.judge(line)[0] > 0)
    )
    sought = list(islice(fitting, _SOUGHT * wanted))
    near = np.empty(len(sought))
    for at in range(0, len(sought), _TOGETHER):
        part = slice(at, at + _TOGETHER)
        vectors = known[0].encoder.encode(sought[part])
        near[part] = np.max([(vectors @ index.dense.T).max(axis=1) for index in known], axis=0)
    far = [line for line, cosine in zip(sought, near, strict=True) if cosine < likeness]
    rng = random.Random(seed)
    return [
        Conversation(_asked_back(Turn("user", line), style, replies, rng), style)
        for line, style in zip(far[:wanted], cycle(STYLES), strict=False)
    ]


def _plain_lines(job: Job[Recipe]) -> list[str]:
    """Return lines of plain text that no conversation of the corpora has a reply to."""
    said = {turn.text for c in corpora_conversations(job.corpora) for turn in c.turns}
    lines = pretraining_lines(job.corpora, job.recipe.seed, job.recipe.mixture)
    return [line for line in lines if line not in said]


def _indexes() -> list[Index]:
    encoder = load_encoder()
    return [open_index(known, encoder) for known in (load_knowledge(), load_listening())]


def _asked_back(said: Turn, style: Style, replies: int, rng: random.Random) -> list[Turn]:
    return [said, Turn("assistant", rng.choice(replies_to(said.text, style, "open")[:replies]))]


def unknown_lines(replies: int, seed: int) -> list[Conversation]:
    """Return what the bot cannot know, in both speech levels, with one of the first words for that."""
    words = stock_replies("unknown")
    rng = random.Random(seed)
    found = []
    for row in read_jsonl(data_dir() / "classifiers" / "unknown.jsonl"):
        for style in STYLES if row["label"] == "ood" else ():
            turns = [Turn("user", row["text"]), Turn("assistant", rng.choice(words[style][:replies]))]
            found.append(Conversation(turns, style))
    return found


def _own(job: Job[Recipe], taught: Taught, draw: int) -> list[Conversation]:
    """Return an epoch of our own words: pairs, dialogues, a listener's replies."""
    recipe, seed = job.recipe, job.recipe.seed + draw
    own = [
        *own_conversations(seed, recipe.wordings, taught),
        *listening(seed, recipe.lines, taught, fewest=recipe.fewest_lines),
    ]
    random.Random(seed).shuffle(own)
    return own[: recipe.conversations]


def _recalled(job: Job[Recipe], count: float, first: int, cut: float) -> list[list[Conversation]]:
    recipe, taught = job.recipe, taught_answers(job)
    share = recipe.recall_examples
    others = list(islice(corpora_conversations(job.corpora), recipe.conversations))

    def epoch(number: int) -> list[Conversation]:
        seed = recipe.seed + first + number
        rng = random.Random(seed)
        own = [
            c._replace(opening=recipe.recall_tokens) if c.about and rng.random() < cut else c
            for c in _own(job, taught, first + number)
        ]
        own += [*_with_examples(job, taught, share, share, seed), *others]
        return rng.sample(own, min(len(own), recipe.conversations or len(own)))

    return _epochs(count, epoch)


def _with_examples(
    job: Job[Recipe], taught: Taught, pairs: float, heard: float, seed: int
) -> list[Conversation]:
    told = listening(seed, job.recipe.lines, taught, fewest=job.recipe.fewest_lines)
    return [*pairs_with_examples(pairs, seed, taught), *listening_with_examples(heard, seed, told)]


def _some(conversations: list[Conversation], most: int | None, seed: int) -> list[Conversation]:
    return random.Random(seed).sample(conversations, min(len(conversations), most or len(conversations)))


def _epochs(wanted: float, draw: Callable[[int], list[Conversation]]) -> list[list[Conversation]]:
    """Return so many epochs, the last perhaps a part of one."""
    epochs = ((draw(number), wanted - number) for number in range(math.ceil(wanted)))
    return [epoch[: int(min(share, 1) * len(epoch))] for epoch, share in epochs]

"""Telling the true reply from replies to other things, by what a generator finds likelier."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from chatbot.dialogue import Turn
from chatbot.style import Style
from chatbot.text import same_words
from training.held_out import TrueReply

if TYPE_CHECKING:
    from chatbot.models.generator import Generator

OTHERS = 99  # replies to other things that stand beside the true one
_SCORES = 4_000_000  # numbers that one batch may compute over the vocabulary: 16 MB


def ranking(
    generator: Generator,
    contexts: Sequence[TrueReply],
    replies: Sequence[TrueReply],
    seed: int,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, float] | None:
    """Return how high the true reply to each of ``contexts`` stands among replies drawn from ``replies``.

    Up to 99 others come from other dialogues, no two in the same words, as many for every context. They
    are ranked by the mean log-probability of a token, the end included. ``mrr_pmi`` and ``top1_pmi`` rank
    by what the words before add to it, so that a reply which suits everything gains nothing (Li et al.
    2016, arXiv:1510.03055). ``candidates`` counts the true one too, ``chance`` is the MRR of guessing;
    of equal scores the true reply's counts as the lowest. ``None`` where there are no others.
    """
    rng = random.Random(seed)
    pools = [_others(context, replies) for context in contexts]
    count = min(OTHERS, *map(len, pools))
    if not count:
        return None
    alone: dict[tuple[Style, str | None], dict[str, float]] = {}
    ranks, ranks_pmi = [], []
    for context, pool in zip(contexts, pools, strict=True):
        texts = [context.text, *rng.sample(pool, count)]
        given = _mean_log_probabilities(generator, context, texts)
        known = alone.setdefault((context.style, context.speaker), {})
        unknown = [text for text in texts if text not in known]
        silence = context._replace(before=[Turn("user", "")])
        # The silence shows no speech level: that of the context is asked for.
        found = _mean_log_probabilities(generator, silence, unknown, context.style)
        known.update(zip(unknown, found, strict=True))
        ranks.append(_rank(given))
        ranks_pmi.append(_rank(given - np.array([known[text] for text in texts])))
        progress()
    return {
        "contexts": len(contexts),
        "candidates": count + 1,
        "chance": float(np.mean(1 / np.arange(1, count + 2))),
        **_figures(ranks, ""),
        **_figures(ranks_pmi, "_pmi"),
    }


def log_probabilities(
    generator: Generator, prompt: Sequence[int], replies: Sequence[Sequence[int]]
) -> list[float]:
    """Return the log-probability (nats) of each reply, ids with their end, after ``prompt``.

    The prompt is read once; what the model keeps of it serves the replies of every batch.
    """
    import torch

    with torch.inference_mode():
        read = generator.model(input_ids=torch.tensor([prompt], device=generator.device), use_cache=True)
        first = read.logits[0, -1].float().log_softmax(-1)
        found = [float(first[ids[0]]) for ids in replies]
        # Replies of like length stand together: padding costs as much as text.
        order = sorted((i for i, ids in enumerate(replies) if len(ids) > 1), key=lambda i: len(replies[i]))
        while order:
            rows, order = _batch(order, replies, len(first))
            past: Any = copy.deepcopy(read.past_key_values)
            past.batch_repeat_interleave(len(rows))
            for i, score in zip(rows, _continued(generator, past, [replies[i] for i in rows]), strict=True):
                found[i] += score
    return found


def _continued(generator: Generator, past: Any, replies: Sequence[Sequence[int]]) -> list[float]:
    """Return the log-probability of each reply but for its first token, after what ``past`` has read."""
    import torch

    longest = max(map(len, replies))
    # What pads on the right comes after everything that counts; it needs no mask.
    padded = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in replies], device=generator.device)
    mask = padded.new_ones((len(replies), past.get_seq_length() + longest - 1))
    out = generator.model(input_ids=padded[:, :-1], attention_mask=mask, past_key_values=past, use_cache=True)
    nats = torch.nn.functional.cross_entropy(
        out.logits.float().flatten(0, 1), padded[:, 1:].flatten(), reduction="none"
    ).view(len(replies), -1)
    rows = nats.double().cpu().numpy()
    return [-float(row[: len(ids) - 1].sum()) for row, ids in zip(rows, replies, strict=True)]


def _batch(
    order: list[int], replies: Sequence[Sequence[int]], vocabulary: int
) -> tuple[list[int], list[int]]:
    """Take as many rows of ``order``, shortest first, as one batch may hold; return them and the rest."""
    count = 1
    while count < len(order) and (count + 1) * len(replies[order[count]]) * vocabulary <= _SCORES:
        count += 1
    return order[:count], order[count:]


def _mean_log_probabilities(
    generator: Generator, context: TrueReply, texts: Sequence[str], style: Style | None = None
) -> np.ndarray:
    """Return the mean log-probability of a token of each text as the reply in ``context``."""
    replies = [generator.format.reply(text) for text in texts]
    if not replies:
        return np.zeros(0)
    longest = max(map(len, replies))
    prompt = generator.prompt(context.before, style or context.style, longest, context.speaker)
    return np.array(log_probabilities(generator, prompt, replies)) / [len(ids) for ids in replies]


def _others(context: TrueReply, replies: Sequence[TrueReply]) -> list[str]:
    """Return the replies of other dialogues, each once, without the words of the true one."""
    texts = {same_words(r.text): r.text for r in replies if r.dialogue != context.dialogue}
    texts.pop(same_words(context.text), None)
    return list(texts.values())


def _rank(scores: np.ndarray) -> int:
    """Return the place of the first score among all, counted from 1."""
    return 1 + int((scores[1:] >= scores[0]).sum())


def _figures(ranks: Sequence[int], suffix: str) -> dict[str, float]:
    reciprocal = 1 / np.array(ranks, dtype=np.float64)
    return {f"mrr{suffix}": float(reciprocal.mean()), f"top1{suffix}": float((reciprocal == 1).mean())}

"""Measuring a generator: how well it predicts held-out dialogues, and how its replies behave."""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from chatbot.backends.gpt import GptBackend
from chatbot.dialogue import Conversation, Reply, Turn
from chatbot.errors import ChatbotError
from chatbot.knowledge import held_out_dialogues, prompts
from chatbot.measures import chrf, distinct, latency, share, style_match
from chatbot.models.format import MarkerFormat
from chatbot.style import Style, reply_style, speech_level
from chatbot.text import squeeze
from training.dialogues import Conversation as Dialogue
from training.held_out import TrueReply, held_out, true_replies
from training.kneser_ney import UNKNOWN_BITS, KneserNey, bits_per_character
from training.ranking import ranking

if TYPE_CHECKING:
    from chatbot.models.generator import Generator, Sampling

STYLES: tuple[Style, Style] = ("polite", "casual")
CONTEXTS = 100  # replies that are generated anew and sought among others
_STREAMED = 40  # replies timed one by one
# The same three characters or more, three times over; laughter is one character over and over.
_LOOP = re.compile(r"(?=(.{2,40}?[^\s])\1\1)")
# What must never be seen: replacement characters, and pieces such as <|end|>, <unused3> or [MASK].
_BROKEN = re.compile(r"\ufffd|<[/|]?\w+\|?>|\[[A-Z]+\]")


_T = TypeVar("_T")


@dataclass(frozen=True)
class Bits:
    """What text cost: bits, the characters it has, the tokens it was cut into, characters lost."""

    bits: float = 0.0
    characters: int = 0
    tokens: int = 0
    lost: int = 0

    def __add__(self, other: Bits) -> Bits:
        return Bits(
            self.bits + other.bits,
            self.characters + other.characters,
            self.tokens + other.tokens,
            self.lost + other.lost,
        )


def evaluate_gpt(
    model: str | None = None,
    data: str | None = None,
    device: str = "auto",
    *,
    seed: int = 1,
    contexts: int = CONTEXTS,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Return every figure of the GPT backend as one dictionary (shares in 0..1, ``None``: of nothing).

    ``data`` is a file of dialogues or pairs held out from training, or an imported dataset, of which the
    last part in time is taken; our own dialogues by default. Up to ``contexts`` of their replies are
    generated anew, and sought among 100. Our test prompts are answered too, in both speech levels;
    ``options`` go to the backend.

    Raises:
        ChatbotError: ``data`` holds no reply that can be measured.
    """
    backend = GptBackend(model, device, seed=seed, **options)
    generator = backend.generator
    conversations = held_out(data, generator.personas)
    replies, too_long = _that_fit(generator, true_replies(conversations))
    if not replies:
        raise ChatbotError(f"{data}: 잴 수 있는 대답이 없어요. 대답이 있는 대화를 지정해 주세요.")
    dialogues = [conversations[number].turns for number in dict.fromkeys(r.dialogue for r in replies)]
    chosen = random.Random(seed).sample(replies, min(contexts, len(replies)))
    asked = [
        Conversation(turns=[Turn("user", text)], style=style) for style in STYLES for text in prompts("test")
    ]
    count = _Count(len(replies) + len(dialogues) + len(asked) + _STREAMED + 2 * len(chosen), progress)
    cost = _costs(generator, replies, dialogues, count)
    generated = _generated(generator, chosen, backend.sampling, count)
    return {
        "backend": "gpt",
        "notes": backend.notes,
        "model": generator.name,
        "data": "eval/dialogues" if data is None else Path(data).name,
        "speakers": sorted({reply.speaker for reply in replies if reply.speaker}),
        "dialogues": len(dialogues),
        "true_replies": len(replies),
        "too_long": too_long,
        "prediction": {name: _prediction(bits) for name, bits in cost.items() if bits.tokens},
        "generated": {"contexts": len(chosen), "chrf": chrf(generated, [[r.text] for r in chosen])},
        "ranking": ranking(generator, chosen, replies, seed, count),
        "replies": behaviour(
            _answered(backend, asked, count), generator.room(backend.sampling.max_new_tokens)
        ),
        **_speed(backend, asked[:: max(1, len(asked) // _STREAMED)][:_STREAMED], count),
    }


class _Count:
    """Counts what is done and tells ``progress``."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self.done, self.total, self._progress = 0, total, progress

    def __call__(self, more: int = 1) -> None:
        self.done += more
        if self._progress:
            self._progress(self.done, self.total)


def _costs(
    generator: Generator, replies: Sequence[TrueReply], dialogues: Sequence[Sequence[Turn]], count: _Count
) -> dict[str, Bits]:
    """Return what the replies cost and, for a model of our own format, everything that was said."""
    found = {"replies": Bits(), "all": Bits()}
    for reply in replies:
        found["replies"] += true_reply_bits(generator, reply)
        count()
    for turns in dialogues:
        if isinstance(generator.format, MarkerFormat):
            found["all"] += dialogue_bits(generator, turns)
        count()
    return found


def _generated(
    generator: Generator, contexts: Sequence[TrueReply], sampling: Sampling, count: _Count
) -> list[str]:
    """Return what the model says where the true replies were said."""
    texts: list[str] = []
    for part in _batches(contexts):
        room = sampling.max_new_tokens
        made = [generator.prompt(c.before, c.style, room, c.speaker) for c in part]
        texts += [reply.text for reply in generator.generate(made, sampling)]
        count(len(part))
    return texts


def _answered(
    backend: GptBackend, asked: Sequence[Conversation], count: _Count
) -> list[tuple[Conversation, Reply]]:
    """Return the conversations, each with its answer."""
    answered: list[tuple[Conversation, Reply]] = []
    for part in _batches(asked):
        answered += zip(part, backend.reply_many(part), strict=True)
        count(len(part))
    return answered


def _that_fit(generator: Generator, replies: Sequence[TrueReply]) -> tuple[list[TrueReply], int]:
    """Return the replies that leave room for what was said before, and how many do not."""
    kept = [r for r in replies if _fits(generator, generator.format.reply(r.text))]
    return kept, len(replies) - len(kept)


def _fits(generator: Generator, ids: Sequence[int]) -> bool:
    return len(ids) == generator.room(len(ids))


def _batches(items: Sequence[_T], size: int = 16) -> Iterator[Sequence[_T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def reply_bits(generator: Generator, turns: Sequence[Turn]) -> Bits:
    """Return what the replies of a dialogue cost, as :func:`true_reply_bits` counts it."""
    replies = true_replies([Dialogue(list(turns), None)])
    return sum((true_reply_bits(generator, r) for r in _that_fit(generator, replies)[0]), Bits())


def true_reply_bits(generator: Generator, reply: TrueReply) -> Bits:
    """Return what a reply costs after the turns before it, its end included.

    The prompt is the one used while talking, its speech level that of the user so far. A character
    lost to the unknown token counts as :data:`~training.kneser_ney.UNKNOWN_BITS`.
    """
    words = generator.format.reply(reply.text)
    prompt = generator.prompt(reply.before, reply.style, len(words), reply.speaker)
    return _cost(generator, reply.text, prompt + words, len(prompt))


def dialogue_bits(generator: Generator, turns: Sequence[Turn]) -> Bits:
    """Return what every turn that fits costs, the user's too, for a model of our own format."""
    form = generator.format
    assert isinstance(form, MarkerFormat)
    total = Bits()
    ids: list[int] = []
    for place, turn in enumerate(turns):
        style = reply_style(Conversation(turns=list(turns[:place]))) if place else "polite"
        part = form.turn(turn.role, turn.text, style).ids
        opening = len(part) - len(form.reply(turn.text))
        ids = (ids + part)[-generator.context_length :]
        if _fits(generator, part):
            total += _cost(generator, turn.text, ids, len(ids) - len(part) + opening)
    return total


def _cost(generator: Generator, text: str, ids: list[int], start: int) -> Bits:
    """Return what ``text``, the last ``ids`` from ``start`` on, costs after those before it."""
    import torch

    with torch.inference_mode():
        given = torch.tensor([ids], device=generator.device)
        scores = generator.model(input_ids=given).logits[0, start - 1 : -1].float()
        nats = torch.nn.functional.cross_entropy(scores, given[0, start:], reduction="none")
    unknown = np.array(ids[start:]) == generator.tokenizer.unk_token_id
    lost = lost_characters(generator, text) if unknown.any() else 0
    bits = float(nats.double().cpu().numpy()[~unknown].sum()) / math.log(2) + UNKNOWN_BITS * lost
    return Bits(bits, len(text), len(ids) - start, lost)


def best_temperature(generator: Generator) -> float:
    """Return the number to divide the scores by at which the dev half's replies cost the fewest bits."""
    from scipy.optimize import minimize_scalar

    dialogues = held_out_dialogues("dev")
    head = generator.model.get_output_embeddings()
    assert head is not None
    temperature = 1.0
    handle = head.register_forward_hook(lambda module, inputs, scores: scores / temperature)

    def bits(candidate: float) -> float:
        nonlocal temperature
        temperature = candidate
        return sum(reply_bits(generator, turns).bits for turns in dialogues)

    try:
        found = minimize_scalar(bits, bounds=(0.5, 4.0), method="bounded", options={"xatol": 0.02})
    finally:
        handle.remove()
    return float(found.x)


def lost_characters(generator: Generator, text: str) -> int:
    """Return how many characters of ``text`` become the unknown token."""
    found = generator.tokenizer(
        text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
    )
    spans: Any = found["offset_mapping"]
    ids: Any = found["input_ids"]
    unknown = generator.tokenizer.unk_token_id
    return sum(
        max(stop - start, 1) for number, (start, stop) in zip(ids, spans, strict=True) if number == unknown
    )


def _prediction(total: Bits) -> dict[str, float]:
    return {
        "perplexity": 2 ** (total.bits / total.tokens),
        "nats_per_token": total.bits / total.tokens * math.log(2),
        "bits_per_character": bits_per_character(total.bits, total.characters),
        "characters": total.characters,
        "tokens": total.tokens,
        "unknown_characters": total.lost,
    }


def kneser_ney_bits(lines: Sequence[str]) -> dict[str, float]:
    """Return the bits per character of a 5-gram Kneser-Ney model of ``lines`` on our held-out dialogues."""
    model = KneserNey(lines)
    dialogues = held_out_dialogues("test")
    turns = [turn for turns in dialogues for turn in turns]
    every = model.bits([turn.text for turn in turns])
    replies = model.bits([turn.text for turn in turns if turn.role == "assistant"])
    return {
        "lines": len(lines),
        "training_characters": sum(map(len, lines)),
        "replies": bits_per_character(*replies),
        "all": bits_per_character(*every),
    }


def behaviour(replies: Sequence[tuple[Conversation, Reply]], cap: int) -> dict[str, float | None]:
    """Return shares of replies that end, loop, repeat the user, are empty or broken, and their variety.

    ``non_stopping`` is the share that was cut off at ``cap`` tokens, ``loops`` the repetition rate.
    """
    texts = [reply.text for _, reply in replies]
    words = [text.split() for text in texts]
    shown = [speech_level(text) for text in texts]
    return {
        "replies": len(replies),
        "ended": share((reply.tokens or 0) < cap for _, reply in replies),
        "non_stopping": share((reply.tokens or 0) >= cap for _, reply in replies),
        "loops": share(map(loops, texts)),
        "repeats_user": share(repeats_user(c.turns[-1].text, reply.text) for c, reply in replies),
        "empty": share(not text.strip() for text in texts),
        "broken": share(bool(_BROKEN.search(text)) for text in texts),
        "distinct_1": distinct(words, 1),
        "distinct_2": distinct(words, 2),
        "style_match": style_match([c.style for c, _ in replies], shown),
        "style_shown": share(level is not None for level in shown),
    }


def loops(text: str) -> bool:
    """Tell whether a reply goes round: three times the same in a row, or a sentence said twice."""
    for match in _LOOP.finditer(f" {text}"):  # so that the first word looks like the others
        if len(set(match[1].replace(" ", ""))) > 1:
            return True
    sentences = [squeeze(sentence) for sentence in re.split(r"[.!?~\n]+", text)]
    long = [sentence for sentence in sentences if len(sentence) > 3]
    return len(long) > len(set(long))


def repeats_user(utterance: str, reply: str) -> bool:
    """Tell whether a reply says the user's own words back, whole."""
    own, back = squeeze(utterance), squeeze(reply)
    return own == back or (len(own) > 5 and own in back)


def _speed(
    backend: GptBackend, conversations: Sequence[Conversation], count: Callable[[], None]
) -> dict[str, dict[str, float]]:
    """Return, of replies one at a time, the time to the first piece, to the end, and tokens per second."""
    first, whole, tokens = [], [], 0
    for conversation in conversations:
        started = time.perf_counter()
        pieces = []
        for piece in backend.stream(conversation):
            pieces.append((time.perf_counter() - started, piece))
        reply = pieces[-1][1]
        assert isinstance(reply, Reply)
        first.append(pieces[0][0])
        whole.append(pieces[-1][0])
        tokens += reply.tokens or 0
        count()
    return {
        "speed": {"first_token_seconds": float(np.median(first)), "tokens_per_second": tokens / sum(whole)},
        "latency_ms": latency(whole),
    }

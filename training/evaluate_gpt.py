"""Measuring a generator: how well it predicts held-out dialogues, and how its replies behave."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chatbot.backends.gpt import GptBackend
from chatbot.dialogue import Conversation, Reply, Turn
from chatbot.errors import ChatbotError
from chatbot.knowledge import held_out_dialogues, load_dialogues, prompts
from chatbot.models.format import MarkerFormat
from chatbot.style import Style, reply_style, speech_level
from chatbot.text import squeeze
from training.kneser_ney import UNKNOWN_BITS, KneserNey, bits_per_character

if TYPE_CHECKING:
    from chatbot.models.generator import Generator

STYLES: tuple[Style, Style] = ("polite", "casual")
_STREAMED = 20  # replies timed one by one
# The same three characters or more, three times over; laughter is one character over and over.
_LOOP = re.compile(r"(?=(.{2,40}?[^\s])\1\1)")
# What must never be seen: replacement characters, and pieces such as <|end|>, <unused3> or [MASK].
_BROKEN = re.compile(r"\ufffd|<[/|]?\w+\|?>|\[[A-Z]+\]")


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
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Return every figure of the GPT backend as one dictionary (shares in 0..1, times in seconds).

    ``data`` is a file of dialogues, held out from training; our own by default. Replies are made to
    our test prompts, each asked for in both speech levels; ``options`` go to the backend.

    Raises:
        ChatbotError: ``data`` holds no dialogue.
    """
    backend = GptBackend(model, device, seed=seed, **options)
    dialogues = [turns for turns, _ in load_dialogues(data)] if data else held_out_dialogues("test")
    if not dialogues:
        raise ChatbotError(f"{data}: 대화가 하나도 없어요. messages 형식의 JSONL 파일을 지정해 주세요.")
    report = progress or (lambda done, total: None)
    utterances = prompts("test")
    asked = [Conversation(turns=[Turn("user", text)], style=style) for style in STYLES for text in utterances]
    total = len(dialogues) + len(asked) + _STREAMED
    figures: dict[str, Any] = {
        "backend": "gpt",
        "notes": backend.notes,
        "model": backend.generator.name,
        "data": Path(data).name if data else "eval/dialogues",
        "dialogues": len(dialogues),
    }
    found = {"replies": Bits(), "all": Bits()}
    for done, turns in enumerate(dialogues, start=1):
        found["replies"] += reply_bits(backend.generator, turns)
        if isinstance(backend.generator.format, MarkerFormat):
            found["all"] += dialogue_bits(backend.generator, turns)
        report(done, total)
    figures["prediction"] = {name: _prediction(cost) for name, cost in found.items() if cost.tokens}
    replies: list[tuple[Conversation, Reply]] = []
    for start in range(0, len(asked), 16):
        part = asked[start : start + 16]
        replies += zip(part, backend.reply_many(part), strict=True)
        report(len(dialogues) + len(replies), total)
    figures["replies"] = behaviour(replies, backend.generator.room(backend.sampling.max_new_tokens))
    figures["speed"] = _speed(backend, asked[:: max(1, len(asked) // _STREAMED)][:_STREAMED])
    report(total, total)
    return figures


def reply_bits(generator: Generator, turns: Sequence[Turn]) -> Bits:
    """Return what the replies of a dialogue cost, their ends included, each after the turns before it.

    The prompt is the one used while talking, its speech level that of the user so far. A character
    lost to the unknown token counts as :data:`~training.kneser_ney.UNKNOWN_BITS`.
    """
    total = Bits()
    for place, turn in enumerate(turns):
        if turn.role == "assistant" and place:
            style = reply_style(Conversation(turns=list(turns[:place])))
            words = generator.format.reply(turn.text)
            prompt = generator.prompt(turns[:place], style, len(words))
            total += _cost(generator, turn, prompt + words, len(prompt))
    return total


def dialogue_bits(generator: Generator, turns: Sequence[Turn]) -> Bits:
    """Return what every turn of a dialogue costs, the user's too, for a model of our own format."""
    form = generator.format
    assert isinstance(form, MarkerFormat)
    total = Bits()
    ids: list[int] = []
    for place, turn in enumerate(turns):
        style = reply_style(Conversation(turns=list(turns[:place]))) if place else "polite"
        part = form.turn(turn.role, turn.text, style).ids
        opening = len(part) - len(form.reply(turn.text))
        ids = (ids + part)[-generator.context_length :]
        total += _cost(generator, turn, ids, len(ids) - len(part) + opening)
    return total


def _cost(generator: Generator, turn: Turn, ids: list[int], start: int) -> Bits:
    """Return what ``turn``, the last ``ids`` from ``start`` on, costs after those before it."""
    import torch

    with torch.inference_mode():
        given = torch.tensor([ids], device=generator.device)
        scores = generator.model(input_ids=given).logits[0, start - 1 : -1].float()
        nats = torch.nn.functional.cross_entropy(scores, given[0, start:], reduction="none")
    unknown = np.array(ids[start:]) == generator.tokenizer.unk_token_id
    lost = lost_characters(generator, turn.text) if unknown.any() else 0
    bits = float(nats.double().cpu().numpy()[~unknown].sum()) / math.log(2) + UNKNOWN_BITS * lost
    return Bits(bits, len(turn.text), len(ids) - start, lost)


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


def behaviour(replies: Sequence[tuple[Conversation, Reply]], cap: int) -> dict[str, float]:
    """Return shares of replies that end, loop, repeat the user, are empty or broken, and their variety."""
    texts = [reply.text for _, reply in replies]
    words = [text.split() for text in texts]
    shown = [(c.style, speech_level(reply.text)) for c, reply in replies]
    decided = [wanted == found for wanted, found in shown if found]

    def share(hits: Iterable[bool]) -> float:
        every = list(hits)
        return sum(every) / len(every) if every else math.nan

    return {
        "replies": len(replies),
        "ended": share((reply.tokens or 0) < cap for _, reply in replies),
        "loops": share(map(loops, texts)),
        "repeats_user": share(repeats_user(c.turns[-1].text, reply.text) for c, reply in replies),
        "empty": share(not text.strip() for text in texts),
        "broken": share(bool(_BROKEN.search(text)) for text in texts),
        "distinct_1": _distinct(words, 1),
        "distinct_2": _distinct(words, 2),
        "style_match": share(decided),
        "style_shown": len(decided) / len(replies),
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


def _distinct(texts: Sequence[Sequence[str]], n: int) -> float:
    """Return the share of distinct word n-grams among all of them (Li et al. 2016, arXiv:1510.03055)."""
    grams = list(chain.from_iterable(zip(*(words[i:] for i in range(n)), strict=False) for words in texts))
    return len(set(grams)) / len(grams) if grams else math.nan


def _speed(backend: GptBackend, conversations: Sequence[Conversation]) -> dict[str, float]:
    """Return the median time to the first piece, and tokens per second of whole replies."""
    first, tokens, seconds = [], 0, 0.0
    for conversation in conversations:
        started = time.perf_counter()
        stream = backend.stream(conversation)
        next(stream)
        first.append(time.perf_counter() - started)
        *_, reply = stream
        assert isinstance(reply, Reply)
        tokens += reply.tokens or 0
        seconds += reply.seconds or 0.0
    return {"first_token_seconds": float(np.median(first)), "tokens_per_second": tokens / seconds}


def report_lines(figures: dict[str, Any]) -> list[str]:
    """Return the figures as lines to read."""
    lines = [f"모델\t{figures['model']}", f"대화\t{figures['data']} ({figures['dialogues']}편)"]
    for name, title in (("replies", "답"), ("all", "모든 말")):
        if name in figures["prediction"]:
            found = figures["prediction"][name]
            lines.append(
                f"{title}\t당혹도(perplexity) {found['perplexity']:.1f}, "
                f"글자당 {found['bits_per_character']:.3f}비트, "
                f"{found['characters']}자 (모르는 글자 {found['unknown_characters']}자)"
            )
    replies, speed = figures["replies"], figures["speed"]
    shares = {
        "스스로 끝난 답": "ended", "맴도는 답": "loops", "말을 되풀이한 답": "repeats_user", "빈 답": "empty",
        "깨진 답": "broken", "말투가 맞은 답": "style_match",
    }  # fmt: skip
    lines += [f"{title}\t{100 * replies[name]:.1f} %" for title, name in shares.items()]
    lines.append(f"distinct-1, -2\t{replies['distinct_1']:.3f}, {replies['distinct_2']:.3f}")
    first = 1000 * speed["first_token_seconds"]
    lines.append(f"속도\t첫 토큰까지 {first:.0f} ms, 초당 {speed['tokens_per_second']:.0f} 토큰")
    return lines

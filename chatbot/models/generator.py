"""Generating replies token by token with any causal language model.

One loop serves a single reply that streams and a batch of many: prompts are padded on the left,
and every row has its own sampling, its own text and its own end.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatbot.models.checkpoint import find_checkpoint, load_model, load_tokenizer, read_description
from chatbot.models.device import number_type, resolve_device
from chatbot.models.format import choose_format
from chatbot.models.locate import local_folder
from chatbot.models.markers import end_ids, marker_like
from chatbot.text import compatibility_jamo

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

    from chatbot.dialogue import Turn
    from chatbot.models.format import Exchange
    from chatbot.style import Style

_DEFAULT_CONTEXT = 1024
_LONGEST_CONTEXT = 4096  # more history than this only costs time and memory
_LONGEST_SYLLABLE = 4  # tokens, in a vocabulary of bytes


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens. ``temperature`` 0 always takes the likeliest one."""

    temperature: float = 0.7
    top_p: float = 0.9
    max_new_tokens: int = 64
    seed: int | None = None
    # Over the reply alone: a bot may well repeat a word of the question.
    repetition_penalty: float = 1.15
    no_repeat_ngram: int = 4


@dataclass
class Generated:
    """A reply in the making: its ids, what can be shown of it, and whether it ended by itself."""

    ids: list[int] = field(default_factory=list)
    text: str = ""
    ended: bool = False
    log_probability: float = 0.0

    @property
    def confidence(self) -> float | None:
        """Geometric mean of the probabilities of its tokens, in 0..1."""
        return math.exp(self.log_probability / len(self.ids)) if self.ids else None


class Generator:
    """A causal language model, its tokenizer and its prompt format, loaded once.

    Args:
        name_or_path: a folder, a trained model's name or a hub id; the shipped GPT by default.
        device: ``auto`` takes CUDA, then MPS, then the CPU.
        dtype: a torch number type; by default bfloat16 where the device has it natively, else float32.

    Raises:
        CheckpointError: nothing loadable there, or its tokenizer cannot read Korean.
        UsageError: no such device.
    """

    def __init__(
        self, name_or_path: str | Path | None = None, device: str = "auto", dtype: Any = None
    ) -> None:
        import torch

        self.device = resolve_device(device)
        folder, self.notes = find_checkpoint(name_or_path)
        # A path says more about its owner than about the model.
        self.name = str(name_or_path) if name_or_path and not local_folder(name_or_path) else folder.name
        self.tokenizer: PreTrainedTokenizerFast = load_tokenizer(folder)
        self.model = load_model(folder, dtype or number_type(self.device), len(self.tokenizer))
        torch.nn.Module.to(self.model, self.device)
        description = read_description(folder)
        self.personas = tuple(description.get("personas") or ())
        ends = end_ids(self.tokenizer, self.model.generation_config.eos_token_id)
        self.format = choose_format(self.tokenizer, description, ends)
        if self.format.note:
            self.notes.append(self.format.note)
        seen = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        self.context_length = min(int(seen or _DEFAULT_CONTEXT), _LONGEST_CONTEXT)
        taken = inspect.signature(self.model.forward).parameters
        self._takes_positions = "position_ids" in taken
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}

    @cached_property
    def sampling(self) -> Sampling:
        """The settings that suit this model: its own temperature and top-p where it states them."""
        stated = self.model.generation_config
        if not stated.do_sample:
            return Sampling()
        usual = Sampling()
        return Sampling(float(stated.temperature or usual.temperature), float(stated.top_p or usual.top_p))

    def prompt(
        self,
        turns: Sequence[Turn],
        style: Style,
        max_new_tokens: int,
        speaker: str | None = None,
        examples: Sequence[Exchange] = (),
    ) -> list[int]:
        """Return the prompt for the next reply: the last turns that leave room for the new tokens.

        ``speaker`` is the persona to answer as, where the format can name one; ``examples`` are shown before.
        """
        budget = self.context_length - self.room(max_new_tokens) - _LONGEST_SYLLABLE
        return self.format.prompt(turns, style, budget, speaker=speaker, examples=examples)

    def room(self, max_new_tokens: int) -> int:
        """Return how many new tokens there is room for: at most half of what the model can see."""
        return min(max_new_tokens, self.context_length // 2)

    def stream(self, prompt: list[int], sampling: Sampling, reply: Generated) -> Iterator[str]:
        """Grow ``reply``, token by token, and yield what each adds to its text; it may be nothing."""
        shown = 0
        for _ in self._steps([prompt], sampling, [reply], [_seeded(sampling.seed)]):
            piece, shown = reply.text[shown:], len(reply.text)
            yield piece

    def generate(
        self,
        prompts: Sequence[list[int]],
        sampling: Sampling,
        batch: int = 16,
        seeds: Sequence[int | None] | None = None,
    ) -> list[Generated]:
        """Return the replies to several prompts, computed ``batch`` at a time, in the order given.

        Row ``i`` draws from ``seeds[i]`` alone, or without any from ``sampling.seed``, so a batch says what
        single replies would say.
        """
        replies = [Generated() for _ in prompts]
        seeds = seeds or [sampling.seed] * len(prompts)
        # Prompts of like length stand together: padding costs as much as text.
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            chosen = [replies[i] for i in rows]
            chances = [_seeded(seeds[i]) for i in rows]
            for _ in self._steps([prompts[i] for i in rows], sampling, chosen, chances):
                pass
        return replies

    def _steps(
        self,
        prompts: Sequence[list[int]],
        sampling: Sampling,
        replies: Sequence[Generated],
        chances: Sequence[torch.Generator],
    ) -> Iterator[None]:
        """Grow ``replies`` by a token each, until all have ended or reached the cap."""
        import torch

        rows = [_Row(self, reply, chance) for reply, chance in zip(replies, chances, strict=True)]
        choose = _Chooser(self, sampling)
        longest = max(map(len, prompts))
        padded = [[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
        present = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        ids = torch.tensor(padded, device=self.device)
        mask = torch.tensor(present, device=self.device)
        generated = torch.empty((len(rows), 0), dtype=torch.long)
        past = None
        cap = self.room(sampling.max_new_tokens)
        # A first syllable in several pieces may need more than a very low cap.
        for step in range(cap + _LONGEST_SYLLABLE):
            if step >= cap:
                for row in rows:
                    row.done = row.done or row.spoke
            if all(row.done for row in rows):
                return
            scores, past = self._forward(ids, mask, past)
            chosen = choose(generated, scores, rows)
            generated = torch.cat([generated, chosen[:, None]], dim=1)
            yield
            ids = chosen[:, None].to(self.device)
            mask = torch.cat([mask, mask.new_ones((len(rows), 1))], dim=1)

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor, past: Any) -> tuple[torch.Tensor, Any]:
        """Return float32 scores of the next token ``(rows, vocabulary)`` on the CPU, and the cache."""
        import torch

        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        more = {"position_ids": positions} if self._takes_positions else {}
        with torch.inference_mode():
            out = self.model(
                input_ids=ids,
                attention_mask=mask,
                past_key_values=past,
                use_cache=True,
                **more,
                **self._last_only,
            )
            # Chosen on the CPU, the same seed gives the same reply on every device.
            return out.logits[:, -1].float().cpu(), out.past_key_values

    @cached_property
    def suppressed(self) -> list[int]:
        """Ids that may never be said: special tokens, unknown ones, rows without a piece."""
        rows = set(range(self.model.config.get_text_config().vocab_size))
        silent = marker_like(self.tokenizer) | (rows - set(self.tokenizer.get_vocab().values()))
        return sorted(silent - self.format.stop_ids - {self.format.break_id})

    @cached_property
    def blank(self) -> list[int]:
        """Ids that show nothing by themselves, such as the space before a word."""
        texts = self.tokenizer.backend_tokenizer.decode_batch([[i] for i in range(len(self.tokenizer))])
        usable = set(range(len(self.tokenizer))) - self.format.stop_ids
        return [i for i, text in enumerate(texts) if i in usable and not text.strip()]


class _Row:
    """One reply of a batch: its chance, its text as it is decoded, and whether it is over."""

    def __init__(self, generator: Generator, reply: Generated, chance: torch.Generator) -> None:
        from tokenizers.decoders import DecodeStream

        self.reply, self.chance, self.done = reply, chance, False
        self._new_decoder = partial(DecodeStream, skip_special_tokens=True)
        self._format = generator.format
        self._tokenizer = generator.tokenizer.backend_tokenizer
        self._decoder = self._new_decoder()
        self._held = ""  # white space, until something visible follows it
        self.spoke = False

    def take(self, token: int, log_probability: float) -> None:
        """Add a token to the reply, or end it."""
        reply = self.reply
        if token in self._format.stop_ids:
            self.done = reply.ended = True
            return
        reply.ids.append(token)
        reply.log_probability += log_probability
        if token == self._format.break_id:
            self._held = "\n"
            return
        piece = compatibility_jamo(self._decode(token)).replace("\ufffd", "")
        stop = self._format.stop_text
        if stop and stop in piece and self.spoke:
            self.done = reply.ended = True
            piece = piece.partition(stop)[0]
        visible = piece.strip()
        if visible:
            before = piece[: len(piece) - len(piece.lstrip())]
            reply.text += (self._held + before if self.spoke else "") + visible
            self._held, self.spoke = "", True
            piece = piece[len(piece.rstrip()) :]
        self._held += piece

    def _decode(self, token: int) -> str:
        """Return what the token adds to the text, nothing while a syllable is still in pieces."""
        try:
            return self._decoder.step(self._tokenizer, token) or ""
        except Exception:  # bytes that make no character: give them up and go on with this token
            self._decoder = self._new_decoder()
            return self._decoder.step(self._tokenizer, token) or ""


class _Chooser:
    """Chooses the next token of every row by the sampling settings."""

    def __init__(self, generator: Generator, sampling: Sampling) -> None:
        from transformers import (
            LogitsProcessorList,
            NoRepeatNGramLogitsProcessor,
            RepetitionPenaltyLogitsProcessor,
            SuppressTokensLogitsProcessor,
            TemperatureLogitsWarper,
            TopPLogitsWarper,
        )

        self._stops, self._blank = sorted(generator.format.stop_ids), generator.blank
        self._break = generator.format.break_id
        self._greedy = sampling.temperature == 0
        self._suppress = SuppressTokensLogitsProcessor(generator.suppressed, device="cpu")
        self._processors: Any = LogitsProcessorList()
        if sampling.repetition_penalty != 1:
            self._processors.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
        if sampling.no_repeat_ngram:
            self._processors.append(NoRepeatNGramLogitsProcessor(sampling.no_repeat_ngram))
        if not self._greedy:
            self._processors.append(TemperatureLogitsWarper(float(sampling.temperature)))
            self._processors.append(TopPLogitsWarper(sampling.top_p))

    def __call__(self, generated: torch.Tensor, scores: torch.Tensor, rows: Sequence[_Row]) -> torch.Tensor:
        """Return the chosen ids ``(rows,)`` and hand each row its own."""
        import torch

        plain = scores.log_softmax(dim=-1)
        scores = self._suppress(generated, scores)
        for i, row in enumerate(rows):
            if not row.spoke:  # a reply says something before it ends
                scores[i, self._stops] = -float("inf")
                if row.reply.ids:  # one white space may open a word, a second one leads nowhere
                    scores[i, self._blank] = -float("inf")
            if self._break is not None and (not row.spoke or row.reply.ids[-1:] == [self._break]):
                scores[i, self._break] = -float("inf")
        scores = self._processors(generated, scores)
        chosen = torch.zeros(len(rows), dtype=torch.long)
        for i, row in enumerate(rows):
            if row.done:
                continue
            if self._greedy:
                chosen[i] = scores[i].argmax()
            else:
                chosen[i] = torch.multinomial(scores[i].softmax(dim=-1), 1, generator=row.chance)[0]
            row.take(int(chosen[i]), float(plain[i, chosen[i]]))
        return chosen


def _seeded(seed: int | None) -> torch.Generator:
    import torch

    chance = torch.Generator()
    if seed is None:
        chance.seed()
    else:
        chance.manual_seed(seed)
    return chance

"""GPT: turn the conversation into a prompt, generate, and show each token as it comes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any

from chatbot.backends.settings import RETRY_TEMPERATURE, SETTINGS, adjusted, all_checked
from chatbot.dialogue import Backend, Conversation, Reply
from chatbot.errors import UsageError
from chatbot.models.format import Exchange
from chatbot.models.generator import Generated, Generator, Sampling
from chatbot.style import reply_style

_OTHER_CHANCE = 1_000_003  # between the seeds of several proposals; turns and tries differ by less


class GptBackend(Backend):
    """Answers with what a causal language model writes next.

    Args:
        model: a folder, a trained model's name or a hub id; the shipped GPT by default.
        device: where the model runs.
        seed: makes replies repeatable; without one every reply is another.
        temperature: 0 always takes the likeliest token; higher is more daring.
        top_p: only the likeliest tokens that make up this much probability are drawn from.
        max_new_tokens: where a reply is cut off at the latest.
        persona: whom to imitate, of those the model has learnt; the first of them by default.
        dtype: the torch number type of the weights; the device's best by default.
    """

    name = "gpt"
    invents = True

    def __init__(
        self,
        model: str | None = None,
        device: str = "auto",
        seed: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        max_new_tokens: int | None = None,
        persona: str | None = None,
        dtype: Any = None,
    ) -> None:
        given = all_checked(seed=seed, temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens)
        self.generator = Generator(model, device, dtype)
        self.sampling = dataclasses.replace(self.generator.sampling, **given)
        self.notes = self.generator.notes
        known = self.generator.personas
        if persona is not None and persona not in known:
            raise UsageError(
                f"--persona '{persona}': 이 모델이 배운 사람이 아니에요. "
                + (f"{', '.join(known)} 중에서 골라 주세요." if known else "빼고 다시 실행해 주세요.")
            )
        self.speaker = persona or next(iter(known), None)

    def stream(self, conversation: Conversation) -> Iterator[str | Reply]:
        """Yield the reply piece by piece as tokens are decoded, the :class:`Reply` last."""
        started = time.perf_counter()
        generated = Generated()
        prompt, sampling = self._prompt(conversation), self._sampling(conversation)
        for piece in self.generator.stream(prompt, sampling, generated):
            if piece:
                yield piece
        yield self._reply(generated, time.perf_counter() - started)

    def reply_many(self, conversations: Sequence[Conversation]) -> list[Reply]:
        """Answer several conversations in batches; ``seconds`` is each one's share of the time."""
        if not conversations:
            return []
        started = time.perf_counter()
        found = self.propose(conversations)
        seconds = (time.perf_counter() - started) / len(found)
        return [self._reply(generated, seconds) for (generated,) in found]

    def propose(
        self,
        conversations: Sequence[Conversation],
        examples: Sequence[Sequence[Exchange]] | None = None,
        count: int = 1,
    ) -> list[list[Generated]]:
        """Return ``count`` replies to each conversation, its examples shown before.

        Without chance there is only one. The first of several is what a single one would be.
        """
        shown = examples or [()] * len(conversations)
        samplings = [self._sampling(conversation) for conversation in conversations]
        alike: dict[Sampling, list[int]] = {}
        for i, sampling in enumerate(samplings):
            alike.setdefault(dataclasses.replace(sampling, seed=None), []).append(i)
        proposals: list[list[Generated]] = [[] for _ in conversations]
        for sampling, places in alike.items():
            rows = [(i, nth) for i in places for nth in range(count if sampling.temperature else 1)]
            prompts = {i: self._prompt(conversations[i], shown[i]) for i in places}
            seeds = [
                None if seed is None else seed + nth * _OTHER_CHANCE
                for seed, nth in ((samplings[i].seed, nth) for i, nth in rows)
            ]
            found = self.generator.generate([prompts[i] for i, _ in rows], sampling, seeds=seeds)
            for (i, _), generated in zip(rows, found, strict=True):
                proposals[i].append(generated)
        return proposals

    @property
    def settings(self) -> dict[str, object]:
        """What ``/set`` can change."""
        return {name: getattr(self.sampling, name) for name in SETTINGS}

    def adjust(self, name: str, value: str) -> None:
        """Change how tokens are chosen from now on."""
        self.sampling = dataclasses.replace(self.sampling, **{name: adjusted(self.name, name, value)})

    def _prompt(self, conversation: Conversation, examples: Sequence[Exchange] = ()) -> list[int]:
        style, room = reply_style(conversation), self.sampling.max_new_tokens
        return self.generator.prompt(conversation.turns, style, room, self.speaker, examples)

    def _sampling(self, conversation: Conversation) -> Sampling:
        """Return the settings for this reply: other chance for every turn and every new try."""
        sampling = self.sampling
        tries = len(conversation.rejected)
        if tries and sampling.temperature < RETRY_TEMPERATURE:
            sampling = dataclasses.replace(sampling, temperature=RETRY_TEMPERATURE)
        if sampling.seed is not None:
            seed = sampling.seed + len(conversation.turns) + 1000 * tries
            sampling = dataclasses.replace(sampling, seed=seed)
        return sampling

    def _reply(self, generated: Generated, seconds: float) -> Reply:
        return Reply(
            generated.text,
            backend=self.name,
            model=self.generator.name,
            score=generated.confidence,
            seconds=seconds,
            tokens=len(generated.ids),
        )

"""Hybrid: retrieval looks, GPT writes with what was found as examples, a reranker helps to choose.

What retrieval is sure of is said outright. Else candidates of several kinds are weighed by the grade that
a reader would give them: answers to what is nearest, a good listener's plain replies to what is nearest, what
GPT writes when it is shown some of these as examples, words that ask back, and admitting not to know.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from chatbot.backends.retrieval import Found, RetrievalBackend, one_an_answer
from chatbot.backends.settings import adjusted, all_checked
from chatbot.dialogue import Backend, Candidate, Conversation, Reply
from chatbot.models.encoder import Progress
from chatbot.models.format import Exchange
from chatbot.models.reranker import Reranker, context_text
from chatbot.stock_replies import replies_to, stock_replies
from chatbot.text import squeeze

if TYPE_CHECKING:
    from chatbot.backends.gpt import GptBackend

SHOTS = 2
PROPOSALS = 4  # replies that GPT writes to each utterance
LOOKED_AT = 8  # retrieved answers, and as many plain replies, that are weighed
# What is to the point is liked more than what always fits, by so much more than its grade (LOG.md).
_TO_THE_POINT = 0.1
_WEARS = 0.85  # what is left of that each time it is done in one talk
Kind = Literal["nearest", "retrieved", "plain", "written", "open", "admission"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_SEARCHED: tuple[Kind, ...] = ("nearest", "retrieved", "plain", "admission")  # their own score is a search's
_KOREAN: Mapping[Kind, str] = {
    "nearest": "검색한 답",
    "retrieved": "검색한 다른 답",
    "plain": "맞장구",
    "written": "GPT가 쓴 답",
    "open": "되묻는 말",
    "admission": "모른다는 말",
}


@dataclass(frozen=True)
class Decision:
    """How candidates are weighed, fitted on graded replies.

    For each kind (``nearest`` is the best answer found, ``retrieved`` the others), ``weights`` are those of
    a constant, of the candidate's own score (of the search, or GPT's confidence), of the reranker's, and of
    how strange the utterance is; the logistic function of the sum is the grade to expect, in 0..1. From the
    search score ``confident`` on retrieval answers outright. Search scores are those of an index with this
    ``floor``; others, of another encoder say, are moved by the difference.
    """

    weights: Mapping[Kind, Sequence[float]] = field(
        default_factory=lambda: dict.fromkeys(KINDS, (-6.0, 8.0, 0.0, 0.0))
    )
    confident: float = 0.8
    floor: float | None = None

    def moved(self, search: float, found: Found) -> float:
        """Return a search score as the weights know it."""
        return search if self.floor is None else search + self.floor - found.floor

    def grade(self, kind: Kind, own: float, fits: float, strangeness: float) -> float:
        """Return the grade to expect of a candidate."""
        constant, *rest = self.weights[kind]
        odds = constant + sum(w * x for w, x in zip(rest, (own, fits, strangeness), strict=True))
        return 1 / (1 + math.exp(-odds))


class Proposal(NamedTuple):
    """A candidate before it is weighed; ``own`` is its own score, ``tokens`` are those GPT wrote."""

    kind: Kind
    text: str
    own: float
    source: str
    tokens: int | None = None


class HybridBackend(Backend):
    """Answers with the best of what was retrieved, what GPT makes of it, and what always fits.

    ``speaker`` is in whose name the last answer came, ``None``: the bot's own; ``speakers`` those of the last
    batch. Over a personal dataset the listener's plain replies are left out: nobody there speaks so.

    Args:
        model: the generator: a folder, a trained model's name or a hub id; the shipped GPT by default.
        encoder: what embeds the pairs, named alike; the shipped encoder by default.
        data: a file or dataset of pairs; the shipped set by default.
        device: where the models run.
        shots: how many retrieved pairs GPT is shown as examples: 0 is zero-shot, 1 one-shot.
        seed, temperature, top_p, max_new_tokens, persona: as for the GPT backend.
        reranker: what helps to choose, named like the encoder; the shipped one by default.
        scorer: as for the retrieval backend.
        progress: called with ``(done, total)`` while an index is built.
    """

    name = "hybrid"
    invents = True

    def __init__(
        self,
        model: str | None = None,
        encoder: str | None = None,
        data: str | None = None,
        device: str = "auto",
        shots: int | None = None,
        seed: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        max_new_tokens: int | None = None,
        persona: str | None = None,
        reranker: str | None = None,
        scorer: str = "fused",
        progress: Progress | None = None,
    ) -> None:
        given = all_checked(
            shots=shots, seed=seed, temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens
        )
        self.shots: int = given.pop("shots", SHOTS)
        self.retrieval = RetrievalBackend(encoder, data, device, scorer, progress)
        if self.retrieval.builds_indexes:  # plain replies are looked for over pairs of one's own, too
            self.retrieval.prepare(progress)
        self._for_gpt: dict[str, Any] = {"model": model, "device": device, "persona": persona, **given}
        self.reranker = Reranker(reranker, device)
        self.decision = Decision(**self.reranker.decision)
        self.notes = list(dict.fromkeys([*self.retrieval.notes, *self.reranker.notes]))
        if model or persona:  # what may not be there is asked for at once
            _ = self.gpt
        self.speaker: str | None = None
        self.speakers: list[str | None] = []

    @property
    def written(self) -> RetrievalBackend:
        """What answers in written words alone."""
        return self.retrieval

    @cached_property
    def gpt(self) -> GptBackend:
        """The generator, opened when it is first needed: what retrieval is sure of does without."""
        from chatbot.backends.gpt import GptBackend

        gpt = GptBackend(**self._for_gpt)
        self.notes += [note for note in gpt.notes if note not in self.notes]
        return gpt

    def prepare(self) -> None:
        """Open the generator and the listener's lines now, so that no answer is the one that waits."""
        self.retrieval.prepare()
        _ = self.gpt

    def stream(self, conversation: Conversation) -> Iterator[str | Reply]:
        """Yield the answer in one piece, then the :class:`Reply` with all its candidates."""
        (reply,) = self.reply_many([conversation])
        yield reply.text
        yield reply

    def reply_many(self, conversations: Sequence[Conversation]) -> list[Reply]:
        """Answer several conversations in batches; ``seconds`` is each one's share of the time."""
        self.speakers = []
        if not conversations:
            return []
        started = time.perf_counter()
        found = self.retrieval.search(conversations)
        unsure = [i for i, one in enumerate(found) if not self.sure(one)]
        proposals = self.proposals([conversations[i] for i in unsure], [found[i] for i in unsure])
        proposed = dict(zip(unsure, proposals, strict=True))
        replies = [
            self._chosen(conversation, one, proposed[i])
            if i in proposed
            else self._outright(conversation, one)
            for i, (conversation, one) in enumerate(zip(conversations, found, strict=True))
        ]
        self.speaker = self.speakers[-1]
        seconds = (time.perf_counter() - started) / len(replies)
        return [replace(reply, seconds=seconds) for reply in replies]

    def sure(self, found: Found) -> bool:
        """Tell whether retrieval answers outright."""
        return self._search_score(found) >= self.decision.confident

    def _search_score(self, found: Found) -> float:
        return self.decision.moved(self.retrieval.says(found)[0], found)

    def proposals(
        self, conversations: Sequence[Conversation], found: Sequence[Found]
    ) -> list[list[Proposal]]:
        """Return what may be said in each conversation, every text once."""
        if not conversations:
            return []
        plain = self.plain(found, LOOKED_AT)
        examples = [self._examples(*both) for both in zip(found, plain, strict=True)]
        written = self.gpt.propose(conversations, [shown for shown, _ in examples], PROPOSALS)
        proposals = []
        for conversation, one, replies, (_, source), texts in zip(
            conversations, found, plain, examples, written, strict=True
        ):
            retrieved = self.retrieval.candidates(conversation, one, LOOKED_AT)
            kinds: list[Kind] = ["nearest", *["retrieved"] * (len(retrieved) - 1)]  # type: ignore[list-item]
            every = [
                Proposal(kind, c.text, c.score, c.source) for kind, c in zip(kinds, retrieved, strict=True)
            ]
            every += replies
            every += [Proposal("written", g.text, g.confidence or 0.0, source, len(g.ids)) for g in texts]
            every += self.open_words(conversation, one)
            every.append(Proposal("admission", self.retrieval.admission(conversation, one), one.score, ""))
            unique: dict[str, Proposal] = {}
            for proposal in every:
                unique.setdefault(squeeze(proposal.text) or proposal.text, proposal)
            proposals.append(list(unique.values()))
        return proposals

    def weighed(
        self, conversation: Conversation, found: Found, proposals: Sequence[Proposal]
    ) -> list[tuple[float, Proposal]]:
        """Return the proposals with the grade to expect of each, the best first.

        What was said already, or asked to be replaced, stands behind what was not.
        """
        context = context_text(conversation.turns)
        fits = self.reranker.score([context] * len(proposals), [p.text for p in proposals])
        said = conversation.used()
        always_fits = {text for by_style in stock_replies("open").values() for text in by_style[found.style]}
        asked_back = sum(text in always_fits for text in said)
        graded = []
        for proposal, fit in zip(proposals, fits, strict=True):
            own = self.decision.moved(proposal.own, found) if proposal.kind in _SEARCHED else proposal.own
            grade = self.decision.grade(proposal.kind, own, float(fit), found.query.strangeness)
            if proposal.kind in ("open", "admission"):
                grade = max(grade - _TO_THE_POINT, 0.0)
            if proposal.kind == "open":
                grade *= _WEARS**asked_back
            graded.append((grade, proposal))
        return sorted(graded, key=lambda pair: (said.count(pair[1].text), -pair[0]))

    def plain(self, found: Sequence[Found], count: int) -> list[list[Proposal]]:
        """Return the listener's ``count`` replies to what is nearest, in the speech level asked for."""
        return [
            [
                Proposal("plain", entry.answers.in_style(one.style)[0], score, entry.question)
                for score, entry in one_an_answer(one.plain, count)
            ]
            for one in found
        ]

    def open_words(self, conversation: Conversation, found: Found) -> list[Proposal]:
        """Return replies that fit any question, or anything told; asked back they keep the talk going."""
        said = conversation.turns[-1].text
        return [Proposal("open", text, 0.0, "") for text in replies_to(said, found.style, "open")]

    def _examples(self, found: Found, plain: Sequence[Proposal]) -> tuple[list[Exchange], str]:
        """Return the nearest pairs, the nearest last, beside what is to be answered; and a name for them."""
        nearest = [Exchange(p.source, p.text) for p in plain]
        if not nearest:
            suited = [pair for pair in found.ranked if pair[1].answers.has_style(found.style)]
            nearest = [
                Exchange(entry.question, entry.answers.in_style(found.style)[0])
                for _, entry in one_an_answer(suited, self.shots)
            ]
        shown = nearest[: self.shots][::-1]
        asked = ", ".join(example.question for example in shown)
        return shown, f"예시 {len(shown)}개" + (f" ← {asked}" if asked else "")

    def _outright(self, conversation: Conversation, found: Found) -> Reply:
        self.speakers.append(found.speaker)
        reply = self.retrieval.answer(conversation, found, asks_back=False)
        score, limit = self._search_score(found), self.decision.confident
        reason = f"검색한 답을 바로 골랐어요: 검색 점수 {score:.3f}, 기준 {limit:.3f}."
        return replace(reply, backend=self.name, reason=reason)

    def _chosen(self, conversation: Conversation, found: Found, proposals: Sequence[Proposal]) -> Reply:
        """Return the best candidate."""
        ranked = self.weighed(conversation, found, proposals)
        grade, best = ranked[0]
        candidates = tuple(
            Candidate(p.text, g, " · ".join(filter(None, (_KOREAN[p.kind], p.source)))) for g, p in ranked
        )
        theirs = {"nearest": found.speaker, "retrieved": found.speaker, "written": self.gpt.speaker}
        self.speakers.append(theirs.get(best.kind))
        reason = f"후보 {len(ranked)}개를 견주어 골랐어요: {_KOREAN[best.kind]}, 점수 {grade:.3f}."
        model = f"{self.retrieval.encoder.name}+{self.gpt.generator.name}"
        return Reply(best.text, self.name, model, grade, candidates, tokens=best.tokens, reason=reason)

    def teach(self, question: str, answer: str) -> None:
        """Answer ``question`` with ``answer`` from now on, in this and every later conversation."""
        self.retrieval.teach(question, answer)

    @property
    def settings(self) -> Mapping[str, object]:
        """What ``/set`` can change."""
        return {"shots": self.shots, **self.retrieval.settings, **self.gpt.settings}

    def adjust(self, name: str, value: str) -> None:
        """Change how is searched, how many examples are shown, or how tokens are chosen."""
        if name in self.retrieval.settings:
            self.retrieval.adjust(name, value)
        elif name == "shots":
            self.shots = adjusted(self.name, name, value, self.settings)
        else:
            self.gpt.adjust(name, adjusted(self.name, name, value, self.settings))

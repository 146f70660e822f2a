"""Retrieval: embed the utterance, find the nearest question, say one of its answers."""

from __future__ import annotations

import re
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter

import numpy as np

from chatbot.calibration import SCORERS, Scorer
from chatbot.clauses import runs_of_clauses
from chatbot.dialogue import Backend, Candidate, Conversation, Reply
from chatbot.errors import UsageError
from chatbot.index import Index, Query, Similarities, open_index
from chatbot.knowledge import (
    Answers,
    Entry,
    context_of,
    load_knowledge,
    load_listening,
    load_taught,
    teach,
)
from chatbot.models.encoder import OnnxEncoder, Progress, load_encoder
from chatbot.stock_replies import replies_to, stock_replies
from chatbot.style import Style, reply_style
from chatbot.text import one_line

Ranked = list[tuple[float, Entry]]  # best first
_HANGUL = re.compile("[가-힣]+")

KEPT_CANDIDATES = 5
OFFERED = 2  # questions named when the bot does not know
_RANKED = 200  # entries looked at more closely: the wordings of a set come together
# An entry that can only answer in the other speech level must match this much better.
_WRONG_STYLE = 0.15
# So much better must the shipped set match to speak instead of the person imitated.
_FAR_BETTER = 0.3
# What somebody took the trouble to teach wins against what shipped and matches a little better.
_TAUGHT = 0.1
# A listener's plain reply fits more than its own line: it is said so far below the floor, too (LOG.md),
_FITS_MORE = 0.15
# unless a question is nearly in the same words: its answers are several, and the listener's are few.
_SAME_WORDS = 0.9
# So little above the floor half of what is said is beside the point (LOG.md): a part of the utterance may
# be nearer to something, and to ask back is never wrong,
_DOUBT = 0.06
_STRANGE = 0.5  # unless facts are asked for: then it is honest not to know.
# What a reply takes up of its own line and nobody said here costs so much, a pair of syllables.
_UNSAID, _UNSAID_AT_MOST = 0.015, 3


@dataclass(frozen=True)
class Found:
    """What was found for an utterance: entries, best first, and how to answer from them.

    ``query`` is the utterance as it was looked up; ``floor`` is the score under which the best is none;
    ``speaker`` is in whose name the answers are, ``None``: the bot's own. ``hear`` finds what a good listener
    replied to what is most like an utterance, best first.
    """

    query: Query
    ranked: Ranked
    style: Style
    floor: float
    speaker: str | None
    hear: Callable[[Query, Style], Ranked]

    @cached_property
    def plain(self) -> Ranked:
        """The listener's replies, looked up when they are first needed."""
        return self.hear(self.query, self.style)

    @property
    def score(self) -> float:
        """The best entry's score."""
        return self.ranked[0][0]

    @property
    def known(self) -> bool:
        """Whether the best entry is near enough to answer."""
        return self.score >= self.floor


class RetrievalBackend(Backend):
    """Answers with the nearest of its questions, or says that it does not know.

    Over the shipped set it gives a listener's plain reply where a line of theirs is nearer than any
    question and no question is in nearly the same words. Over a personal dataset it answers as the
    person imitated, and falls back to the shipped set where nothing of theirs is near enough; ``speaker`` is
    who gave the last answer, ``None`` the bot itself, and ``speakers`` who gave each of the last batch.

    Args:
        encoder: a folder, a trained model's name or a hub id; the shipped encoder by default.
        data: a file or dataset of pairs; the shipped set by default.
        device: where the encoder runs.
        scorer: ``"fused"`` (default), ``"dense"`` or ``"tfidf"``.
        progress: called with ``(done, total)`` while an index is built.
    """

    name = "retrieval"

    def __init__(
        self,
        encoder: str | None = None,
        data: str | None = None,
        device: str = "auto",
        scorer: str = "fused",
        progress: Progress | None = None,
    ) -> None:
        self.scorer = _scorer(scorer)
        self.knowledge = load_knowledge(data)
        self.encoder = load_encoder(encoder, device)
        self.notes = self.encoder.notes
        self.index = open_index(self.knowledge, self.encoder, progress)
        self.fallback = None
        if self.knowledge.speaker:
            self.fallback = open_index(load_knowledge(None), self.encoder, progress)
        self._listens = data is None  # who brings pairs of their own wants to hear those
        # The indexes that ship are of the shipped encoder on the CPU; others are built now, not in a talk.
        self.builds_indexes = bool(encoder) or not isinstance(self.encoder, OnnxEncoder)
        if self.builds_indexes and self._listens:
            self.prepare(progress)
        self.speaker: str | None = None
        self.speakers: list[str | None] = []
        self.taught = self.index.beside(load_taught().entries)

    @cached_property
    def listening(self) -> Index | None:
        """The listener's lines, opened when they are first needed; none over a personal dataset."""
        return self._open_listening()

    def _open_listening(self, progress: Progress | None = None) -> Index | None:
        if self.knowledge.speaker:
            return None
        index = open_index(load_listening(), self.encoder, progress)
        index.calibration = self.index.calibration  # so that scores can be compared
        return index

    def prepare(self, progress: Progress | None = None) -> None:
        """Open the listener's lines now, so that no answer is the one that waits for them."""
        if "listening" not in vars(self):
            self.listening = self._open_listening(progress)

    def stream(self, conversation: Conversation) -> Iterator[str | Reply]:
        """Yield the answer in one piece, then the :class:`Reply` with its candidates."""
        (reply,) = self.reply_many([conversation])
        yield reply.text
        yield reply

    def reply_many(self, conversations: Sequence[Conversation]) -> list[Reply]:
        """Answer several conversations in batches; ``seconds`` is each one's share of the time."""
        started = time.perf_counter()
        found = self.search(conversations)
        replies = list(map(self.answer, conversations, found))
        self.speakers = [one.speaker for one in found]
        self.speaker = self.speakers[-1] if found else None
        seconds = (time.perf_counter() - started) / max(len(replies), 1)
        return [replace(reply, seconds=seconds) for reply in replies]

    def search(self, conversations: Sequence[Conversation]) -> list[Found]:
        """Return what is found for the last utterance of each conversation."""
        styles = [reply_style(conversation) for conversation in conversations]
        return self._look_up([_last_exchange(conversation) for conversation in conversations], styles)

    def _look_up(self, said: Sequence[tuple[str, str]], styles: Sequence[Style]) -> list[Found]:
        """Return what is found for utterances, each with what went before, for answers in ``styles``."""
        queries = self.index.queries(said, [self.taught])
        taught = self._rank(self.taught, queries, styles)
        own = self._rank(self.index, queries, styles)
        shipped = self._rank(self.fallback, queries, styles) if self.fallback else own
        # Stable: ties keep what was taught first.
        own, shipped = (
            [sorted(mine + rest, key=lambda pair: -pair[0]) for mine, rest in zip(taught, known, strict=True)]
            for known in (own, shipped)
        )
        return list(map(self._better, queries, styles, own, shipped))

    def candidates(self, conversation: Conversation, found: Found, count: int) -> list[Candidate]:
        """Return the best answers found, one of each kind, best first."""
        return [
            Candidate(_next_answer(entry.answers, found.style, conversation), score, _source(entry))
            for score, entry in one_an_answer(found.ranked, count)
        ]

    def answer(self, conversation: Conversation, found: Found, asks_back: bool = True) -> Reply:
        """Return the best answer found, or an admission not to know.

        Where nothing is near, what a part of the utterance is near to (its score is then a mean, see
        :meth:`_nearest_to_a_part`), else words that ask back; neither without ``asks_back``.
        """
        candidates = self.candidates(conversation, found, KEPT_CANDIDATES)
        score, entry = self.says(found)
        heard = entry is not found.ranked[0][1]
        text = reason = None
        if asks_back and self._doubts(found, score, entry):
            if nearest := self._nearest_to_a_part(conversation, found):
                score, entry, part = nearest
                heard, reason = True, f"말 전체에는 가까운 것이 없지만 '{part}'에는 있어서 그 답을 골랐어요."
            elif text := self._asks_back(conversation, found):
                reason = (
                    f"가장 가까운 말도 점수가 {score:.3f}라서 되물었어요: 기준 {found.floor + _DOUBT:.3f}."
                )
        if heard:
            plain = Candidate(_next_answer(entry.answers, found.style, conversation), score, _source(entry))
            others = [one for one in candidates if one.text != plain.text]
            candidates = [plain, *others[: KEPT_CANDIDATES - 1]]
        if not text:
            text = candidates[0].text if heard or found.known else self.admission(conversation, found)
        model = f"{self.encoder.name}/{self.scorer}"
        confidence = max(0.0, min(1.0, score))
        return Reply(text, self.name, model, confidence, tuple(candidates), reason=reason)

    def says(self, found: Found) -> tuple[float, Entry]:
        """Return the entry nearest to the whole utterance, a question's or a listener's, with its score."""
        return found.plain[0] if self._hears(found) else found.ranked[0]

    def _hears(self, found: Found) -> bool:
        """Tell whether a listener's plain reply is the better answer."""
        nearest = found.ranked[0][1]
        own = nearest.context or nearest in self.taught.entries
        if not self._listens or (found.known and own) or found.score >= _SAME_WORDS:
            return False
        least = max(found.score, found.floor - _FITS_MORE)
        return bool(found.plain) and found.plain[0][0] >= least

    def _doubts(self, found: Found, score: float, entry: Entry) -> bool:
        """Tell whether what is nearest is so far that half of such answers are beside the point.

        Not over pairs of one's own, nor where facts are asked for: to those an admission is honest.
        """
        own = entry.context or entry in self.taught.entries
        near = score >= found.floor + _DOUBT
        return self._listens and not own and not near and found.query.strangeness < _STRANGE

    def _nearest_to_a_part(self, conversation: Conversation, found: Found) -> tuple[float, Entry, str] | None:
        """Return what some of the utterance's clauses are nearest to, with its score and their words.

        The score is the mean of that for those clauses and that for the whole utterance: by itself
        a clause may be about anything. ``None`` where that is not enough, either.
        """
        parts = runs_of_clauses(conversation.turns[-1].text)
        whole = _standing_alone(found)
        near = self._look_up([(part, "") for part in parts], [found.style] * len(parts))
        scored = (
            ((score + whole[source][0]) / 2, entry, part)
            for part, one in zip(parts, near, strict=True)
            for source, (score, entry) in _standing_alone(one).items()
            if source in whole
        )
        best = max(scored, key=itemgetter(0), default=None)
        return best if best and best[0] >= found.floor + _DOUBT else None

    def _asks_back(self, conversation: Conversation, found: Found) -> str | None:
        """Return words that ask back, ``None`` if such words were the last it said."""
        words = stock_replies("unsure").values()
        if any(text in by_style[found.style] for text in conversation.used()[-1:] for by_style in words):
            return None
        said = conversation.turns[-1].text
        return _least_used(replies_to(said, found.style, "unsure"), said, conversation)

    def admission(self, conversation: Conversation, found: Found) -> str:
        """Return how the bot says that it does not know, with the closest questions it does."""
        alone = [(score, entry) for score, entry in found.ranked if not entry.context]
        closest = [entry.question for _, entry in one_an_answer(alone, OFFERED)]
        return self._unknown(closest, found.style, conversation)

    def teach(self, question: str, answer: str) -> None:
        """Answer ``question`` with ``answer`` from now on, in this and every later conversation."""
        teach(question, answer)
        self.taught = self.index.beside(load_taught().entries)

    @property
    def settings(self) -> dict[str, object]:
        """What ``/set`` can change."""
        return {"scorer": self.scorer}

    def adjust(self, name: str, value: str) -> None:
        """Change the scorer."""
        if name != "scorer":
            raise UsageError(f"retrieval 백엔드의 설정은 scorer뿐이에요. '{name}'은(는) 바꿀 수 없어요.")
        self.scorer = _scorer(value)

    def _better(self, query: Query, style: Style, own: Ranked, shipped: Ranked) -> Found:
        """Return what to answer from.

        The shipped set answers what is below a personal dataset's floor, and what it knows far better.
        """
        floor = self.index.calibration.floor(self.scorer)
        if self.fallback is not None and (own[0][0] < floor or own[0][0] < shipped[0][0] - _FAR_BETTER):
            return Found(
                query, shipped, style, self.fallback.calibration.floor(self.scorer), None, self._plain
            )
        theirs = own[0][1] not in self.taught.entries
        return Found(query, own, style, floor, self.knowledge.speaker if theirs else None, self._plain)

    def _plain(self, query: Query, style: Style) -> Ranked:
        """Return the listener's lines that are most like an utterance, answered in its speech level."""
        if self.listening is None:
            return []
        (ranked,) = self._rank(self.listening, [query], [style])
        suited = []
        for score, entry in ranked:
            if entry.answers.has_style(style):
                alone = self._lines[entry.answers.source] <= 1
                suited.append((score - _unsaid(query.text, entry, style) if alone else score, entry))
        return sorted(suited, key=lambda pair: -pair[0])

    @cached_property
    def _lines(self) -> Counter[str]:
        """How many lines a listener's replies were written for."""
        return (
            Counter(entry.answers.source for entry in self.listening.entries) if self.listening else Counter()
        )

    def _rank(self, index: Index, queries: Sequence[Query], styles: Sequence[Style]) -> list[Ranked]:
        """Return the best entries of an index for each query, with their scores."""
        found = index.look_up(queries)
        return [self._nearest(index, similar, style) for similar, style in zip(found, styles, strict=True)]

    def _nearest(self, index: Index, found: Similarities, style: Style) -> Ranked:
        scores = index.score(found, self.scorer)
        order = np.argsort(-scores)
        # Some that stand alone are always among them: they are what is offered at a loss.
        alone = order[~index.has_context[order]]
        ranked = []
        for i in dict.fromkeys([*order[:_RANKED], *alone[:_RANKED]]):
            entry = index.entries[int(i)]
            score = float(scores[i])
            if index is self.taught:
                score += _TAUGHT
            elif not entry.answers.has_style(style):
                score -= _WRONG_STYLE
            ranked.append((score, entry))
        return ranked

    def _unknown(self, closest: list[str], style: Style, conversation: Conversation) -> str:
        """Admit not to know, in words not used yet, and offer the closest questions."""
        said = " ".join(conversation.used())
        start = zlib.crc32(conversation.turns[-1].text.encode())

        def unused(choices: list[str]) -> str:
            turned = choices[start % len(choices) :] + choices[: start % len(choices)]
            return min(turned, key=lambda text: said.count(text.rpartition("{questions}")[2]))

        words = stock_replies("unknown")
        admission = unused(words[style])
        if not closest:
            return admission
        offer = unused(words["offer"][style]).format(questions=", ".join(f"'{q}'" for q in closest))
        return f"{admission} {offer}"


def _scorer(name: str) -> Scorer:
    for scorer in SCORERS:
        if name == scorer:
            return scorer
    raise UsageError(f"scorer '{name}'은(는) 없어요. {', '.join(SCORERS)} 중에서 골라 주세요.")


def _last_exchange(conversation: Conversation) -> tuple[str, str]:
    """Return what was said last, and the exchange before it as the text that is compared."""
    before = [turn.text for turn in conversation.turns[-3:-1]]
    return conversation.turns[-1].text, context_of(map(one_line, before))


def _next_answer(answers: Answers, style: Style, conversation: Conversation) -> str:
    """Return the answer said least often in this conversation, starting anywhere in the list."""
    return _least_used(answers.in_style(style), f"{conversation.id}/{answers.source}", conversation)


def _least_used(choices: Sequence[str], seed: str, conversation: Conversation) -> str:
    """Return what was said least often in this conversation, starting where ``seed`` points to."""
    start = zlib.crc32(seed.encode()) % len(choices)
    return min([*choices[start:], *choices[:start]], key=conversation.used().count)


def _unsaid(said: str, entry: Entry, style: Style) -> float:
    """Return what it costs an entry that its reply takes up words of its only line that were not said here.

    "Three times, that hurts" fits who failed three times, not everybody who failed.
    """
    reply = _syllable_pairs(entry.answers.in_style(style)[0])
    taken_up = (reply & _syllable_pairs(entry.question)) - _syllable_pairs(said)
    return _UNSAID * min(len(taken_up), _UNSAID_AT_MOST)


def _syllable_pairs(text: str) -> set[str]:
    return {word[i : i + 2] for word in _HANGUL.findall(text) for i in range(len(word) - 1)}


def one_an_answer(ranked: Ranked, count: int) -> Ranked:
    """Return the best entry of each kind of answer, ``count`` at most."""
    return list(_by_answers(ranked).values())[:count]


def _standing_alone(found: Found) -> dict[str, tuple[float, Entry]]:
    """Return the best entry of each kind of answer that stands alone, in the speech level wanted."""
    every = sorted((*found.ranked, *found.plain), key=lambda pair: -pair[0])
    return _by_answers([p for p in every if not p[1].context and p[1].answers.has_style(found.style)])


def _by_answers(ranked: Ranked) -> dict[str, tuple[float, Entry]]:
    """Return the best entry of each kind of answer by its source, the first of ``ranked`` being the best."""
    best: dict[str, tuple[float, Entry]] = {}
    for score, entry in ranked:
        best.setdefault(entry.answers.source, (score, entry))
    return best


def _source(entry: Entry) -> str:
    return f"{entry.answers.source} ← {entry.question}"

"""From messages to conversations: sessions parted by silence, bursts merged into turns, pairs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from chatbot.chatlogs.message import Message
from chatbot.dialogue import Role
from chatbot.text import squeeze

Split = Literal["train", "valid", "test"]

DEFAULT_GAP = 3 * 3600.0  # seconds of silence that end a session, where the data cannot tell
_GAP_BOUNDS = (600.0, 12 * 3600.0)
_ENOUGH_GAPS = 100
BURST_GAP = 600.0  # seconds up to which one speaker's messages are one burst
MAX_TURN = 500  # characters; what goes beyond is hardly talk
MAX_SESSION = 400  # turns; a room that never falls silent is cut here
_PASTED = 100  # characters from which the same text again is a pasted notice, not talk
MAX_SAME_ANSWER = 30
_TRAIN, _VALID = 0.8, 0.9

# Runs that people type for emphasis; digits and syllables are left alone: 10000원 stays what it is.
_RUN = re.compile(r"([ㄱ-ㅎㅏ-ㅣ!?~.,^;♡♥…])\1{3,}")
_MIXED_LAUGH = re.compile(r"[ㅋㅎㄱㄲㅌㅊ]{6,}")
_LAUGH_SYLLABLES = re.compile(r"([하허히호흐크키캬]{1,2}?)\1{3,}")


def tidy(text: str) -> str:
    """Bound laughter and other runs to three: ``ㅋㅋㅋㅋㅋㅋ`` becomes ``ㅋㅋㅋ``, ``10000원`` stays."""
    text = _RUN.sub(r"\1\1\1", text)
    text = _MIXED_LAUGH.sub(lambda laugh: laugh.group()[:4], text)
    return _LAUGH_SYLLABLES.sub(r"\1\1\1", text)


def learn_gap(times: npt.NDArray[np.float64]) -> float:
    """Return the seconds of silence that part sessions in this chat.

    Silences within a talk and between talks form two hills in logarithmic time; the threshold
    between them is the one that explains most variance (Otsu 1979, doi:10.1109/TSMC.1979.4310076).

    Args:
        times: seconds, in order.
    """
    gaps = np.diff(times)
    gaps = gaps[gaps >= 60]  # most clocks here show minutes
    if len(gaps) < _ENOUGH_GAPS:
        return DEFAULT_GAP
    counts, edges = np.histogram(np.log(gaps), bins=64)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    if not np.isfinite(between).any():  # all silences are equally long
        return DEFAULT_GAP
    best = int(np.nanargmax(between))
    return float(np.clip(np.exp(edges[best + 1]), *_GAP_BOUNDS))


def split_at(position: float) -> Split:
    """Return the split of what stands at ``position`` in 0..1 of the time.

    The first 80 % is trained on, the next 10 % steers, the last 10 % measures.
    """
    return "train" if position < _TRAIN else "valid" if position < _VALID else "test"


@dataclass(frozen=True)
class Roles:
    """Who is who: the names of the user (``me``) and the one the bot imitates.

    Everybody else counts as a user with a name of their own.
    """

    me: tuple[str, ...]
    bot: str

    def role(self, speaker: str) -> Role:
        """Return the role of a speaker."""
        return "assistant" if speaker == self.bot else "user"


class Utterance(NamedTuple):
    """One turn: a burst of messages by one speaker, its breaks kept as line breaks."""

    role: Role
    name: str
    text: str
    time: datetime | None


@dataclass
class Session:
    """Turns without a long silence between them, and when the first and the last message came."""

    turns: list[Utterance] = field(default_factory=list)
    started: datetime | None = None
    ended: datetime | None = None


class Pair(NamedTuple):
    """What was said to the one imitated, and what they answered, when."""

    question: str
    answer: str
    time: datetime | None


class Limits:
    """How often the same may come, and a count of what came too often or was too long.

    ``counts`` has ``"pasted"`` messages, ``"cut"`` turns, ``"repeated"`` pairs and pairs of ``"no words"``.
    Only hashes are kept, so that a million messages fit.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._pasted: set[int] = set()
        self._pairs: set[int] = set()
        self._answers: Counter[int] = Counter()

    def pasted_before(self, text: str) -> bool:
        """Tell whether a long text came before, from anybody, in the same words."""
        if len(text) < _PASTED:
            return False
        key = hash(squeeze(text))
        if key in self._pasted:
            self.counts["pasted"] += 1
            return True
        self._pasted.add(key)
        return False

    def cut(self, text: str, role: Role) -> str:
        """Return a turn no longer than ``MAX_TURN``: how a reply begins, how what it answers ends."""
        if len(text) <= MAX_TURN:
            return text
        self.counts["cut"] += 1
        return text[:MAX_TURN] if role == "assistant" else text[-MAX_TURN:]

    def allow(self, question: str, answer: str) -> bool:
        """Take a pair unless the same words came before, or the answer very often."""
        asked, answered = squeeze(question), squeeze(answer)
        if not asked or not answered:
            self.counts["no words"] += 1
            return False
        pair = hash((asked, answered))
        if pair in self._pairs or self._answers[hash(answered)] >= MAX_SAME_ANSWER:
            self.counts["repeated"] += 1
            return False
        self._pairs.add(pair)
        self._answers[hash(answered)] += 1
        return True


def sessions(messages: Iterable[Message], roles: Roles, gap: float, limits: Limits) -> Iterator[Session]:
    """Cut messages into sessions and merge every burst by one speaker into one turn.

    Args:
        messages: in order.
        roles: who is who.
        gap: seconds of silence that end a session.
        limits: decides what is left out, and counts it.
    """
    session, part = Session(), 0
    for message in messages:
        if session.turns and (message.part != part or _silent(message, session.ended, gap)):
            yield session
            session = Session()
        part = message.part
        text = tidy(message.text).strip()
        if not text or limits.pasted_before(text):
            continue
        last = session.turns[-1] if session.turns else None
        burst = last and last.name == message.speaker and not _silent(message, session.ended, BURST_GAP)
        if last is not None and burst:
            if last.role == "assistant" and len(last.text) == MAX_TURN:
                continue  # cut already
            session.turns[-1] = last._replace(text=limits.cut(f"{last.text}\n{text}", last.role))
        else:
            if len(session.turns) == MAX_SESSION:
                yield session
                session = Session()
            role = roles.role(message.speaker)
            session.turns.append(Utterance(role, message.speaker, limits.cut(text, role), message.time))
        session.started = session.started or message.time
        session.ended = message.time or session.ended
    if session.turns:
        yield session


def _silent(message: Message, since: datetime | None, gap: float) -> bool:
    if message.time is None or since is None:
        return False
    return (message.time - since).total_seconds() > gap


def pairs(session: Session, limits: Limits) -> Iterator[Pair]:
    """Yield every reply of the one imitated with what was said just before it."""
    for before, turn in zip(session.turns, session.turns[1:]):  # noqa: B905  # neighbours
        if turn.role == "assistant" and before.role == "user" and limits.allow(before.text, turn.text):
            yield Pair(before.text, turn.text, turn.time)

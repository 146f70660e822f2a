"""What is in an import: counted while the messages go by, kept as JSON, drawn by ``screens.dataset``."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from chatbot.chatlogs.conversations import Limits, Roles, Session, Split
from chatbot.chatlogs.message import Message
from chatbot.resources import data_dir
from chatbot.style import speech_level

# Manner and tokens are judged on about so many messages, evenly spread.
_JUDGED = 20_000
_LAUGHTER = re.compile(r"ㅋㅋ|ㅎㅎ|ㅋㅎ|ㅎㅋ|하하|^[ㅋㅎ]$")
_CRYING = re.compile(r"[ㅠㅜ]")
# Pictographs, dingbats and the like (Unicode blocks), as people use them in chats.
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf\u2b50\u2764]")
# Pairs from which retrieval and fine-tuning have something to learn; from our trials with small models.
_FEW, _SOME, _MANY = 200, 2_000, 20_000


_COUNTERS = ("dropped", "masked", "limited")


@dataclass
class Speaker:
    """One speaker's part and manner. Shares are of the messages judged, lengths in characters.

    ``hours`` counts messages by hour of the day.
    """

    messages: int = 0
    turns: int = 0
    polite: float = 0.0
    casual: float = 0.0
    laughter: float = 0.0
    crying: float = 0.0
    emoji: float = 0.0
    length: float = 0.0
    hours: list[int] = field(default_factory=lambda: [0] * 24)

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares, in the order of their fields."""
        return self.polite, self.casual, self.laughter, self.crying, self.emoji

    @property
    def busiest(self) -> list[int]:
        """The three busiest hours, in order of the day."""
        ranked = sorted(range(24), key=lambda hour: -self.hours[hour])[:3]
        return sorted(hour for hour in ranked if self.hours[hour])


@dataclass
class Report:
    """Everything an import has to tell. ``gap`` is in seconds, ``unknown_tokens`` shares by tokenizer."""

    me: tuple[str, ...]
    bot: str
    first: str | None = None
    last: str | None = None
    messages: int = 0
    sessions: int = 0
    pairs: int = 0
    splits: dict[str, int] = field(default_factory=dict)
    gap: float = 0.0
    speakers: dict[str, Speaker] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
    limited: Counter[str] = field(default_factory=Counter)
    unknown_tokens: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["speakers"] = {name: asdict(speaker) for name, speaker in self.speakers.items()}
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Report:
        """Return the report that :meth:`to_json` wrote.

        Raises:
            KeyError, TypeError: it is none.
        """
        speakers = {name: Speaker(**one) for name, one in facts["speakers"].items()}
        counters = {key: Counter(facts[key]) for key in _COUNTERS}
        return cls(**{**facts, **counters, "speakers": speakers, "me": tuple(facts["me"])})

    def verdict(self) -> str:
        """Say honestly, in Korean, what this is enough for."""
        count = f"'{self.bot}'의 대답이 {self.pairs:,}쌍"
        if self.pairs < _FEW:
            return (
                f"{count}뿐이라 학습하기에는 모자라요. 검색으로 바로 이야기해 볼 수는 있지만 "
                "자주 함께 온 대화로 넘어갈 거예요."
            )
        if self.pairs < _SOME:
            return (
                f"{count}이라 검색으로 이야기하기에 괜찮아요. 생성 모델은 말투까지만 배울 수 있고, "
                "내용은 자주 엉뚱할 거예요."
            )
        if self.pairs < _MANY:
            return f"{count}이라 검색에 넉넉하고, 생성 모델도 말투와 자주 하는 말을 배울 만해요."
        return f"{count}이라 검색도 생성 모델 학습도 하기 좋은 양이에요."


class Survey:
    """Counts messages and sessions as they go by."""

    def __init__(self, roles: Roles, total: int) -> None:
        self._report = Report(roles.me, roles.bot, messages=total)
        self._step = max(1, total // _JUDGED)
        self._judged: Counter[str] = Counter()
        self._tokens = _TokenCount()
        self.read = 0

    def add(self, message: Message) -> None:
        """Take a message, in order."""
        speaker = self._report.speakers.get(message.speaker)
        if speaker is None:
            speaker = self._report.speakers[message.speaker] = Speaker()
        speaker.messages += 1
        if message.time is not None:
            speaker.hours[message.time.hour] += 1
            self._report.last = _iso(message.time)
            self._report.first = self._report.first or self._report.last
        if self.read % self._step == 0:
            self._judge(message, speaker)
        self.read += 1

    def add_session(self, session: Session, pairs: int, split: Split) -> None:
        """Take a session and how many pairs it gave."""
        report = self._report
        report.sessions += 1
        report.pairs += pairs
        report.splits[split] = report.splits.get(split, 0) + pairs
        for turn in session.turns:
            report.speakers[turn.name].turns += 1

    def report(self, gap: float, limits: Limits) -> Report:
        """Return the report, when everything has gone by."""
        for name, speaker in self._report.speakers.items():
            judged = max(self._judged[name], 1)
            for share in ("polite", "casual", "laughter", "crying", "emoji", "length"):
                setattr(speaker, share, round(getattr(speaker, share) / judged, 4))
        self._report.gap = gap
        self._report.limited = limits.counts
        self._report.unknown_tokens = self._tokens.shares()
        return self._report

    def _judge(self, message: Message, speaker: Speaker) -> None:
        text = message.text
        self._judged[message.speaker] += 1
        level = speech_level(text)
        speaker.polite += level == "polite"
        speaker.casual += level == "casual"
        speaker.laughter += bool(_LAUGHTER.search(text))
        speaker.crying += bool(_CRYING.search(text))
        speaker.emoji += bool(_EMOJI.search(text))
        speaker.length += len(text)
        self._tokens.add(text)


class _TokenCount:
    """How many tokens of the shipped models' tokenizers are unknown ones."""

    def __init__(self) -> None:
        from tokenizers import Tokenizer

        self._tokenizers = {}
        for name in ("encoder", "gpt"):
            path = data_dir() / "models" / name / "tokenizer.json"
            if path.is_file():
                self._tokenizers[name] = Tokenizer.from_file(str(path))
        self._unknown: Counter[str] = Counter()
        self._all: Counter[str] = Counter()

    def add(self, text: str) -> None:
        """Count a text's tokens."""
        for name, tokenizer in self._tokenizers.items():
            tokens = tokenizer.encode(text, add_special_tokens=False).tokens
            self._all[name] += len(tokens)
            self._unknown[name] += sum(token in ("[UNK]", "<unk>") for token in tokens)

    def shares(self) -> dict[str, float]:
        """Return the share of unknown tokens, by tokenizer."""
        return {name: round(self._unknown[name] / max(self._all[name], 1), 5) for name in self._tokenizers}


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="seconds")

"""LINE's text exports: Japanese, English and Korean, parted by tabs (phones) or by blanks (PC).

A date line gives the day, a record only the time. Phones put a message of several lines in quotes.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from datetime import datetime, time
from itertools import chain
from typing import NamedTuple

from chatbot.chatlogs.message import Dropped, ExportFormat, Message, Reason, make_message
from chatbot.chatlogs.source import Sample, Source

_HALF = r"午前|午後|오전|오후|[AaPp]\.?[Mm]\.?"
_CLOCK = rf"(?:({_HALF}) ?)?([0-9]{{1,2}}):([0-9]{{2}})(?: ?({_HALF}))?"
# Groups: half, hour, minute, half, rest.
_TABBED = re.compile(rf"{_CLOCK}\t(.*)")
_SPACED = re.compile(rf"{_CLOCK} (\S.*)")
_REST = 5

_WEEKDAYS = (
    ("월", "月", "Mon"),
    ("화", "火", "Tue"),
    ("수", "水", "Wed"),
    ("목", "木", "Thu"),
    ("금", "金", "Fri"),
    ("토", "土", "Sat"),
    ("일", "日", "Sun"),
)
_WEEKDAY = r"[월화수목금토일](?:요일)?|[月火水木金土日](?:曜日)?|(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*"
_DAY = re.compile(
    r"([0-9]{4})(?:[/.-]|[년年]) ?([0-9]{1,2})(?:[/.-]|[월月]) ?([0-9]{1,2})[.일日]?"
    rf" ?[(（]?({_WEEKDAY})[)）]?"
    rf"|({_WEEKDAY}), ([0-9]{{1,2}})/([0-9]{{1,2}})/([0-9]{{4}})"
)
_LONGEST_DAY = 40

_MEDIA = re.compile(
    r"\[(?:写真|画像|動画|スタンプ|ファイル|ボイスメッセージ|位置情報|ノート|アルバム|連絡先|絵文字"
    r"|Photo|Image|Video|Sticker|File|Voice message|Location|Notes?|Albums?|Contact|Emoji"
    r"|사진|이미지|동영상|스티커|파일|음성 ?메시지|위치(?: ?정보)?|노트|앨범|연락처|이모티콘)\]"
    r"|(?:\((?:emoji|絵文字|이모티콘)\))+"
    r"|☎ ?(?:不在着信|通話時間.*|(?:通話を?)?キャンセル.*|応答なし|通話に応答がありません.*|.*通話が.*ました"
    r"|Missed (?:voice |video )?call|Call time.*|(?:Call )?[Cc]ancel.*|No answer|(?:Voice|Video|Group) call.*"
    r"|부재중 ?(?:전화|통화)|통화 ?시간.*|(?:통화 ?)?취소.*|응답 ?없음|응답이 없.*|.*통화가 .*습니다)\.?"
)
_TAKEN_BACK = (
    r"Message unsent\.?|(?:You )?unsent a message\.?|(?:さん)?が?メッセージの送信を取り消しました。?"
    r"|(?:님이 |이 |가 )?메시지 ?(?:전송|보내기)?[을를] ?(?:취소|삭제)했습니다\.?"
)
_UNSENT = re.compile(_TAKEN_BACK)
_SOMEONE_UNSENT = re.compile(rf".*(?:{_TAKEN_BACK})")
# What happened to a PC's group, where the first word is who did it or already a particle follows.
_EVENT = re.compile(
    r"(?:joined|left) the (?:chat|group)\.?|(?:invited|added) .+ to the (?:chat|group)\.?"
    r"|changed the (?:group|chat)(?:'s)? (?:name|photo|icon).*"
)
_EVENT_LINE = re.compile(r"\S+님이 .*습니다\.?|\S+が\S+ました。?")

_MESSAGE_CHARACTERS = 10_000  # LINE takes no longer message
_NAME_WORDS = 4
_NAME_RECORDS = 300


class _Record(NamedTuple):
    """A line that begins something; nobody's is a notice."""

    time: time
    speaker: str
    text: str


_Parse = Callable[[str], "_Record | None"]
# From what follows the time to speaker and text; ``None`` is no record.
_Split = Callable[[str], "tuple[str, str] | None"]


def _parser(pattern: re.Pattern[str], split: _Split) -> _Parse:
    def parse(line: str) -> _Record | None:
        match = pattern.match(line)
        if match is None:
            return None
        before, hours, minutes, after, rest = match.groups()
        hour, half = int(hours), before or after
        if half:
            hour = hour % 12 + (12 if half in ("午後", "오후") or half[0] in "Pp" else 0)
        parts = split(rest)
        if hour > 23 or int(minutes) > 59 or parts is None:
            return None
        return _Record(time(hour, int(minutes)), *parts)

    return parse


def _split_tabbed(rest: str) -> tuple[str, str]:
    speaker, tab, text = rest.partition("\t")
    return (speaker if speaker.strip() else "", text) if tab else ("", rest)


def _split_spaced(names: dict[str, list[str]]) -> _Split:
    """Return a split of records in which blanks part the text from a name that may hold some."""

    def split(rest: str) -> tuple[str, str] | None:
        if _EVENT_LINE.fullmatch(rest) or _UNSENT.fullmatch(rest):
            return "", rest
        first = rest.split(" ", 1)[0]
        for name in names.get(first, ()):
            if rest.startswith(name) and rest[len(name) : len(name) + 1] in ("", " "):
                text = rest[len(name) + 1 :]
                return ("", rest) if _EVENT.fullmatch(text) else (name, text)
        return None  # a time that somebody wrote

    return split


def _names(source: Source) -> dict[str, list[str]]:
    """Return by their first word the names in a file in which blanks part name and text, longest first."""
    texts: dict[str, list[list[str]]] = defaultdict(list)
    for line in source.lines():
        match = _SPACED.match(line.rstrip("\r\n"))
        first, _, text = match[_REST].partition(" ") if match else ("", "", "")
        if text and len(texts[first]) < _NAME_RECORDS:
            texts[first].append([] if _EVENT.fullmatch(text) or _left_out(first, text) else text.split())
    return {
        first: [*sorted(_longer(first, rows), key=len, reverse=True), first] for first, rows in texts.items()
    }


def _longer(name: str, rows: list[list[str]], words: int = 1) -> list[str]:
    """Return a name with the words that stand behind it in every record."""
    rows = [row for row in rows if row]
    following = Counter(row[0] for row in rows)
    # Two people may share a first word; one message each could as well begin alike.
    enough = 2 if len(following) == 1 else 3
    if not rows or words == _NAME_WORDS or any(len(row) == 1 for row in rows):
        return [name]
    if min(following.values()) < enough:
        return [name]
    return [
        longer
        for word in following
        for longer in _longer(f"{name} {word}", [row[1:] for row in rows if row[0] == word], words + 1)
    ]


def _read_day(line: str, after_blank: bool) -> datetime | None:
    """Return the day a date line names; one with a wrong weekday counts only behind a blank line."""
    match = _DAY.fullmatch(line) if len(line) < _LONGEST_DAY else None
    if match is None:
        return None
    year, month, day, weekday, weekday_first, first, second, last = match.groups()
    weekday = weekday or weekday_first
    # The weekday also tells which of two numbers is the month.
    readings = [(year, month, day)] if year else [(last, first, second), (last, second, first)]
    days = [found for reading in readings if (found := _datetime(*map(int, reading))) is not None]
    for found in days:
        if weekday.startswith(_WEEKDAYS[found.weekday()]):
            return found
    return days[0] if days and after_blank else None


def _datetime(year: int, month: int, day: int) -> datetime | None:
    try:
        return datetime(year, month, day)
    except ValueError:
        return None


def _messages(source: Source, parse: _Parse) -> Iterator[tuple[datetime | None, str, str]]:
    """Yield time, speaker and whole text of every record; nobody speaks in a notice."""
    lines = (raw.rstrip("\r\n") for raw in source.lines())
    ahead: deque[str] = deque()
    day: datetime | None = None
    open_: _Record | None = None
    parts: list[str] = []
    inside = 0
    after_blank = True

    def whole() -> tuple[datetime | None, str, str]:
        assert open_ is not None
        return day and datetime.combine(day, open_.time), open_.speaker, _unquoted("\n".join(parts))

    while (line := ahead.popleft() if ahead else next(lines, None)) is not None:
        record = new_day = None
        if not inside:
            record = parse(line)
            new_day = None if record else _read_day(line, after_blank)
            if (record or new_day) and _is_quote_open(parts):
                inside = _rest_of_quote(chain([line], _peek(ahead, lines)), parse)
        if inside or not (record or new_day):
            inside -= inside > 0
            if open_ is not None:
                parts.append(line)
        else:
            if open_ is not None:
                yield whole()
            open_, parts, day = record, [record.text] if record else [], new_day or day
        after_blank = not line
    if open_ is not None:
        yield whole()


def _unquoted(text: str) -> str:
    text = text.rstrip("\n")
    return text[1:-1] if "\n" in text and text[0] == text[-1] == '"' else text


def _is_quote_open(parts: list[str]) -> bool:
    """Tell whether a message of several lines has begun in quotes that have not ended yet."""
    last = next((part for part in reversed(parts[1:]) if part), '"')
    return parts[:1] != [] and parts[0].startswith('"') and not last.endswith('"')


def _rest_of_quote(lines: Iterator[str], parse: _Parse) -> int:
    """Return how many lines there are to the end of the open quotes; none where they do not end."""
    length = 0
    for count, line in enumerate(lines, start=1):
        length += len(line)
        record = parse(line)
        text = record.text if record else line
        is_odd = text.count('"') % 2 == 1
        if length > _MESSAGE_CHARACTERS or (record and is_odd and text.startswith('"')):
            return 0  # the next message of several lines: this one was never in quotes
        if text.endswith('"') and (is_odd or not record):
            return count
    return 0


def _peek(ahead: deque[str], lines: Iterator[str]) -> Iterator[str]:
    """Yield the lines to come and keep them."""
    yield from tuple(ahead)
    for line in lines:
        ahead.append(line)
        yield line


def _left_out(speaker: str, text: str) -> Reason | None:
    """Return why a whole text is no person's, or ``None``."""
    if _MEDIA.fullmatch(text):
        return "media"
    return "deleted" if _UNSENT.fullmatch(text.removeprefix(speaker).lstrip()) else None


def _read(source: Source, dropped: Dropped) -> Iterator[Message]:
    if _tabbed(source.sample):
        parse = _parser(_TABBED, _split_tabbed)
    else:
        parse = _parser(_SPACED, _split_spaced(_names(source)))
    for moment, speaker, text in _messages(source, parse):
        reason: Reason | None
        if speaker:
            reason = _left_out(speaker, text)
        else:
            reason = "deleted" if _SOMEONE_UNSENT.fullmatch(text) else "system"
        if reason is not None:
            dropped[reason] += 1
        elif (message := make_message(moment, speaker, text, dropped)) is not None:
            yield message


def _tabbed(sample: Sample) -> int:
    """Return how many records parted by tabs there are."""
    return sum(bool((match := _TABBED.match(line)) and "\t" in match[_REST]) for line in sample.lines)


def _recognise(sample: Sample) -> float:
    score = _tabbed(sample)
    if not score and any(_read_day(line, False) for line in sample.lines):
        # lines that begin with a time are common: only under a date line are they records
        score = sum(bool(_SPACED.match(line)) for line in sample.lines)
    return score or (0.5 if sample.lines and sample.lines[0].startswith("[LINE] ") else 0.0)


FORMATS = (ExportFormat("line", "라인", _recognise, _read),)

"""KakaoTalk's text exports: Android, iOS and Windows, Korean and English, 12 and 24 hours.

Mobile exports end a record in CRLF and break a line inside a message with a bare LF. Where a file
still has both, that alone tells a pasted date line from a real one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import chain, pairwise

from chatbot.chatlogs.message import Dropped, ExportFormat, Message, make_message
from chatbot.chatlogs.source import Sample, Source
from chatbot.chatlogs.words import MONTHS, kakaotalk_left_out

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?"
_SPACE = "[ \u00a0\u202f]"
_HALF = r"(?:오전|오후|[AaPp]\.?[Mm]\.?)"
_KO_DAY = r"\d{4}년 \d{1,2}월 \d{1,2}일"
_EN_DAY = rf"{_MONTH} \d{{1,2}}, \d{{4}}"
_CLOCK = r"\d{1,2}:\d{2}"
# How a record begins: a day and a clock, in the order of the layout. English iOS writes what newer
# English Android does.
_ANDROID_STAMPS = (
    rf"(?P<day>{_KO_DAY}) (?P<clock>(?:오[전후] )?{_CLOCK})",
    rf"(?P<clock>{_CLOCK}{_SPACE}?{_HALF}), (?P<day>{_EN_DAY})",
    rf"(?P<day>{_EN_DAY})(?:,| at) (?P<clock>{_CLOCK}(?:{_SPACE}?{_HALF})?)",
)
_IOS_STAMP = rf"(?P<day>\d{{4}}\. ?\d{{1,2}}\. ?\d{{1,2}}\.?) (?P<clock>(?:오[전후] )?{_CLOCK})"
_NUMBERS = re.compile(r"\d+")
_WEEKDAYS_KO = "월화수목금토일"
_WEEKDAYS_EN = "Mon|Tues|Wednes|Thurs|Fri|Satur|Sun"
_DATE_HEADER = re.compile(rf"({_KO_DAY}) ([{_WEEKDAYS_KO}])요일|(?:({_WEEKDAYS_EN})day), ({_EN_DAY})")
_HEADER = re.compile(r".*(?:카카오톡 대화|KakaoTalk Chats)(?: with .+)?(?:-\d+\.txt)?$|Talk_\d{4}\.\d")
_SAVED = re.compile(r"(?:저장한 날짜|Date Saved) ?:")

_WINDOWS_DAY = re.compile(r"-{15} (.+) -{15}")
_WINDOWS_RECORD = re.compile(
    rf"\[(.*?)\] \[((?:{_HALF}{_SPACE})?\d{{1,2}}:\d{{2}}(?:{_SPACE}?{_HALF})?)\] (.*)", re.DOTALL
)
_WINDOWS_SYSTEM = re.compile(
    r".+님이 (?:나갔습니다|들어왔습니다)\.?|.+님이 .+님을 (?:초대했습니다|초대하였습니다|내보냈습니다)\.?"
    r"|.+님을 (?:초대했습니다|초대하였습니다|내보냈습니다)\.?"
    r"|(?:채팅방 )?관리자가 메시지를 가렸습니다\.|.+님이 (?:부)?방장이 되었습니다\.?"
    r"|\S.* invited .+\.|\S.* (?:left|joined) this chatroom\.|\S.* left\."
    r"|.+ has been removed from this chatroom\."
)
_ONE_DAY = timedelta(days=1)


_Patterns = tuple[re.Pattern[str], re.Pattern[str]]
# For each stamp the pattern of a record, and that of anything that begins so.
_STAMPED: list[_Patterns] = [
    (
        re.compile(rf"{stamp}, (?P<name>[^\n]*?) : (?P<text>.*)", re.DOTALL),
        re.compile(rf"{stamp}(?:(?:, | ?: )(?P<rest>.*))?$", re.DOTALL),
    )
    for stamp in (*_ANDROID_STAMPS, _IOS_STAMP)
]

# What a line does: it goes on with what is open, begins a message or a notice, or only ends what is open.
_GO_ON, _MESSAGE, _NOTICE, _END = range(4)
_Event = tuple[int, "datetime | None", str, str]  # what it does, time, speaker, text


@lru_cache(maxsize=8192)
def _day(words: str) -> date:
    """Return the date of ``2024년 5월 1일``, ``2024. 5. 1.`` or ``May 1, 2024``."""
    numbers = [int(n) for n in _NUMBERS.findall(words)]
    if len(numbers) == 3:
        return date(numbers[0], numbers[1], numbers[2])
    return date(numbers[1], MONTHS[words[:3]], numbers[0])


@lru_cache(maxsize=4096)
def _clock(words: str) -> time:
    """Return the time of ``오후 8:02``, ``8:02 PM``, ``PM 8:02`` or ``20:02``."""
    hour, minute = (int(n) for n in _NUMBERS.findall(words))
    half = re.search(r"오[전후]|[AaPp]\.?[Mm]", words)
    if half:
        hour = hour % 12 + (12 if half.group()[0] in "Pp" or half.group() == "오후" else 0)
    return time(hour, minute)


def _read_date(text: str) -> date | None:
    """Return the day a date header names, where its weekday is right."""
    match = _DATE_HEADER.fullmatch(text)
    if match is None:
        return None
    korean, weekday_ko, weekday_en, english = match.groups()
    try:
        day = _day(korean or english)
    except ValueError:
        return None
    weekday = _WEEKDAYS_KO[day.weekday()] == weekday_ko if korean else f"{day:%A}" == f"{weekday_en}day"
    return day if weekday else None


def _assemble(events: Iterator[_Event], dropped: Dropped) -> Iterator[Message]:
    """Put the lines of every message together and leave out what no person wrote."""
    opened: _Event = (_END, None, "", "")
    more: list[str] = []
    for event in chain(events, [(_END, None, "", "")]):
        what = event[0]
        if what == _GO_ON:
            more.append(event[3])
            continue
        if opened[0] == _MESSAGE:
            _, when, speaker, text = opened
            if more:
                text = "\n".join([text, *more])
            if "\r" in text:
                text = text.replace("\r", "\n")
            message = make_message(when, speaker, text, dropped)
            if message is not None:
                reason = kakaotalk_left_out(message.text)
                if reason is None:
                    yield message
                else:
                    dropped[reason] += 1
        if more:
            more = []
        opened = event
        if what == _NOTICE:
            dropped["system"] += 1


def _read_mobile(source: Source, dropped: Dropped) -> Iterator[Message]:
    if _ends_records_in_crlf(source):
        # The bare line feeds in a record are a message's own.
        return _assemble(map(_Stamps().event, source.records()), dropped)
    return _assemble(_lf_events(source), dropped)


def _lf_events(source: Source) -> Iterator[_Event]:
    """Yield what the lines of a re-saved mobile export do, going by their patterns and neighbours."""
    stamps = _Stamps()
    open_since: datetime | None = None
    after_blank = True
    for raw, following in pairwise(chain(source.lines(), [""])):
        line = raw.rstrip("\r\n")
        event = stamps.event(line)
        if event[0] != _GO_ON and open_since is not None:
            pasted = event[0] == _MESSAGE and _long_before(event[1], open_since)
            if pasted or (event[0] == _END and not (after_blank and _begins_day(line, following))):
                event = _GO_ON, None, "", line
        after_blank = not line
        if event[0] != _GO_ON:
            open_since = event[1]
        yield event


class _Stamps:
    """Reads lines that begin with a stamp.

    A day and a clock that were met before need no pattern again: most lines cost two look-ups.
    """

    def __init__(self) -> None:
        self._patterns = list(_STAMPED)
        self._days: dict[str, date] = {}
        self._clocks: dict[str, time] = {}

    def event(self, line: str) -> _Event:
        """Return what a line or record does."""
        stamp, _, rest = line.partition(", ")
        day, parted, clock = stamp.rpartition("일 ")
        if not parted:
            day, parted, clock = stamp.rpartition(". ")
        known_day, known_clock = self._days.get(day), self._clocks.get(clock)
        if known_day and known_clock is not None:
            name, colon, text = rest.partition(" : ")
            if colon and name and not name.isspace() and "\n" not in name:
                return _MESSAGE, datetime.combine(known_day, known_clock), name, text
        return self._matched(line, day, clock if parted else "") or (
            (_GO_ON if _read_date(line) is None else _END),
            None,
            "",
            line,
        )

    def _matched(self, line: str, day: str, clock: str) -> _Event | None:
        for number, (record, other) in enumerate(self._patterns):
            match = record.match(line) or other.match(line)
            if match is None:
                continue
            if number:  # the layout of the last stamp first: a file hardly ever has two
                self._patterns.insert(0, self._patterns.pop(number))
            try:
                when = datetime.combine(_day(match["day"]), _clock(match["clock"]))
            except ValueError:  # no such time, so no stamp
                return None
            if match["clock"] == clock:
                self._days[day], self._clocks[clock] = when.date(), when.time()
            if match.re is not record:
                return (_END if match["rest"] is None else _NOTICE), None, "", ""
            name = match["name"]
            return (_MESSAGE, when, name, match["text"]) if name.strip() else (_NOTICE, None, "", "")
        return None


def _long_before(when: datetime | None, open_since: datetime) -> bool:
    """Tell whether a record is older than the message it stands in by more than any clock is set back."""
    return when is not None and open_since - when > _ONE_DAY


def _begins_day(line: str, following: str) -> bool:
    """Tell whether a date line is the app's own: the next record is of that day or minute."""
    matches = (other.match(following.rstrip("\r\n")) for _, other in _STAMPED)
    match = next(filter(None, matches), None)
    if match is None:
        return False
    day = _read_date(line)
    if day is None:
        return following.startswith(f"{line}, ")
    try:
        return _day(match["day"]) == day
    except ValueError:
        return False


def _ends_records_in_crlf(source: Source) -> bool:
    """Tell whether records end in CRLF, as the apps write them and editors may not keep them.

    What comes before the first record tells: it cannot be inside a message.
    """
    after_crlf = False
    for raw in source.lines():
        if any(other.match(raw.rstrip("\r\n")) for _, other in _STAMPED):
            return after_crlf
        after_crlf = raw.endswith("\r\n")
    return False


def _read_windows(source: Source, dropped: Dropped) -> Iterator[Message]:
    return _assemble(_windows_events(source), dropped)


def _windows_events(source: Source) -> Iterator[_Event]:
    """Yield what the lines of a Windows export do."""
    day: date | None = None
    for raw in source.lines():
        line = raw.rstrip("\r\n")
        match = _WINDOWS_RECORD.match(line)
        if match:
            name, clock, text = match.groups()
            try:
                when = datetime.combine(day, _clock(clock)) if day else None
            except ValueError:  # no such time, so no record
                yield _GO_ON, None, "", line
                continue
            yield (_MESSAGE, when, name, text) if name.strip() else (_NOTICE, None, "", "")
            continue
        new_day = _windows_day(line)
        if new_day is not None:
            day = new_day
            yield _END, None, "", ""
        elif _WINDOWS_SYSTEM.fullmatch(line):
            yield _NOTICE, None, "", ""
        else:
            yield _GO_ON, None, "", line


def _windows_day(line: str) -> date | None:
    if not line.startswith("-" * 15):
        return None
    match = _WINDOWS_DAY.fullmatch(line)
    return _read_date(match.group(1)) if match else None


def _recognise_android(sample: Sample) -> float:
    android = [other for _, other in _STAMPED[:-1]]
    return sum(any(p.match(line) for p in android) for line in sample.lines) + _header_score(sample)


def _recognise_ios(sample: Sample) -> float:
    # What both apps write alike in English, the date lines with a weekday tell apart.
    days = sum(_read_date(line) is not None for line in sample.lines)
    patterns = (_STAMPED[2][1], _STAMPED[3][1]) if days else (_STAMPED[3][1],)
    score = sum(any(p.match(line) for p in patterns) for line in sample.lines)
    return score + days + _header_score(sample) * 0.9


def _recognise_windows(sample: Sample) -> float:
    score = float(sum(bool(_WINDOWS_RECORD.match(line)) for line in sample.lines))
    score += 2 * sum(_windows_day(line) is not None for line in sample.lines)
    return score + _header_score(sample) * 0.8


def _header_score(sample: Sample) -> float:
    """Return a fraction where the first lines are those of a KakaoTalk export."""
    first = [line.strip() for line in sample.lines[:2]]
    return 0.5 if len(first) == 2 and _HEADER.match(first[0]) and _SAVED.match(first[1]) else 0.0


_ME = ("회원님", "you", "You")
FORMATS = (
    ExportFormat("kakaotalk-android", "카카오톡 안드로이드", _recognise_android, _read_mobile, _ME),
    ExportFormat("kakaotalk-ios", "카카오톡 아이폰", _recognise_ios, _read_mobile, _ME),
    ExportFormat("kakaotalk-windows", "카카오톡 PC", _recognise_windows, _read_windows, _ME),
)

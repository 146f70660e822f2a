"""KakaoTalk's text exports: Android, iOS and Windows, Korean and English, 12 and 24 hours.

Mobile exports end a record in CRLF and break a line inside a message with a bare LF. Where a file
still has both, that alone tells a pasted date line from a real one.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import chain, groupby, pairwise
from operator import itemgetter

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
_IOS_DAY = r"\d{4}\. ?\d{1,2}\. ?\d{1,2}\.?"
_IOS_STAMP = rf"(?P<day>{_IOS_DAY}) (?P<clock>(?:오[전후] )?{_CLOCK})"
# A record of the iOS layout that leaves the day to the date lines.
_CLOCK_RECORD = re.compile(
    rf"(?P<clock>(?:오[전후] )?{_CLOCK})(?:, (?P<name>[^\n]*?) : (?P<text>.*)|(?:, |: ).+)", re.DOTALL
)
_NUMBERS = re.compile(r"\d+")
_WEEKDAYS_KO = "월화수목금토일"
_WEEKDAYS_EN = "Mon|Tues|Wednes|Thurs|Fri|Satur|Sun"
_DATE_HEADER = re.compile(
    rf"({_KO_DAY}|{_IOS_DAY}) ([{_WEEKDAYS_KO}])요일|(?:({_WEEKDAYS_EN})day), ({_EN_DAY})"
)
_HEADER = re.compile(r".*(?:카카오톡 대화|KakaoTalk Chats)(?: with .+)?(?:-\d+\.txt)?$|Talk_\d{4}\.\d")
_SAVED_WORDS = ("저장한 날짜", "Date Saved")
_SAVED = re.compile(rf"(?:{'|'.join(_SAVED_WORDS)}) ?:")
# The two lines that every export begins with, and so does each of several put into one file.
_NEW_FILE = re.compile(
    r"^\ufeff?(?:.{0,300}(?:카카오톡 대화|KakaoTalk Chats)(?: with .{1,300})?(?:-\d+\.txt)?"
    rf"|Talk_\d{{4}}\.\d.{{0,300}})\r?\n{_SAVED.pattern}.*\n",
    re.MULTILINE,
)

_WINDOWS_DAY = re.compile(r"-{15} (.+) -{15}")
_WINDOWS_RECORD = re.compile(
    rf"\[(.*?)\] \[((?:{_HALF}{_SPACE})?\d{{1,2}}:\d{{2}}(?:{_SPACE}?{_HALF})?)\] (.*)", re.DOTALL
)
_WINDOWS_SYSTEM = re.compile(
    r".+님이 (?:나갔습니다|들어왔습니다)\.?|.+님이 .+님을 (?:초대했습니다|초대하였습니다|내보냈습니다)\.?"
    r"|.+님을 (?:초대했습니다|초대하였습니다|내보냈습니다)\.?"
    r"|(?:채팅방 )?관리자가 메시지를 가렸습니다\.|.+님이 (?:부)?방장이 되었습니다\.?"
)
_WINDOWS_SYSTEM_EN = re.compile(
    r"(\S.*?) (?:invited .+|(?:left|joined|has been removed from) this chatroom|left)\."
)
_ONE_DAY = timedelta(days=1)
_CHUNK = 1 << 16
_SAMPLE_LINES = 200
_MOST_PASTED = 20  # records in a row
_MOST_LINES = 100  # in a message that quotes records


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


def _read(source: Source, dropped: Dropped) -> Iterator[Message]:
    files = groupby(_pieces(source), key=itemgetter(0))
    return _assemble(
        chain.from_iterable(_file_events(map(itemgetter(1), file)) for _, file in files), dropped
    )


def _pieces(source: Source) -> Iterator[tuple[int, str]]:
    """Yield the text in pieces of whole lines, with the number of the export in this file they are of."""
    number, held = 0, ""
    with source.open_text() as text:
        while chunk := text.read(_CHUNK):
            held += chunk
            start = cut = 0
            if any(words in held for words in _SAVED_WORDS):
                for match in _NEW_FILE.finditer(held):
                    yield number, held[start : match.start()]
                    number, start, cut = number + 1, match.start(), match.end()
            # the last whole line may be the first of a header
            end = "\n" if "\n" in held else "\r"
            cut = max(cut, held.rfind(end, 0, held.rfind(end)) + 1)
            yield number, held[start:cut]
            held = held[cut:]
    yield number, held


def _file_events(pieces: Iterator[str]) -> Iterator[_Event]:
    """Return what the lines of one export do, in the layout that its beginning has."""
    opening = ""
    for piece in pieces:
        opening += piece
        if len(opening) >= _CHUNK // 4:
            break
    pieces = chain([opening], pieces)
    lines = list(_lines([opening]))
    sample = Sample(lines=tuple(line.rstrip("\r\n") for line in lines[:_SAMPLE_LINES]))
    crlf, clock_alone = _record_layout(lines)
    events: Iterator[_Event]
    if _recognise_windows(sample) > max(_recognise_android(sample), _recognise_ios(sample)):
        events = _windows_events(_lines(pieces))
    elif clock_alone:
        events = _clock_events(_records(pieces) if crlf else _lines(pieces))
    elif crlf:
        events = map(_Stamps().event, _records(pieces))
    else:
        events = _lf_events(_lines(pieces))
    return chain([(_END, None, "", "")], events)


def _lines(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the lines with their ends; only CRLF, LF and a lone CR end one."""
    return chain.from_iterable(io.StringIO(piece, newline="") for piece in pieces)


def _records(pieces: Iterable[str]) -> Iterator[str]:
    """Yield what stands between one CRLF and the next: the bare line feeds in it are a message's own."""
    held: list[str] = []
    for piece in pieces:
        first, *more = piece.split("\r\n")
        held.append(first)
        if more:
            records = ["".join(held), *more[:-1]]
            held = more[-1:]
            if "\n" in records[0] or piece.count("\n") - len(more) > _MOST_LINES:
                records = list(chain.from_iterable(map(_parted, records)))
            yield from records
    yield from _parted("".join(held))


def _parted(record: str) -> list[str]:
    """Return the record; its lines, where it is a whole export that was saved again without CRLF."""
    if record.count("\n") > _MOST_LINES:
        lines = record.split("\n")
        if sum(any(other.match(line) for _, other in _STAMPED) for line in lines) > len(lines) / 2:
            return lines
    return [record]


def _record_layout(lines: Iterable[str]) -> tuple[bool, bool]:
    """Tell whether records end in CRLF, as the apps write them, and whether they have a clock alone.

    What comes before the first record tells: it cannot be inside a message.
    """
    crlf = dated = False
    for raw in lines:
        line = raw.rstrip("\r\n")
        if any(other.match(line) for _, other in _STAMPED):
            return crlf, False
        if dated and _CLOCK_RECORD.match(line):
            return crlf, True
        dated = dated or _read_date(line) is not None
        crlf = raw.endswith("\r\n")
    return False, False


def _lf_events(lines: Iterator[str]) -> Iterator[_Event]:
    """Yield what the lines of a re-saved mobile export do, going by their patterns and neighbours."""
    stamps = _Stamps()
    open_since: datetime | None = None
    after_blank = True
    pasted = 0
    held: list[
        tuple[_Event, _Event]
    ] = []  # from the first pasted record on: what each line is, alone and pasted
    for raw, following in pairwise(chain(lines, [""])):
        line = raw.rstrip("\r\n")
        event = alone = stamps.event(line)
        if event[0] != _GO_ON and open_since is not None:
            old = event[0] == _MESSAGE and _long_before(event[1], open_since)
            pasted += old
            if old or (event[0] == _END and not (after_blank and _begins_day(line, following))):
                event = _GO_ON, None, "", line
        after_blank = not line
        if pasted > _MOST_PASTED:  # nobody pastes so much: an older export begins here
            yield from (found for found, _ in held)
            event = alone
        elif pasted and event[0] == _GO_ON:
            held.append((alone, event))
            continue
        else:
            yield from (text for _, text in held)
        pasted, held = 0, []
        if event[0] != _GO_ON:
            open_since = event[1]
        yield event
    yield from (text for _, text in held)


def _clock_events(lines: Iterator[str]) -> Iterator[_Event]:
    """Yield what the lines or records do of an export whose date lines alone say the day."""
    day: date | None = None
    after_blank = True
    for raw, following in pairwise(chain(lines, [""])):
        line = raw.rstrip("\r\n")
        match = _CLOCK_RECORD.match(line)
        new_day = None if match else _read_date(line)
        when = _at(day, match["clock"]) if match else None
        if match and when:
            name = match["name"] or ""
            yield (_MESSAGE, when, name, match["text"]) if name.strip() else (_NOTICE, None, "", "")
        elif new_day and (after_blank or _CLOCK_RECORD.match(following)):
            day = new_day
            yield _END, None, "", ""
        else:
            yield _GO_ON, None, "", line
        after_blank = not line


def _at(day: date | None, clock: str) -> datetime | None:
    """Return a clock's time on a day, ``None`` where there is no such time."""
    try:
        return datetime.combine(day, _clock(clock)) if day else None
    except ValueError:
        return None


class _Stamps:
    """Reads lines that begin with a stamp.

    A day, a clock and a name that were met before need no pattern again: most lines cost three look-ups.
    """

    def __init__(self) -> None:
        self._patterns = list(_STAMPED)
        self._days: dict[str, date] = {}
        self._clocks: dict[str, time] = {}
        self._names: set[str] = set()

    def event(self, line: str) -> _Event:
        """Return what a line or record does."""
        stamp, _, rest = line.partition(", ")
        day, parted, clock = stamp.rpartition("일 ")
        if not parted:
            day, parted, clock = stamp.rpartition(". ")
        known_day, known_clock = self._days.get(day), self._clocks.get(clock)
        if known_day and known_clock is not None:
            name, colon, text = rest.partition(" : ")
            if colon and name in self._names:
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
            if not name.strip():
                return _NOTICE, None, "", ""
            self._names.add(name)
            return _MESSAGE, when, name, match["text"]
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


def _windows_events(lines: Iterator[str]) -> Iterator[_Event]:
    """Yield what the lines of a Windows export do."""
    day: date | None = None
    english = False
    speakers: set[str] = set()
    after_notice = False  # or a date line or a blank one
    for raw in lines:
        line = raw.rstrip("\r\n")
        match = _WINDOWS_RECORD.match(line)
        if match:
            name, clock, text = match.groups()
            try:
                when = datetime.combine(day, _clock(clock)) if day else None
            except ValueError:  # no such time, so no record
                yield _GO_ON, None, "", line
                continue
            speakers.add(name)
            after_notice = False
            yield (_MESSAGE, when, name, text) if name.strip() else (_NOTICE, None, "", "")
            continue
        new_day = _windows_day(line)
        if new_day is not None:
            day, english, after_notice = new_day, "day, " in line, True
            yield _END, None, "", ""
            continue
        notice = english and _WINDOWS_SYSTEM_EN.fullmatch(line)
        # English people write such sentences themselves.
        if _WINDOWS_SYSTEM.fullmatch(line) or (notice and (after_notice or notice[1] in speakers)):
            after_notice = True
            yield _NOTICE, None, "", ""
        else:
            after_notice = not line
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
    if _record_layout(sample.lines)[1]:
        records = sum(_CLOCK_RECORD.match(line) is not None for line in sample.lines)
        return records + days + _header_score(sample) * 0.9
    patterns = (_STAMPED[2][1], _STAMPED[3][1]) if days else (_STAMPED[3][1],)
    score = sum(any(p.match(line) for p in patterns) for line in sample.lines)
    return score + (days if score else 0) + _header_score(sample) * 0.9


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
    ExportFormat("kakaotalk-android", "카카오톡 안드로이드", _recognise_android, _read, _ME),
    ExportFormat("kakaotalk-ios", "카카오톡 아이폰", _recognise_ios, _read, _ME),
    ExportFormat("kakaotalk-windows", "카카오톡 PC", _recognise_windows, _read, _ME),
)

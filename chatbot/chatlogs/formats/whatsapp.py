"""WhatsApp's text exports: Android and iOS, English and Korean, 12 and 24 hours.

The order of day, month and year is nowhere in the file, so a first pass over all dates decides it.
iOS puts U+200E before every text that no person wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime
from functools import lru_cache, partial
from typing import NamedTuple

from chatbot.chatlogs.message import Dropped, ExportFormat, Message, Reason, make_message
from chatbot.chatlogs.source import Sample, Source

_MARK = "[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
_SPACE = "[ \u00a0\u2009\u202f]"
_HALF = rf"오전|오후|[AaPp]\.?{_SPACE}?[Mm]\.?"
_DATE = (
    rf"([0-9]{{1,4}})([/-]|\.{_SPACE}?|년{_SPACE}?)([0-9]{{1,2}})"
    rf"(?:[/-]|\.{_SPACE}?|월{_SPACE}?)([0-9]{{1,4}})[.일]?(,?)"
)
_CLOCK = rf"(?:({_HALF}){_SPACE}?)?([0-9]{{1,2}})[:.]([0-9]{{2}})(?:[:.]([0-9]{{2}}))?(?:{_SPACE}?({_HALF}))?"
_STAMP = rf"{_MARK}*{_DATE}{_SPACE}{_MARK}*{_CLOCK}"
# Groups: three numbers of the date (a separator after the first), comma, half, clock, half, rest.
_ANDROID = re.compile(rf"{_STAMP}{_SPACE}-{_SPACE}(.*)")
_IOS = re.compile(rf"{_MARK}*\[{_STAMP}\]{_SPACE}?(.*)")
_REST = 11

_LRM = "\u200e"
_ORDERS = ("dmy", "mdy", "ymd")
_FIRST_YEAR = 2009  # there was no WhatsApp before

_KOREAN_UI = re.compile(r"<미디어 파일|.*(?:습니다|첨부됨\)|생략됨|제외됨)\.?$")
_NOTICE = re.compile(
    rf"{_MARK}*(?:Messages (?:and calls are|to this|you send to this).*end-to-end encrypt.*"
    r"|메시지(?: 및|와) (?:전화|통화)는 (?:종단 ?간|암호화).*"
    r"|Waiting for this message\. This may take a while\.?|(?:이 )?메시지를 기다리는 중입니다\..*)",
    re.DOTALL,
)
_LONGEST_NAME = 200
# A quoted subject may hold ": " and make the words before it look like a name.
_EVENT_HEAD = re.compile(
    r".* (?:changed the (?:subject|group name|group description)|created (?:this )?group)\b.*[\"“]"
    r"|.+(?:님이|가|이) .*(?:그룹|주제|제목|설명|이름).*[\"“'‘]"
)
# What a group "says" of itself, in a file that has lost its marks.
_GROUP_EVENT = re.compile(
    r"You were added\.?|.+ (?:created this group|added you)\.?|.+ created group [\"“].*"
    r"|.*그룹에 추가되었습니다\.?|그룹 만든이가 .*|.*그룹을 (?:만들었|생성했)습니다\.?"
)
_EDITED = re.compile(
    rf"[ \n]?{_LRM}?<(?:This message was edited|(?:이 )?메시지[가는] (?:수정|편집)(?:되었습니다|됨))\.?>$"
)
_DELETED = re.compile(
    rf"{_MARK}*(?:This message was deleted(?: by admin .+)?|You deleted this message(?: as admin)?"
    r"|(?:이 )?메시지[가는] 삭제되었습니다|삭제[한된] 메시지입니다|(?:이 )?메시지를 삭제했습니다)\.?"
)
_FILE = r"[^\n]*\.\w{0,10}"
_ANDROID_FILE = re.compile(
    rf"{_MARK}*(?:<(?:Media omitted|미디어 파일을 생략한 대화내용|미디어 파일 제외됨)>"
    rf"|{_FILE} \((?:file attached|파일 ?첨부됨?)\))(?:\n(.*))?",
    re.DOTALL,
)
# U+200E also parts a caption from the file after it.
_IOS_FILE = re.compile(
    rf"(?:(.*?)[ \n]?{_LRM})?"
    r"(?:<(?:attached|첨부됨?): [^<>\n]+>"
    r"|(?:[^\n]+ • [^\n]+ )?(?:[Ii]mage|[Vv]ideo(?: note)?|[Aa]udio|[Ss]ticker|GIF|[Dd]ocument|Contact card)"
    r" omitted"
    r"|(?:이미지|사진|비디오|동영상|오디오|음성 메시지|스티커|GIF|문서|연락처(?: 카드)?) (?:생략|제외)됨)",
    re.DOTALL,
)
_IOS_FILE_ENDS = (">", "omitted", "생략됨", "제외됨")
_DOCUMENT = re.compile(
    rf"{_MARK}*[^\n]+\.(?:pdf|docx?|xlsx?|pptx?|hwpx?|txt|csv|zip|apk|epub)(?: • {_MARK}?\d+ ?\S+)?\s*"
)
_MEDIA = re.compile(
    rf"{_MARK}*(?:(?:[Ll]ocation|위치): https?://\S+|live location shared|공유한 실시간 위치"
    r"|Missed (?:group )?(?:voice|video) call|부재중 (?:그룹 )?(?:음성|영상) 통화"
    rf"|(?:POLL|투표):\n.+\n{_MARK}*(?:OPTION|옵션|선택지): .+)\.?",
    re.DOTALL,
)
_IOS_CALL = re.compile(rf"{_LRM}(?:.*\b[Cc]all\b.*|.*(?:통화|전화).*)")
_MENTION = re.compile("@\u2068([^\u2068\u2069\n]*)\u2069")
_ISOLATE = "@\u2068"
_MARKS = re.compile(_MARK)
_SPACES = re.compile(_SPACE)


class _Survey(NamedTuple):
    """What only the whole file tells: the order of its dates, how its lines end, who gives notices."""

    order: str
    ends_in_crlf: bool
    notice_names: frozenset[str]


@lru_cache(maxsize=1024)
def _day(numbers: tuple[int, int, int], order: str) -> date | None:
    """Return the day three numbers name in an order; ``None`` where there is no such day."""
    if numbers[0] > 31:
        order = "ymd"
    year, month, day = (numbers[order.index(part)] for part in "ymd")
    try:
        return date(year + 2000 if year < 100 else year, month, day)
    except ValueError:
        return None


def _time(match: re.Match[str], order: str) -> datetime | None:
    """Return the wall-clock time a stamp names; ``None`` where there is no such time."""
    first, _, second, third, _, before, hours, minute, seconds, after, _ = match.groups()
    day = _day((int(first), int(second), int(third)), order)
    if day is None:
        return None
    hour, half = int(hours), before or after
    if half:
        hour = hour % 12 + (12 if half[0] in "Pp" or half == "오후" else 0)
    try:
        return datetime(day.year, day.month, day.day, hour, int(minute), int(seconds or 0))
    except ValueError:
        return None


class _Dates:
    """Evidence for the order of day, month and year, gathered date by date."""

    def __init__(self) -> None:
        self.is_korean = False
        self._before: tuple[int, int, int] | None = None
        self._latest: dict[str, date] = {}
        # Impossible dates, and times that run backwards.
        self._strikes = dict.fromkeys(_ORDERS, 0)
        self._changes = [0, 0, 0]
        self._days = 0
        self._is_american = self._is_padded = self._has_comma = False

    def add(self, match: re.Match[str]) -> None:
        first, separator, second, third, comma, before, _, _, _, after, _ = match.groups()
        # Korean alone puts the half of the day first, and a blank behind the dots of a date.
        self.is_korean = self.is_korean or bool(before) or after in ("오전", "오후") or separator not in "/-."
        self._has_comma = bool(comma)
        self._is_padded = self._is_padded or first[0] == "0" or second[0] == "0"
        self._is_american = separator == "/" and len(third) == 2 and not (after and after.islower())
        numbers = int(first), int(second), int(third)
        if numbers == self._before:
            return
        self._days += 1
        for position in range(3):
            self._changes[position] += (
                self._before is not None and numbers[position] != self._before[position]
            )
        self._before = numbers
        for order in _ORDERS:
            day = _day(numbers, order)
            if day is None or day.year < _FIRST_YEAR:
                self._strikes[order] += 1
                continue
            self._strikes[order] += day < self._latest.get(order, day)
            self._latest[order] = day

    def order(self) -> str:
        """Return the likeliest order: ``dmy``, ``mdy`` or ``ymd``."""
        if self.is_korean and self._strikes["ymd"] * 2 <= self._days:
            return "ymd"
        if not self._has_comma:
            usual = "ymd"
        else:
            usual = "mdy" if self._is_american and not self._is_padded else "dmy"

        def unlikeliness(order: str) -> tuple[int, int, bool]:
            # From one date to the next the day changes most and the year least.
            changes = 2 * self._changes[order.index("d")] + self._changes[order.index("m")]
            return self._strikes[order], -changes, order != usual

        return min(_ORDERS, key=unlikeliness)


def _survey(source: Source, record: re.Pattern[str]) -> _Survey:
    dates = _Dates()
    names: set[str] = set()
    after_crlf = after_bare = 0
    end_before = ""
    for raw in source.lines():
        match = record.match(raw.rstrip("\r\n"))
        if match:
            after_crlf += end_before == "\r\n"
            after_bare += end_before == "\n"
            dates.add(match)
            name, colon, text = match[_REST].partition(": ")
            if not dates.is_korean and _KOREAN_UI.match(text if colon else name):
                dates.is_korean = not colon or _written(text, record is _IOS)[1] is not None
            if colon and _NOTICE.match(text):
                names.add(_clean_name(name))
        end_before = "\r\n" if raw.endswith("\r\n") else raw[-1:]
    return _Survey(dates.order(), after_crlf > after_bare, frozenset(names))


def _records(
    source: Source, record: re.Pattern[str], survey: _Survey
) -> Iterator[tuple[datetime, list[str]]]:
    """Yield the time of each record and its lines, the first without the stamp."""
    time: datetime | None = None
    lines: list[str] = []
    after_crlf = True
    for raw in source.lines():
        line = raw.rstrip("\r\n")
        # Where records end in CRLF, a bare line feed goes on inside one, whatever follows it.
        match = record.match(line) if after_crlf or not survey.ends_in_crlf or time is None else None
        after_crlf = raw.endswith("\r\n")
        found = _time(match, survey.order) if match else None
        if match is None or found is None:
            if time is not None:
                lines.append(line)
            continue
        if time is not None:
            yield time, lines
        time, lines = found, [match[_REST]]
    if time is not None:
        yield time, lines


@lru_cache(maxsize=1024)
def _clean_name(name: str) -> str:
    """Return a name without the marks an export puts around it; empty for what is no name."""
    if len(name) > _LONGEST_NAME or _EVENT_HEAD.match(name):
        return ""
    return _SPACES.sub(" ", _MARKS.sub("", name)).strip()


def _read(record: re.Pattern[str], source: Source, dropped: Dropped) -> Iterator[Message]:
    is_ios = record is _IOS
    survey = _survey(source, record)
    for time, lines in _records(source, record, survey):
        head = lines[0]
        name, colon, text = head.partition(": ")
        if not colon and head.endswith(":"):  # an editor took the blank before a line break
            name, colon = head[:-1], ":"
        speaker = _clean_name(name) if colon and not (is_ios and head.startswith(_LRM)) else ""
        if not speaker:
            dropped["system"] += 1
            continue
        lines[0] = text
        text, reason = _written("\n".join(lines).rstrip("\n"), is_ios)
        if reason is None and speaker in survey.notice_names and _GROUP_EVENT.fullmatch(text):
            reason = "system"
        if reason is not None:
            dropped[reason] += 1
        elif (message := make_message(time, speaker, text, dropped)) is not None:
            yield message


def _written(text: str, is_ios: bool) -> tuple[str, Reason | None]:
    """Return what a person wrote of a text, or why nobody wrote it."""
    if text.endswith(">"):
        text = _EDITED.sub("", text)
    file = _ANDROID_FILE.fullmatch(text)
    if file is None and text.endswith(_IOS_FILE_ENDS):
        file = _IOS_FILE.fullmatch(text)
    if file is not None:
        caption = (file[1] or "").removeprefix(_LRM)
        # documents repeat their name where photos have a caption
        return (caption, "media") if not caption.strip() or _DOCUMENT.fullmatch(caption) else (caption, None)
    reason = _left_out_anywhere(text)
    if reason is None and is_ios and text.startswith(_LRM):
        reason = "media" if _IOS_CALL.fullmatch(text) else "system"
    if reason is None and not is_ios and text == "null":  # a photo to be seen once
        reason = "media"
    if _ISOLATE in text:
        text = _MENTION.sub(r"@\1", text)
    return text, reason


def _left_out_anywhere(text: str) -> Reason | None:
    """Return why a whole text is no person's on any phone, or ``None``."""
    if _DELETED.fullmatch(text):
        return "deleted"
    if _NOTICE.fullmatch(text):
        return "system"
    return "media" if _MEDIA.fullmatch(text) else None


def _recognise(record: re.Pattern[str], sample: Sample) -> float:
    # Other logs begin lines alike; only a sender or a known notice makes one WhatsApp's.
    rests = (match[_REST] for line in sample.lines if (match := record.match(line)))
    return float(sum(": " in rest or bool(_NOTICE.match(rest)) for rest in rests))


_ME = ("You",)
FORMATS = (
    ExportFormat(
        "whatsapp-android", "왓츠앱 안드로이드", partial(_recognise, _ANDROID), partial(_read, _ANDROID), _ME
    ),
    ExportFormat("whatsapp-ios", "왓츠앱 아이폰", partial(_recognise, _IOS), partial(_read, _IOS), _ME),
)

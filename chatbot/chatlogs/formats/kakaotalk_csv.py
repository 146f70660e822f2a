"""KakaoTalk's CSV of macOS and Windows, as the app writes it or as a spreadsheet saved it again."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator

from chatbot.chatlogs.generic import common_time
from chatbot.chatlogs.message import Dropped, ExportError, ExportFormat, Message, make_message
from chatbot.chatlogs.source import Sample, Source
from chatbot.chatlogs.words import kakaotalk_left_out

_HEADER = ["Date", "User", "Message"]
_DELIMITERS = ",;\t"
_LONGEST_HEADER = 100
_MOST_LINES = 1000  # of a row whose quotes are broken
_ROW_START = re.compile(r'"?\d{4}[-./] ?\d{1,2}[-./] ?\d{1,2}[^,;\t"\n]{0,20}"?[,;\t]', re.ASCII)
_BROKEN_ROW = re.compile(r'"?(\d[^",]*)"?,("?)(.*?)\2,"(.*)', re.DOTALL)
# What the row of a hidden message leaves in the text before it.
_NEXT_ROW = re.compile(r'"?,"","')
# A notice stands in the name of the one it is about and begins with that name.
_EVENT = re.compile(
    r"님이 (?:나갔|들어왔)습니다\.?|(?:님이 .+)?님을 (?:초대했|초대하였|내보냈)습니다\.?"
    r"|님이 (?:부)?방장이 되었습니다\.?"
    r"| (?:joined|left) this chatroom\.?| has been removed from this chatroom\.?| invited .+\.",
    re.DOTALL,
)


class _Lines:
    """Lines with one kind of end, that can be put back."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._waiting: deque[str] = deque()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._waiting:
            return self._waiting.popleft()
        # NUL ends the reader of Python 3.10
        return next(self._lines).rstrip("\r\n").replace("\0", "") + "\n"

    def put_back(self, lines: list[str]) -> None:
        self._waiting.extendleft(reversed(lines))


def _delimiter(header: str) -> str | None:
    """Return what parts the columns under KakaoTalk's header, ``None`` under any other."""
    if len(header) > _LONGEST_HEADER:
        return None
    return next((d for d in _DELIMITERS if next(csv.reader([header], delimiter=d), []) == _HEADER), None)


def _recognise(sample: Sample) -> float:
    return 1000.0 if _delimiter(next(filter(str.strip, sample.lines), "")) else 0.0


def _read(source: Source, dropped: Dropped) -> Iterator[Message]:
    lines = _Lines(source.lines())
    delimiter = _delimiter(next(filter(str.strip, lines), "").strip())
    if delimiter is None:
        raise ExportError(f"{source}: 첫 줄이 Date,User,Message가 아니에요. 카카오톡에서 다시 내보내 주세요.")
    while (row := _next_row(lines, delimiter, dropped)) is not None:
        message = _read_row(row, delimiter, dropped)
        if message is not None:
            yield message


def _next_row(lines: _Lines, delimiter: str, dropped: Dropped) -> list[str] | None:
    """Return the cells of the next row, however it is quoted; ``None`` at the end."""
    taken: list[str] = []
    try:
        return next(csv.reader(_row_lines(lines, taken), delimiter=delimiter, strict=True), None)
    except csv.Error:
        lines.put_back(taken)
        return _next_broken_row(lines, delimiter, dropped)


def _row_lines(lines: _Lines, taken: list[str]) -> Iterator[str]:
    """Yield a row's lines and keep them in ``taken``: all that a reader asks for, up to a new row."""
    for line in lines:
        if taken and _ROW_START.match(line) and not _is_quoted_text(line):
            lines.put_back([line])
            return
        taken.append(line)
        yield line


def _is_quoted_text(line: str) -> bool:
    """Tell whether a line can stand inside quotes: a row that somebody pasted has its quotes doubled."""
    return '"' not in line.rstrip("\n").replace('""', "")[:-1]


def _next_broken_row(lines: _Lines, delimiter: str, dropped: Dropped) -> list[str]:
    """Return the row that ends where the next one begins, whatever its quotes say."""
    taken = [next(lines)]
    for line in lines:
        if _ROW_START.match(line) or len(taken) == _MOST_LINES:
            lines.put_back([line])
            break
        taken.append(line)
    match = _BROKEN_ROW.match("".join(taken).rstrip("\n"))
    if match is None:
        lines.put_back(taken[1:])
        try:
            return next(csv.reader([taken[0].rstrip("\n")], delimiter=delimiter), [])
        except csv.Error:
            return [taken[0][:1]]  # no row at all
    date, _, user, text = match.groups()
    text, *notice = _NEXT_ROW.split(text, maxsplit=1)
    if notice:
        dropped["system"] += 1
    else:
        text = text.removesuffix('"')
    return [date, user.replace('""', '"'), text.replace('""', '"')]


def _read_row(row: list[str], delimiter: str, dropped: Dropped) -> Message | None:
    if not any(row):
        dropped["empty"] += 1
        return None
    try:
        time = common_time(row[0])
    except ValueError:
        time = None
    if time is None or len(row) < len(_HEADER):
        dropped["broken"] += 1
        return None
    if not row[1].strip():
        dropped["system"] += 1
        return None
    # commas in a text that nobody quoted
    text = delimiter.join(row[2:]) if any(row[3:]) else row[2]
    message = make_message(time, row[1], text, dropped)
    if message is None:
        return None
    reason = kakaotalk_left_out(message.text)
    if reason is None and message.text.startswith(message.speaker):
        reason = "system" if _EVENT.fullmatch(message.text, len(message.speaker)) else None
    if reason is not None:
        dropped[reason] += 1
        return None
    return message


FORMATS = (ExportFormat("kakaotalk-csv", "카카오톡 CSV", _recognise, _read),)

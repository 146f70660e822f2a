"""Tables of no messenger: CSV, semicolons or tabs, of questions with answers or of messages."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from chatbot.chatlogs.generic import (
    ROLES,
    SPEAKERS,
    TEXTS,
    TIMES,
    common_time,
    pair_keys,
    pair_messages,
    role_speaker,
)
from chatbot.chatlogs.message import Dropped, ExportError, ExportFormat, Message, make_message
from chatbot.chatlogs.source import Sample, Source

_DELIMITERS = ",;\t"
_LONGEST_HEADER = 1000
_TWO_TIME_COLUMNS = (("date", "time"), ("날짜", "시간"))
_KAKAOTALK = ["Date", "User", "Message"]
_DISCORD = "authorid"

Kind = Literal["pairs", "messages"]


@dataclass(frozen=True)
class _Table:
    """Which columns of a table hold what.

    A question may stand in two columns (an instruction and its input), a time as well.
    """

    delimiter: str
    kind: Kind
    width: int
    question: tuple[int, ...] = ()
    text: int = 0
    time: tuple[int, ...] = ()
    speakers: tuple[int, ...] = ()
    role: int | None = None


def _find_table(header: str) -> _Table | None:
    """Return the table that a header row announces, ``None`` where it is of another format."""
    if len(header) > _LONGEST_HEADER:
        return None
    tables = (_table_of(next(csv.reader([header], delimiter=d), []), d) for d in _DELIMITERS)
    return next((table for table in tables if table is not None), None)


def _table_of(cells: list[str], delimiter: str) -> _Table | None:
    columns: dict[str, int] = {}
    for place, cell in enumerate(cells):
        columns.setdefault(cell.strip().lower(), place)
    if cells == _KAKAOTALK or _DISCORD in columns:
        return None
    pair = pair_keys(columns)
    if pair is not None:
        question = tuple(columns[name] for name in pair[0])
        return _Table(delimiter, "pairs", len(cells), question=question, text=columns[pair[1]])
    text = next((columns[name] for name in TEXTS if name in columns), None)
    speakers = tuple(columns[name] for name in SPEAKERS if name in columns)
    role = next((columns[name] for name in ROLES if name in columns), None)
    if text is None or (not speakers and role is None):
        return None
    time = tuple(columns[name] for name in TIMES if name in columns)[:1]
    for names in _TWO_TIME_COLUMNS:
        if all(name in columns for name in names):
            time = tuple(columns[name] for name in names)
    return _Table(delimiter, "messages", len(cells), (), text, time, speakers, role)


def _recognise(kind: Kind, sample: Sample) -> float:
    lines = iter(sample.lines)
    table = _find_table(next(filter(str.strip, lines), ""))
    if table is None or table.kind != kind:
        return 0.0
    # such a header is sure: records that people pasted into cells count for nothing
    return 1000.0 if any(_read_rows(lines, table, Counter())) else 0.5


def _read(source: Source, dropped: Dropped) -> Iterator[Message]:
    lines = source.lines()
    table = _find_table(next(filter(str.strip, lines), ""))
    if table is None:
        raise ExportError(
            f"{source}: 첫 줄에 question,answer나 time,speaker,text 같은 열 이름이 없어요. 적어 주세요."
        )
    for messages in _read_rows(lines, table, dropped):
        yield from messages


def _read_rows(lines: Iterable[str], table: _Table, dropped: Dropped) -> Iterator[list[Message]]:
    """Yield each row's messages."""
    # one line break for all, inside quotes as well; NUL ends the reader of Python 3.10
    clean = (line.rstrip("\r\n").replace("\0", "") + "\n" for line in lines)
    rows = csv.reader(clean, delimiter=table.delimiter)
    number = 1  # each pair is a dialogue of its own
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:  # a quote that nobody closed ran into the limit of a field
            dropped["broken"] += 1
            continue
        if any(row[table.width :]):
            if table.text != table.width - 1:
                dropped["broken"] += 1
                continue
            row = [*row[: table.text], table.delimiter.join(row[table.text :])]  # commas nobody quoted
        row += [""] * (table.width - len(row))
        if table.kind == "messages":
            message = _read_message(row, table, dropped)
            yield [] if message is None else [message]
            continue
        pair = list(pair_messages([row[n] for n in table.question], row[table.text], number, dropped))
        number += bool(pair)
        yield pair


def _read_message(row: list[str], table: _Table, dropped: Dropped) -> Message | None:
    role = row[table.role] if table.role is not None else ""
    role_name = role_speaker(role)
    if role_name is None:
        dropped["system"] += 1
        return None
    speaker = next((row[n] for n in table.speakers if row[n].strip()), role_name)
    if not any(cell.strip() for cell in row):
        dropped["empty"] += 1
        return None
    try:
        time = common_time(" ".join(row[n] for n in table.time))
    except ValueError:
        dropped["broken"] += 1
        return None
    if not speaker.strip():
        dropped["broken"] += 1
        return None
    return make_message(time, speaker, row[table.text], dropped)


FORMATS = (
    ExportFormat("pairs-csv", "질문·답 CSV", partial(_recognise, "pairs"), _read),
    ExportFormat("messages-csv", "메시지 CSV", partial(_recognise, "messages"), _read),
)

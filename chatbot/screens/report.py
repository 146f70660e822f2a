"""A comparison as one HTML page that needs nothing else: figures, charts, all answers side by side."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import PurePath, PureWindowsPath
from typing import Any
from urllib.parse import urlsplit

import jinja2
import numpy as np

from chatbot import safety
from chatbot.comparison import Contender, Round, Vote
from chatbot.dialogue import Reply
from chatbot.measures import Measures, measure_all
from chatbot.screens.charts import Scale, histograms
from chatbot.screens.compare import reply_facts
from chatbot.text import printable

_SHORTEST = 1e-5  # seconds; a clock that stood still has no place on a logarithmic axis
# Where a folder of this machine begins: /home, ~/, ./, C:\, \\server.
_FOLDER = re.compile(r"/|~|\.{1,2}[/\\]|[A-Za-z]:[/\\]|\\\\")


def report_page(
    name: str,
    contenders: Sequence[Contender],
    rounds: Sequence[Round],
    *,
    settings: Mapping[str, object] | None = None,
    votes: Sequence[Vote] = (),
    at: datetime | None = None,
) -> str:
    """Return the page as HTML.

    Args:
        name: what was asked: the words, or the file of prompts; folders of this machine are left out.
        contenders: who took part, in the order of the columns.
        rounds: what each said to every prompt, turns of a dialogue one after the other.
        settings: what the one who compares has set, names and values; ``None`` values are left out.
        votes: judgements of these contenders; those of others are left out.
        at: when it was asked; now by default.
    """
    columns = _columns(contenders, rounds)
    found = measure_all([column.label for column in columns], rounds)
    dialogues = groupby(enumerate(rounds, 1), key=lambda pair: pair[1].dialogue)
    template = _environment().get_template("report.html.j2")
    return template.render(
        name=name if any(asked.question == name for asked in rounds) else _without_folders(name),
        at=at or datetime.now().astimezone(),
        contenders=columns,
        settings={key: _setting(value) for key, value in (settings or {}).items() if value is not None},
        dialogues=[list(turns) for _, turns in dialogues],
        rounds=len(rounds),
        groups=list(_groups(found)),
        found=found,
        latency=_latency(found),
        lengths=_lengths(found),
        standings=_standings(columns, votes),
    )


@dataclass(frozen=True)
class Column:
    """A contender as the page shows it: ``name`` has no folder of this machine in it."""

    label: str
    name: str
    number: int
    backend: str
    models: tuple[str, ...]


@dataclass(frozen=True)
class Figure:
    """A row of the table: what it is, how it is written, its value for each contender."""

    key: str
    title: str
    shown: Callable[[float], str]
    values: tuple[float | None, ...]


def _columns(contenders: Sequence[Contender], rounds: Sequence[Round]) -> list[Column]:
    columns: list[Column] = []
    for number, contender in enumerate(contenders):
        name = contender.label
        if contender.model and contender.label.endswith(contender.model):
            name = name.removesuffix(contender.model) + _without_folders(contender.model)
        name = _without_folders(name)
        taken = sum(column.name.split(" #")[0] == name for column in columns)
        said = [asked.replies[contender.label] for asked in rounds if contender.label in asked.replies]
        models = dict.fromkeys(r.model for r in said if r.model and not _by_safety(r))
        columns.append(
            Column(
                contender.label,
                f"{name} #{taken + 1}" if taken else name,
                number,
                contender.backend,
                tuple(map(_without_folders, models)),
            )
        )
    return columns


def _groups(found: Mapping[str, Measures]) -> Iterator[tuple[str, list[Figure]]]:
    """Yield the rows of the table by heading, without those that nobody has a value for."""

    def row(key: str, title: str, shown: Callable[[float], str], value: Callable[[Measures], Any]) -> Figure:
        return Figure(key, title, shown, tuple(value(measures) for measures in found.values()))

    def of(sample: str, how: Callable[..., Any]) -> Callable[[Measures], float | None]:
        return lambda measures: float(how(getattr(measures, sample))) if getattr(measures, sample) else None

    groups = {
        "": [row("answers", "대답", _whole, lambda m: m.answers)],
        "속도": [
            row(
                "latency_median",
                "걸린 시간, 중앙값",
                _milliseconds,
                lambda m: (m.latency_ms or {}).get("median"),
            ),
            row("latency_p95", "걸린 시간, p95", _milliseconds, lambda m: (m.latency_ms or {}).get("p95")),
            row("tokens_per_second", "1초에 토큰", _one, lambda m: m.tokens_per_second),
        ],
        "길이": [
            row("characters_mean", "글자, 평균", _one, of("characters", np.mean)),
            row("characters_median", "글자, 중앙값", _one, of("characters", np.median)),
            row("words_mean", "어절, 평균", _one, of("words", np.mean)),
            row("words_median", "어절, 중앙값", _one, of("words", np.median)),
        ],
        "다양성": [
            row("distinct_1", "distinct-1", _three, lambda m: m.distinct_1),
            row("distinct_2", "distinct-2", _three, lambda m: m.distinct_2),
        ],
        "말투": [
            row("polite", "존댓말로 끝남", _percent, lambda m: m.polite),
            row("casual", "반말로 끝남", _percent, lambda m: m.casual),
            row("style_match", "말투가 맞음", _percent, lambda m: m.style_match),
        ],
        "참고 답과 견줌": [
            row("references", "참고 답이 있는 대답", _whole, lambda m: m.references or None),
            row("chrf", "chrF", _one, lambda m: m.chrf),
            row("exact", "같은 답", _percent, lambda m: m.exact),
        ],
    }
    for title, rows in groups.items():
        kept = [figure for figure in rows if any(value is not None for value in figure.values)]
        if kept:
            yield title, kept


def _latency(found: Mapping[str, Measures]) -> Any:
    timed = {label: [1000 * max(s, _SHORTEST) for s in m.seconds] for label, m in found.items()}
    return histograms(timed, log=True) if any(timed.values()) else None


def _lengths(found: Mapping[str, Measures]) -> Any:
    counted = {label: measures.characters for label, measures in found.items()}
    return histograms(counted) if any(counted.values()) else None


def _standings(columns: Sequence[Column], votes: Sequence[Vote]) -> Mapping[str, Any] | None:
    """Return the standings of the contenders and the axis they stand on, ``None`` without votes."""
    by_label = {column.label: column for column in columns}
    between = [vote for vote in votes if vote.left in by_label and vote.right in by_label]
    if not between:
        return None
    from chatbot.standings import standings

    table = standings(between)
    ends = [end for row in table.contenders for end in (row.strength.low, row.strength.high)]
    scale = Scale(min(ends) - 10, max(ends) + 10)
    apart = len({row.group for row in table.contenders}) > 1
    return {"table": table, "columns": by_label, "scale": scale, "apart": apart}


def _facts(reply: Reply) -> str:
    """Return time, score and tokens of an answer in one line."""
    seconds = [] if reply.seconds is None else [_milliseconds(1000 * reply.seconds)]
    return " · ".join([*seconds, *reply_facts(reply)])


def _same(asked: Round) -> bool:
    return len({reply.text for reply in asked.replies.values()}) == 1


def _by_safety(reply: Reply) -> bool:
    return reply.backend == safety.BACKEND


def _without_folders(value: str) -> str:
    """Return a name as it is, of a path only its last part: folders tell whose machine it was."""
    if not _FOLDER.match(value):
        return value
    return PureWindowsPath(value).name or PurePath(value).name


def _setting(value: object) -> str:
    text = str(value)
    if "://" in text:  # an address may hold a password
        address = urlsplit(text)
        return f"{address.hostname or ''}{f':{address.port}' if address.port else ''}{address.path}"
    return _without_folders(text)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("chatbot", "screens"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    for functions in (environment.filters, environment.globals):
        functions.update(
            facts=_facts,
            same=_same,
            by_safety=_by_safety,
            sha256=_sha256,
            milliseconds=_milliseconds,
            three=_three,
            whole=_whole,
            number=lambda value: f"{value:g}",
            signed=_signed,
            span_of_time=_span_of_time,
            span_of_length=_span_of_length,
            mark_of_time=_mark_of_time,
        )
    return environment


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _milliseconds(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:,.1f}초"
    return f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms" if value >= 1 else f"{value:.2g} ms"


def _span_of_time(start: float, stop: float) -> str:
    first, last = _milliseconds(start), _milliseconds(stop)
    return f"{first.removesuffix(' ms') if last.endswith(' ms') else first} ~ {last}"


def _mark_of_time(value: float) -> str:
    return f"{value / 1000:g}초" if value >= 1000 else f"{value:g} ms"


def _span_of_length(start: float, stop: float) -> str:
    last = stop - 1  # whole numbers, the end not among them
    return f"{start:.0f}" if last == start else f"{start:.0f} ~ {last:.0f}"


def _signed(value: float) -> str:
    return f"{value:+.0f}".replace("-", "−") if round(value) else "0"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _three(value: float) -> str:
    return f"{value:.3f}"


def _one(value: float) -> str:
    return f"{value:,.1f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"

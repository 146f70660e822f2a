"""Who answers best by the votes: tables on a terminal, lines parted by tabs in a pipe, JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console

from chatbot.screens.console import plain
from chatbot.screens.evaluation import Block, block_lines, print_blocks
from chatbot.standings import RESAMPLES, SHORT, Estimate, Standing, Standings

_SPLITS = {
    "short": f"짧은 말 ({SHORT}자까지)",
    "long": "긴 말",
    "question": "묻는 말",
    "statement": "묻지 않는 말",
    "polite": "존댓말",
    "casual": "반말",
}


def print_standings(console: Console, found: Mapping[str, Standings]) -> None:
    """Print the result of :func:`chatbot.standings.standings_by_split` as tables, and how to read them."""
    print_blocks(console, list(_blocks(found)))
    for note in _notes(found["all"]):
        console.print(plain(note, "dim"), soft_wrap=False)


def standings_lines(found: Mapping[str, Standings]) -> list[str]:
    """Return the same as lines, for a pipe."""
    return block_lines(list(_blocks(found)))


def standings_json(found: Mapping[str, Standings]) -> dict[str, Any]:
    """Return the same under the names of its fields: ``all`` and each split by name."""
    return {name: dataclasses.asdict(part) for name, part in found.items()}


def _blocks(found: Mapping[str, Standings]) -> Iterator[Block]:
    everything = found["all"]
    groups = sorted({one.group for one in everything.contenders})
    for group in groups:
        members = [one for one in everything.contenders if one.group == group]
        which = f" {group + 1}/{len(groups)}" if len(groups) > 1 else ""
        yield Block(
            f"순위{which} (Bradley-Terry 세기, {sum(one.wins + _ties(one) / 2 for one in members):,.0f}표)",
            ("세기", "95 % 구간", "이김", "짐", "둘 다 좋음", "둘 다 나쁨"),
            [_row(one) for one in members],
        )
    yield Block(
        "맞대결",
        ("이김", "짐", "비김", "순승률 (net)", "95 % 구간"),
        [
            (
                f"{one.label} : {one.against}",
                f"{one.wins:,}",
                f"{one.losses:,}",
                f"{one.both_good + one.both_bad:,}",
                f"{one.net.value:+.2f}",
                f"{one.net.low:+.2f} ~ {one.net.high:+.2f}",
            )
            for one in everything.pairs
        ],
    )
    yield Block(
        "나누어 본 세기 (95 % 구간)",
        tuple(one.label for one in everything.contenders),
        [
            (f"{title}, {found[name].votes:,}표", *_strengths(found[name], everything))
            for name, title in _SPLITS.items()
        ],
    )


def _row(one: Standing) -> tuple[str, ...]:
    counts = (f"{count:,}" for count in (one.wins, one.losses, one.both_good, one.both_bad))
    return one.label, f"{round(one.strength.value):+d}", _range(one.strength), *counts


def _strengths(part: Standings, everything: Standings) -> Iterator[str]:
    """Yield each contender's strength in one split, in the order of them all."""
    there = {one.label: one.strength for one in part.contenders}
    for one in everything.contenders:
        strength = there.get(one.label)
        yield f"{round(strength.value):+d} ({_range(strength)})" if strength else "-"


def _range(estimate: Estimate) -> str:
    return f"{round(estimate.low):+d} ~ {round(estimate.high):+d}"


def _ties(one: Standing) -> int:
    return one.both_good + one.both_bad


def _notes(everything: Standings) -> Iterator[str]:
    yield (
        "세기는 평균이 0이고, 100점 앞서면 점수의 64 %를 얻어요(Elo와 같은 눈금). 비김은 반씩 이긴 셈이에요. "
        f"구간은 표를 {RESAMPLES:,}번 다시 뽑아(bootstrap) 얻었어요. 순승률은 (이김 - 짐) ÷ 표예요."
    )
    # No resample has what never happened in the votes.
    if any([one.wins, one.losses, _ties(one)].count(0) > 1 for one in everything.contenders):
        yield "이기기만 했거나 지기만 했거나 비기기만 한 답의 구간은 실제보다 좁아요. 표를 더 모아 주세요."
    if len({one.group for one in everything.contenders}) > 1:
        yield "서로 맞붙은 표가 없는 순위끼리는 세기를 견줄 수 없어요."

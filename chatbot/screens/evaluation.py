"""The figures of ``chatbot evaluate``: tables on a terminal, lines parted by tabs in a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from chatbot.screens.console import plain


class Block(NamedTuple):
    """A table: what its columns of values are called (nothing: there is one), and its rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, ...]]


Format = Callable[[float], str]


def print_figures(console: Console, figures: dict[str, Any]) -> None:
    """Print the figures as tables."""
    print_blocks(console, blocks(figures))


def report_lines(figures: dict[str, Any]) -> list[str]:
    """Return the figures as lines, name and values parted by tabs."""
    return block_lines(blocks(figures))


def print_blocks(console: Console, shown: Sequence[Block]) -> None:
    """Print tables."""
    for block in shown:
        table = Table(box=None, header_style="dim", title=plain(block.title, "bold"), title_justify="left")
        table.show_header = bool(block.columns)
        table.add_column("", overflow="fold")
        for column in block.columns or [""]:
            table.add_column(plain(column), justify="right" if block.columns else "left", overflow="fold")
        for row in block.rows:
            table.add_row(*map(plain, row))
        console.print(table)
        console.print()


def block_lines(shown: Sequence[Block]) -> list[str]:
    """Return tables as lines, name and values parted by tabs."""
    lines = []
    for block in shown:
        lines.append("\t".join([block.title, *block.columns]))
        lines += ["\t".join(row) for row in block.rows]
    return lines


def blocks(figures: dict[str, Any]) -> list[Block]:
    """Return what there is to show of a backend's figures."""
    shown = list((_gpt if figures["backend"] == "gpt" else _retrieval)(figures))
    if "style_detector" in figures:
        shown.append(_style_detector(figures["style_detector"]))
    return shown


def _retrieval(figures: dict[str, Any]) -> Iterator[Block]:
    yield Block(
        "잰 것",
        (),
        [
            ("인코더 (encoder)", figures["encoder"]),
            ("데이터", figures["data"]),
            ("색인된 질문", f"{figures['entries']:,}"),
            ("시험 질문", f"{figures['test_wordings']:,}"),
        ],
    )
    scorers = figures["scorers"]
    yield Block(
        "찾기 (retrieval)",
        tuple(scorers),
        [
            _across(scorers, "top1", "맞는 답이 첫째 (top-1)", _percent),
            _across(scorers, "mrr", "평균 역순위 (MRR)", _three),
            _across(scorers, "chrf", "맞는 답과 닮은 정도 (chrF)", _one),
        ],
    )
    floors = figures["floor"]
    yield Block(
        "문턱 (floor)",
        tuple(floors),
        [
            _across(floors, "floor", "문턱", _three),
            _across(floors, "coverage", "답함 (coverage)", _percent),
            _across(floors, "accuracy_when_answered", "답한 것 중 맞음 (accuracy)", _percent),
            _across(floors, "ood_declined", "범위 밖 거절 (OOD)", _percent),
            _across(floors, "unseen_declined", "처음 보는 말 거절 (unseen)", _percent),
        ],
    )
    rows = []
    if "follow_ups" in figures:
        found = figures["follow_ups"]
        rows = [
            ("이어지는 말 (follow-up)", f"{found['items']:,}"),
            ("앞말을 보고 맞음", _percent(found["with_context"])),
            ("앞말 없이 맞음", _percent(found["without_context"])),
        ]
    if "sts" in figures:
        rows += [
            (f"{figures['sts']['file']} 스피어만 상관 (Spearman), {scorer}", _one(found))
            for scorer, found in figures["sts"]["spearman"].items()
        ]
    yield Block("그 밖에", (), [*rows, *_latency(figures["latency_ms"], "한 질문")])


def _gpt(figures: dict[str, Any]) -> Iterator[Block]:
    facts = [
        ("모델", figures["model"]),
        ("데이터", figures["data"]),
        ("대화", f"{figures['dialogues']:,}"),
        ("대답", f"{figures['true_replies']:,}"),
    ]
    if figures["speakers"]:
        facts.append(("따라 한 사람 (persona)", ", ".join(figures["speakers"])))
    if figures["too_long"]:
        facts.append(("길어서 뺀 대답", f"{figures['too_long']:,}"))
    yield Block("잰 것", (), facts)
    predicted = figures["prediction"]
    titles = {"replies": "대답", "all": "모든 말"}
    yield Block(
        "예측",
        [titles[name] for name in predicted],
        [
            _across(predicted, "perplexity", "당혹도 (perplexity)", _one),
            _across(predicted, "nats_per_token", "토큰당 내트 (nats per token)", _three),
            _across(predicted, "bits_per_character", "글자당 비트 (bits per character)", _three),
            _across(predicted, "characters", "글자", _whole),
            _across(predicted, "unknown_characters", "모르는 글자 (unknown)", _whole),
        ],
    )
    yield from _ranking(figures["ranking"])
    replies = figures["replies"]
    named = {
        "non_stopping": "끝맺지 못한 답 (non-stopping)",
        "loops": "맴도는 답 (repetition)",
        "repeats_user": "상대 말을 되풀이한 답",
        "empty": "빈 답",
        "broken": "깨진 답",
        "style_match": "말투가 맞은 답 (style match)",
    }
    yield Block(
        f"지어낸 답 ({replies['replies']:,}개)",
        (),
        [
            *((title, _percent(replies[name])) for name, title in named.items()),
            ("낱말의 다양성 (distinct-1)", _three(replies["distinct_1"])),
            ("낱말 짝의 다양성 (distinct-2)", _three(replies["distinct_2"])),
            (
                f"참 대답과 닮은 정도 (chrF, {figures['generated']['contexts']:,}개)",
                _one(figures["generated"]["chrf"]),
            ),
        ],
    )
    speed = figures["speed"]
    yield Block(
        "속도",
        (),
        [
            ("첫 토큰까지", f"{1000 * speed['first_token_seconds']:.0f} ms"),
            ("1초에", f"{speed['tokens_per_second']:.0f} 토큰"),
            *_latency(figures["latency_ms"], "한 대답"),
        ],
    )


def _ranking(found: dict[str, float] | None) -> Iterator[Block]:
    """Yield how well the true reply was found; nothing where there was no other to stand beside it."""
    if found:
        yield Block(
            f"참 대답 고르기 ({found['contexts']:,}번, {found['candidates']:,}개 중에서)",
            ("가능도", "가능도 증가 (PMI)"),
            [
                ("평균 역순위 (MRR)", _three(found["mrr"]), _three(found["mrr_pmi"])),
                ("첫째로 고름 (top-1)", _percent(found["top1"]), _percent(found["top1_pmi"])),
                ("아무렇게나 고를 때 (MRR)", _three(found["chance"]), _three(found["chance"])),
            ],
        )


def _style_detector(found: dict[str, Any]) -> Block:
    return Block(
        f"말투 판별 ({found['file']}, {found['sentences']:,}문장)",
        (),
        [
            ("맞음 (accuracy)", _percent(found["accuracy"])),
            ("존댓말 (formal)", _percent(found["polite"])),
            ("반말 (informal)", _percent(found["casual"])),
        ],
    )


def _latency(found: dict[str, float], what: str) -> list[tuple[str, str]]:
    return [
        (f"{what}에 걸린 시간 (p50)", f"{found['median']:.1f} ms"),
        (f"{what}에 걸린 시간 (p95)", f"{found['p95']:.1f} ms"),
    ]


def _across(
    found: Mapping[str, Mapping[str, float]], name: str, title: str, shown: Format
) -> tuple[str, ...]:
    return (title, *(shown(column[name]) for column in found.values()))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _three(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _one(value: float) -> str:
    return f"{value:.1f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"

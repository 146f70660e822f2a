"""What is in an imported dataset, drawn; and the questions an import asks."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import typer
from rich.console import Console
from rich.table import Table

from chatbot.chatlogs.conversations import Roles
from chatbot.chatlogs.message import Message
from chatbot.chatlogs.report import Report, Speaker
from chatbot.datasets import Dataset
from chatbot.privacy import LABELS
from chatbot.screens.console import notes, plain
from chatbot.text import one_line

_SHOWN_SPEAKERS = 12
_SHARES = ("존댓말", "반말", "웃음", "울음", "이모지")
_BLOCKS = " ▁▂▃▄▅▆▇█"
DROPPED = {
    "media": "사진·이모티콘 등",
    "system": "알림",
    "deleted": "삭제된 말",
    "empty": "빈 말",
    "bot": "봇의 말",
    "forwarded": "전달된 말",
    "broken": "깨진 기록",
    "forgotten": "잊은 사람의 말",
}
LIMITED = {
    "pasted": "되풀이된 긴 글",
    "cut": "길어서 자른 차례",
    "repeated": "되풀이된 문답",
    "no words": "글자 없는 문답",
}


def print_report(console: Console, dataset: Dataset) -> None:
    """Print a dataset's report: size, who speaks how, what was left out, whether it is enough."""
    report = Report.from_json(dataset.facts["report"])
    for title, value in _facts(dataset, report):
        console.print(plain(f"{title}: ", "dim"), plain(value), sep="")
    console.print(_speakers(report))
    for name, speaker in _shown(report):
        if speaker.busiest:
            hours = ", ".join(f"{hour}시" for hour in speaker.busiest)
            console.print(plain(f"{_bars(speaker.hours)}  {name}: {hours}에 가장 많이 말해요"))
    if any(one.busiest for _, one in _shown(report)):
        console.print(plain("".join(f"{hour}시".ljust(5) for hour in (0, 6, 12, 18)), "dim"))
    console.print(plain(report.verdict(), "bold"))


def report_lines(dataset: Dataset) -> list[str]:
    """Return the report as plain lines, for a pipe."""
    report = Report.from_json(dataset.facts["report"])
    lines = [f"{title}\t{value}" for title, value in _facts(dataset, report)]
    lines += [f"{one_line(name)}\t{', '.join(_manner(one))}" for name, one in _shown(report)]
    return [*lines, report.verdict()]


def print_datasets(console: Console, datasets: Sequence[Dataset]) -> None:
    """Print a line per dataset."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for title in ("이름", "따라 할 사람", "메시지", "문답", "기간"):
        table.add_column(title, overflow="fold", justify="right" if title in ("메시지", "문답") else "left")
    for dataset in datasets:
        report = Report.from_json(dataset.facts["report"])
        table.add_row(
            plain(dataset.name), plain(dataset.speaker), f"{report.messages:,}", f"{report.pairs:,}",
            _period(report),
        )  # fmt: skip
    console.print(table)


def ask_roles(counts: dict[str, int], owner: Sequence[str], me: tuple[str, ...]) -> Roles:
    """Ask on the terminal who is who, offering the owner's name of the export and who speaks most."""
    console = notes()
    names = list(counts)
    for number, name in enumerate(names, start=1):
        console.print(plain(f"{number:3}. {one_line(name)} ({counts[name]:,}마디)"))
    if not me:
        default = next((name for name in names if name in owner), None)
        me = (_ask_speaker("나는 누구인가요? 번호나 이름", names, default),)
    others = [name for name in names if name not in me]
    if len(others) == 1:
        return Roles(me, others[0])
    return Roles(me, _ask_speaker("누구처럼 말하게 할까요? 번호나 이름", names, others[0], me))


def print_preview(console: Console, changed: Sequence[tuple[Message, Message]], read: int) -> None:
    """Print messages before and after masking."""
    for before, after in changed:
        console.print(plain(f"- {before.speaker}: {one_line(before.text)}", "dim"))
        console.print(plain(f"+ {after.speaker}: {one_line(after.text)}"))
    console.print(
        plain(f"메시지 {read:,}개 가운데 가린 것을 {len(changed)}개까지 보였어요. 저장한 것은 없어요.")
    )


def _ask_speaker(
    question: str, names: Sequence[str], default: str | None, taken: tuple[str, ...] = ()
) -> str:
    while True:
        answer = unicodedata.normalize("NFC", str(typer.prompt(question, default=default, err=True))).strip()
        chosen = answer
        if answer not in names and answer.isdecimal() and 1 <= int(answer) <= len(names):
            chosen = names[int(answer) - 1]
        if chosen in names and chosen not in taken:
            return chosen
        notes().print(plain("목록에 있는 다른 사람의 번호나 이름을 적어 주세요."))


def _facts(dataset: Dataset, report: Report) -> list[tuple[str, str]]:
    splits = ", ".join(
        f"{name} {report.splits.get(key, 0):,}"
        for key, name in (("train", "학습"), ("valid", "검증"), ("test", "시험"))
    )
    facts = [
        ("데이터셋", dataset.name),
        ("나", ", ".join(report.me) or "없음"),
        ("따라 할 사람", report.bot),
        ("기간", _period(report)),
        ("메시지", f"{report.messages:,}개"),
        ("대화", f"{report.sessions:,}편 ({_duration(report.gap)} 넘게 조용하면 새 대화)"),
        ("문답", f"{report.pairs:,}쌍 ({splits})"),
        ("뺀 것", _counts(report.dropped, DROPPED)),
        ("줄인 것", _counts(report.limited, LIMITED)),
        ("가린 것", _masked(dataset, report)),
    ]
    for name, title in (("encoder", "인코더가 모르는 조각"), ("gpt", "생성 모델이 모르는 조각")):
        if name in report.unknown_tokens:
            facts.append((title, f"{report.unknown_tokens[name]:.2%}"))
    return facts


def _speakers(report: Report) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for title in ("말한 사람", "메시지", "차례", *_SHARES, "길이"):
        table.add_column(title, overflow="fold", justify="left" if title == "말한 사람" else "right")
    for name, one in _shown(report):
        table.add_row(
            plain(name), f"{one.messages:,}", f"{one.turns:,}", *(f"{share:.0%}" for share in one.shares),
            f"{one.length:.0f}자",
        )  # fmt: skip
    return table


def _manner(one: Speaker) -> list[str]:
    return [
        f"메시지 {one.messages:,}",
        f"차례 {one.turns:,}",
        *(f"{title} {share:.0%}" for title, share in zip(_SHARES, one.shares, strict=True)),
        f"길이 {one.length:.0f}자",
        f"바쁜 시간 {'·'.join(f'{hour}시' for hour in one.busiest) or '모름'}",
    ]


def _shown(report: Report) -> list[tuple[str, Speaker]]:
    ranked = sorted(report.speakers.items(), key=lambda item: -item[1].messages)
    return ranked[:_SHOWN_SPEAKERS]


def _bars(hours: Sequence[int]) -> str:
    most = max(max(hours), 1)
    return "".join(_BLOCKS[-(-count * (len(_BLOCKS) - 1) // most)] for count in hours)


def _masked(dataset: Dataset, report: Report) -> str:
    if not dataset.facts["masked"]:
        return "없음 (--no-mask)"
    return _counts(report.masked, {kind: label.strip("[]") for kind, label in LABELS.items()})


def _counts(counts: dict[str, int], titles: dict[str, str] | dict) -> str:
    merged: dict[str, int] = {}
    for key, count in counts.items():
        title = titles.get(key, key)
        merged[title] = merged.get(title, 0) + count
    return ", ".join(f"{title} {count:,}" for title, count in merged.items() if count) or "없음"


def _period(report: Report) -> str:
    if report.first is None or report.last is None:
        return "시간이 적혀 있지 않음"
    return f"{report.first[:10]} ~ {report.last[:10]}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    return " ".join(part for part in (f"{hours}시간" * bool(hours), f"{minutes}분" * bool(minutes)) if part)

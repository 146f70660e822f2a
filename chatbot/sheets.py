"""Blind sheets: two contenders' answers side by side for readers with a spreadsheet, names hidden.

``NAME.csv`` is what readers fill in, ``NAME.key.json`` beside it says who stood where. One key serves
every copy of its sheet in the same folder, so that a whole class can vote.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import random
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chatbot.comparison import Outcome, Round, Vote
from chatbot.errors import ChatbotError, UsageError
from chatbot.knowledge import read_rows
from chatbot.resources import write_private
from chatbot.text import normalise, one_line, squeeze

_CHOICES = "왼쪽, 오른쪽, 둘 다 좋음, 둘 다 나쁨"
_COLUMNS = ("한 말", "왼쪽 답", "오른쪽 답", f"판정 ({_CHOICES})")
_NUMBER = re.compile(r"번호 #\w+$")
_OUTCOMES: dict[str, Outcome] = {
    **dict.fromkeys(("왼쪽", "left", "1"), "left"),
    **dict.fromkeys(("오른쪽", "right", "2"), "right"),
    **dict.fromkeys(("둘다좋음", "good", "3"), "both_good"),
    **dict.fromkeys(("둘다나쁨", "bad", "4"), "both_bad"),
}
_FORMULA = tuple("=+-@\t\r＝＋－＠")  # a cell that begins so would be computed (OWASP, CSV injection)


class SheetError(ChatbotError):
    """A sheet or its key cannot be read or written; the message names the file and the row."""


@dataclass(frozen=True)
class Item:
    """One row of a sheet: what was said, and whose answer stands where."""

    number: int
    text: str
    left: str
    right: str


@dataclass(frozen=True)
class Key:
    """What readers of a sheet must not see; ``identical`` are the words that got the same answer twice."""

    sheet: str
    items: tuple[Item, ...]
    identical: tuple[str, ...]


def write_sheet(path: Path, rounds: Sequence[Round], labels: tuple[str, str], seed: int = 0) -> Key:
    """Write a sheet of two contenders' answers, and its key; return the key.

    A conversation of several turns is one row. Each side is the left one in half of the rows, which ones
    the seed decides. Where both said the same there is nothing to judge, and no row.

    Raises:
        UsageError: see :func:`check_sheet_path`.
        SheetError: both always said the same, or the files cannot be written.
    """
    check_sheet_path(path)
    dialogues: dict[int, list[Round]] = {}
    for one in rounds:
        dialogues.setdefault(one.dialogue, []).append(one)
    differ = [talk for talk in dialogues.values() if not _same(talk, labels)]
    if not differ:
        raise SheetError(f"--sheet {path}: {labels[0]}, {labels[1]}의 답이 모두 같아서 판정할 것이 없어요.")
    turned = [number % 2 == 1 for number in range(len(differ))]
    random.Random(seed).shuffle(turned)
    rows, items = [], []
    for number, (talk, turn) in enumerate(zip(differ, turned, strict=True), start=1):
        left, right = reversed(labels) if turn else labels
        items.append(Item(number, _said(talk), left, right))
        cells = (_said(talk), _answers(talk, left), _answers(talk, right))
        rows.append([str(number), *map(_harmless, cells), ""])
    digest = hashlib.sha256(repr((rows, items)).encode()).hexdigest()[:8]
    key = Key(digest, tuple(items), tuple(_said(t) for t in dialogues.values() if _same(t, labels)))
    _write(path, key, rows)
    return key


def check_sheet_path(path: Path) -> None:
    """Make sure that a sheet can go there without destroying one that people have filled in.

    Raises:
        UsageError: it is no ``.csv``, or there is a sheet or a key of that name.
    """
    if path.suffix.lower() != ".csv":
        raise UsageError(f"--sheet {path}: 이름이 .csv로 끝나야 해요.")
    for file in (path, _key_path(path)):
        if file.exists():
            raise UsageError(f"--sheet {path}: {file.name}이(가) 이미 있어요. 다른 이름을 지어 주세요.")


def read_sheet(path: Path) -> list[Vote]:
    """Return the votes of a sheet that was filled in; rows without one were not judged.

    Raises:
        SheetError: it is no such sheet, its key is missing, or a row makes no sense.
        DataError: it cannot be read.
    """
    rows = _rows(path)
    items = {str(item.number): item for item in _key(path, rows).items}
    number_column, judgement = _columns(rows)
    votes = []
    for place, row in enumerate(rows, start=2):  # as a spreadsheet counts them
        number, written = row[number_column], row[judgement]
        if not number and not written:
            continue
        item = items.pop(number, None)
        if item is None:
            raise SheetError(
                f"{path} {place}행: 번호 '{_short(number)}'이(가) 투표지에 없거나 두 번 나와요. 고쳐 주세요."
            )
        if written:
            votes.append(Vote(item.text, item.left, item.right, _outcome(path, place, written)))
    return votes


def read_key(path: Path) -> Key:
    """Return the key of a sheet: how many rows it has, and what was left out of it.

    Raises:
        SheetError: the sheet is none, or its key is not in the same folder.
    """
    return _key(path, _rows(path))


def _write(path: Path, key: Key, rows: Sequence[Sequence[str]]) -> None:
    """Write sheet and key, both or neither."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([[f"번호 #{key.sheet}", *_COLUMNS], *rows])
    facts = json.dumps(dataclasses.asdict(key), ensure_ascii=False, indent=1)
    try:
        write_private(_key_path(path), facts + "\n")
        write_private(path, "\ufeff" + table.getvalue())  # without the mark, Excel reads Korean as Latin
    except OSError as error:
        with suppress(OSError):
            _key_path(path).unlink()
        raise SheetError(
            f"--sheet {path}: 쓸 수 없어요({error.strerror}). 다른 곳을 지정해 주세요."
        ) from error


def _same(talk: Sequence[Round], labels: tuple[str, str]) -> bool:
    return all(len({one_line(one.replies[label].text) for label in labels}) == 1 for one in talk)


def _said(talk: Sequence[Round]) -> str:
    return talk[0].question if len(talk) == 1 else "\n".join(one_line(one.question) for one in talk)


def _answers(talk: Sequence[Round], label: str) -> str:
    """Return one side's answer or, of several turns, everything that was said there."""
    if len(talk) == 1:
        return talk[0].replies[label].text
    lines = ((f"나: {one_line(one.question)}", f"봇: {one_line(one.replies[label].text)}") for one in talk)
    return "\n".join(line for pair in lines for line in pair)


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _key_path(path: Path) -> Path:
    return path.with_suffix(".key.json")


def _rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a sheet: columns may have been added, and saved in another encoding."""
    if path.suffix.lower() != ".csv":
        raise SheetError(f"{path}: 투표지는 .csv 파일이어야 해요. 표 프로그램에서 CSV로 저장해 주세요.")
    rows = [{name: normalise(cell or "") for name, cell in row.items() if name} for _, row in read_rows(path)]
    if not all(_columns(rows)):
        raise SheetError(
            f"{path}: chatbot compare --sheet로 만든 투표지가 아니에요. "
            "첫 줄을 그대로 두고, 쉼표로 나눈 CSV로 저장했는지 확인해 주세요."
        )
    return rows


def _columns(rows: Sequence[dict[str, str]]) -> tuple[str, str]:
    """Return the names of the columns of numbers and judgements, empty where there is none."""
    names = list(rows[0]) if rows else []
    numbers = (name for name in names if _NUMBER.match(name))
    return next(numbers, ""), next((name for name in names if name.startswith("판정")), "")


def _key(path: Path, rows: Sequence[dict[str, str]]) -> Key:
    """Find the key that belongs to a sheet, by the mark in the title of its numbers."""
    mark = _columns(rows)[0].rpartition("#")[2]
    for file in (_key_path(path), *sorted(path.parent.glob("*.key.json"))):
        key = _parsed(file)
        if key and key.sheet == mark:
            return key
    raise SheetError(
        f"{path}: 이 투표지의 열쇠 파일(.key.json)이 없거나 읽을 수 없어요. "
        "투표지를 만들 때 함께 생긴 파일을 같은 폴더에 두세요."
    )


def _parsed(file: Path) -> Key | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        items = tuple(Item(int(i["number"]), i["text"], i["left"], i["right"]) for i in found["items"])
        return Key(found["sheet"], items, tuple(found["identical"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _outcome(path: Path, place: int, written: str) -> Outcome:
    outcome = _OUTCOMES.get(squeeze(written))
    if outcome is None:
        raise SheetError(
            f"{path} {place}행: 판정 '{_short(written)}'을(를) 알 수 없어요. "
            f"{_CHOICES} 가운데 하나로 적거나 비워 주세요."
        )
    return outcome


def _short(cell: str) -> str:
    line = one_line(cell)
    return line if len(line) <= 20 else f"{line[:20]}…"

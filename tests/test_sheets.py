from __future__ import annotations

import csv
import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from chatbot.comparison import Round, Vote
from chatbot.dialogue import Conversation, Reply
from chatbot.errors import ChatbotError, UsageError
from chatbot.knowledge import DataError
from chatbot.sheets import SheetError, check_sheet_path, read_key, read_sheet, write_sheet
from tests.conftest import Run

LABELS = ("hybrid", "gpt:서연-gpt")
Fill = Callable[[list[str]], str]


def said(question: str, first: str, second: str, dialogue: int = 0, turn: int = 0) -> Round:
    replies = {label: Reply(text, "x") for label, text in zip(LABELS, (first, second), strict=True)}
    return Round(question, replies, {label: Conversation() for label in LABELS}, None, dialogue, turn)


def many(count: int) -> list[Round]:
    return [said(f"말 {n}", f"하이브리드 {n}", f"지피티 {n}", n) for n in range(count)]


def rows_of(path: Path, encoding: str = "utf-8-sig") -> list[list[str]]:
    with path.open(encoding=encoding, newline="") as file:
        return list(csv.reader(file))


def fill(path: Path, votes: Fill, **how: str) -> None:
    """Fill in the last column and save as spreadsheets do: other line ends, perhaps another encoding."""
    head, *rows = rows_of(path)
    encoding = how.pop("encoding", "utf-8-sig")
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, **how)  # type: ignore[arg-type]
        writer.writerows([head, *([*row[:4], votes(row)] for row in rows)])


def for_first(row: list[str]) -> str:
    return "왼쪽" if row[2].startswith("하이브리드") else "오른쪽"


def test_a_sheet_shows_everything_but_the_names(tmp_path: Path) -> None:
    path = tmp_path / "투표.csv"
    key = write_sheet(path, many(40), LABELS)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    head, *rows = rows_of(path)
    assert head[0] == f"번호 #{key.sheet}" and head[1:4] == ["한 말", "왼쪽 답", "오른쪽 답"]
    assert head[4].startswith("판정") and "둘 다 나쁨" in head[4]
    assert [row[0] for row in rows] == [str(n) for n in range(1, 41)]
    assert all({row[2], row[3]} == {f"하이브리드 {n}", f"지피티 {n}"} for n, row in enumerate(rows))
    assert all(row[1] == f"말 {n}" and row[4] == "" for n, row in enumerate(rows))
    assert all(label not in path.read_text(encoding="utf-8") for label in LABELS)
    assert sum(row[2].startswith("하이브리드") for row in rows) == 20  # each side as often left as right
    for item, row in zip(key.items, rows, strict=True):
        assert (item.left == "hybrid") == row[2].startswith("하이브리드")
        assert {item.left, item.right} == set(LABELS)
    assert (
        read_key(path) == key and json.loads((tmp_path / "투표.key.json").read_text())["sheet"] == key.sheet
    )


def test_only_the_owner_may_read_sheet_and_key(tmp_path: Path) -> None:
    write_sheet(tmp_path / "a.csv", many(3), LABELS)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.csv", "a.key.json"]
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in tmp_path.iterdir())


def test_the_seed_decides_the_sides(tmp_path: Path) -> None:
    sides = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_sheet(tmp_path / f"{name}.csv", many(30), LABELS, seed)
        sides.append([row[2] for row in rows_of(tmp_path / f"{name}.csv")[1:]])
    assert sides[0] == sides[1] != sides[2]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8", "cp949"])
def test_a_filled_sheet_becomes_votes(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    write_sheet(path, many(10), LABELS)
    fill(path, for_first, encoding=encoding)
    votes = read_sheet(path)
    assert [vote.text for vote in votes] == [f"말 {n}" for n in range(10)]
    assert all(getattr(vote, vote.outcome) == "hybrid" for vote in votes)
    assert {vote.left for vote in votes} == set(LABELS)


WRITTEN = {
    "left": ("왼쪽", " 왼쪽 ", "left", "LEFT", "1", "1."),
    "right": ("오른쪽", "right", "2"),
    "both_good": ("둘 다 좋음", "둘다좋음", "good", "3"),
    "both_bad": ("둘 다 나쁨", "bad", "4"),
}


@pytest.mark.parametrize(("outcome", "written"), [(o, w) for o, all_of in WRITTEN.items() for w in all_of])
def test_what_may_be_written(tmp_path: Path, outcome: str, written: str) -> None:
    path = tmp_path / "a.csv"
    key = write_sheet(path, many(3), LABELS)
    fill(path, lambda row: written if row[0] == "2" else "")
    item = key.items[1]
    assert read_sheet(path) == [Vote("말 1", item.left, item.right, outcome)]  # type: ignore[arg-type]


def test_a_conversation_is_one_row(tmp_path: Path) -> None:
    talk = [said("안녕\n하세요", "안녕!", "네", 0, 0), said("뭐 해요?", "쉬어요", "그냥요", 0, 1)]
    key = write_sheet(tmp_path / "a.csv", [*talk, said("잘\n자", "잘\n자요", "응", 1)], LABELS)
    fill(tmp_path / "a.csv", lambda row: "2")
    _, first, second = rows_of(tmp_path / "a.csv")
    assert first[1] == key.items[0].text == "안녕 하세요\n뭐 해요?"
    assert {first[2], first[3]} == {
        "나: 안녕 하세요\n봇: 안녕!\n나: 뭐 해요?\n봇: 쉬어요",
        "나: 안녕 하세요\n봇: 네\n나: 뭐 해요?\n봇: 그냥요",
    }
    assert second[1] == "잘\n자" and {second[2], second[3]} == {"잘\n자요", "응"}
    assert [vote.text for vote in read_sheet(tmp_path / "a.csv")] == ["안녕 하세요\n뭐 해요?", "잘\n자"]


def test_identical_answers_are_left_out_but_counted(tmp_path: Path) -> None:
    rounds = [
        said("하나", "같아요", "같아요 ", 0), said("둘", "이쪽", "저쪽", 1),
        said("셋", "같아요", "같아요", 2, 0), said("넷", "달라요", "다르죠", 2, 1),
        said("다섯", "똑", "똑", 3, 0), said("여섯", "같", "같", 3, 1),
    ]  # fmt: skip
    write_sheet(tmp_path / "a.csv", rounds, LABELS)
    fill(tmp_path / "a.csv", lambda row: "3")
    key = read_key(tmp_path / "a.csv")
    assert key.identical == ("하나", "다섯\n여섯")
    assert [vote.text for vote in read_sheet(tmp_path / "a.csv")] == ["둘", "셋\n넷"]
    with pytest.raises(SheetError, match="모두 같아서"):
        write_sheet(tmp_path / "b.csv", rounds[:1], LABELS)
    assert not (tmp_path / "b.csv").exists() and not (tmp_path / "b.key.json").exists()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "＝", "＋", "－", "＠"])
def test_no_cell_is_a_formula(tmp_path: Path, start: str) -> None:
    path = tmp_path / "a.csv"
    text = f'{start}HYPERLINK("http://x")'
    write_sheet(path, [said(text, f"{text} 1", f"{text} 2")], LABELS)
    fill(path, lambda row: "1")
    assert [cell[:2] for cell in rows_of(path)[1][1:4]] == [f"'{start}"] * 3
    assert [vote.text for vote in read_sheet(path)] == [text]


def test_copies_of_a_sheet_are_read_with_its_one_key(tmp_path: Path) -> None:
    """A class votes: each reader saves a copy under a name of their own, some rows are moved or deleted."""
    write_sheet(tmp_path / "sheet.csv", many(6), LABELS)
    write_sheet(tmp_path / "other.csv", many(6), LABELS, seed=5)
    (tmp_path / "broken.key.json").write_text("{")
    head, *rows = rows_of(tmp_path / "sheet.csv")
    for name, kept in (("민서", rows[::-1]), ("지우", rows[:2])):
        with (tmp_path / f"{name}.csv").open("w", encoding="utf-8-sig", newline="") as file:
            filled = ([*row[:4], for_first(row), "메모"] for row in kept)
            csv.writer(file).writerows([[*head, "이름"], *filled, ["", "", "", "", "", ""]])
        votes = read_sheet(tmp_path / f"{name}.csv")
        assert len(votes) == len(kept) and all(getattr(v, v.outcome) == "hybrid" for v in votes)


def test_a_key_of_another_sheet_is_not_used(tmp_path: Path) -> None:
    write_sheet(tmp_path / "a.csv", many(6), LABELS, seed=1)
    fill(tmp_path / "a.csv", for_first)
    filled = (tmp_path / "a.csv").read_bytes()
    for file in list(tmp_path.iterdir()):
        file.unlink()
    write_sheet(tmp_path / "a.csv", many(6), LABELS, seed=2)
    (tmp_path / "a.csv").write_bytes(filled)
    with pytest.raises(SheetError, match=r"a\.csv.*key\.json"):
        read_sheet(tmp_path / "a.csv")


def change(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: change(text, '"3","말 2"', '"9","말 2"'), r"a\.csv 4행: 번호 '9'"),
        (lambda text: change(text, '"3","말 2"', '"2","말 2"'), r"a\.csv 4행: 번호 '2'"),
        (lambda text: change(text, '"3","말 2"', '"","말 2"'), r"a\.csv 4행: 번호 ''"),
        (lambda text: change(text, "왼쪽\"\n", "비김\"\n"), r"a\.csv \d행: 판정 '비김'.*둘 다 좋음"),
        (lambda text: change(text, ",", ";"), "쉼표"),
        (lambda text: change(text, "번호 #", "번호 "), "첫 줄"),
        (lambda text: change(text, "판정 (", "("), "첫 줄"),
        (lambda text: "", "첫 줄"),
        (lambda text: text.split("\n")[0], "첫 줄"),
        (lambda text: text + '"7,' + "가" * 200_000, "CSV로 읽을 수 없어요"),
    ],
)  # fmt: skip
def test_a_spoilt_sheet_is_explained(tmp_path: Path, spoil: Callable[[str], str], message: str) -> None:
    path = tmp_path / "a.csv"
    write_sheet(path, many(6), LABELS)
    fill(path, for_first, lineterminator="\n")
    path.write_text(spoil(path.read_text(encoding="utf-8-sig")), encoding="utf-8")
    with pytest.raises((SheetError, DataError), match=message):
        read_sheet(path)


def test_what_is_no_sheet_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ChatbotError, match="읽을 수 없어요"):
        read_sheet(tmp_path / "none.csv")
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(SheetError, match=r"a\.xlsx.*CSV로 저장"):
        read_sheet(tmp_path / "a.xlsx")
    write_sheet(tmp_path / "a.csv", many(2), LABELS)
    for damage in ("{", "[]", '{"sheet": 1}'):
        (tmp_path / "a.key.json").write_text(damage)
        with pytest.raises(SheetError, match=r"key\.json"):
            read_sheet(tmp_path / "a.csv")


def test_a_sheet_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    write_sheet(tmp_path / "a.csv", many(2), LABELS)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(UsageError, match=r"a\.csv.*이미"):
        write_sheet(tmp_path / "a.csv", many(3), LABELS)
    assert before == {file: file.read_bytes() for file in tmp_path.iterdir()}
    (tmp_path / "a.csv").unlink()  # moved away to be filled in; its key must not be lost
    with pytest.raises(UsageError, match=r"a\.key\.json.*이미"):
        check_sheet_path(tmp_path / "a.csv")
    with pytest.raises(UsageError, match=r"\.csv"):
        write_sheet(tmp_path / "a.txt", many(3), LABELS)


def test_a_sheet_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SheetError, match="쓸 수 없어요"):
        write_sheet(tmp_path / "file" / "a.csv", many(2), LABELS)


def test_a_sheet_that_fails_after_its_key_takes_the_key_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import chatbot.sheets
    from chatbot.resources import write_private

    def write(path: Path, text: str) -> None:
        if path.suffix == ".csv":
            raise OSError(28, "No space left on device")
        write_private(path, text)

    monkeypatch.setattr(chatbot.sheets, "write_private", write)
    with pytest.raises(SheetError, match="No space"):
        write_sheet(tmp_path / "a.csv", many(2), LABELS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_from_prompts_to_standings_by_command(run: Run, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("안녕\n오늘 좀 우울해\n", encoding="utf-8")
    path = str(tmp_path / "a.csv")
    command = (
        "compare",
        "--prompts",
        str(tmp_path / "p.txt"),
        "--backends",
        "retrieval,gpt",
        "--sheet",
        path,
    )
    made = run(*command)
    assert made.returncode == 0, made.stderr
    again = run(*command)
    assert again.returncode == 2 and "이미 있어요" in again.stderr and "대답하는 중" not in again.stderr
    empty = run("compare", "--standings", "--sheet", path)
    assert empty.returncode == 1 and "a.csv" in empty.stderr and empty.stdout == ""
    fill(tmp_path / "a.csv", lambda row: "둘 다 나쁨" if row[0] == "1" else "")
    counted = run("compare", "--standings", "--sheet", path, "--json")
    assert counted.returncode == 0 and "줄 가운데 1줄" in counted.stderr
    assert [one["both_bad"] for one in json.loads(counted.stdout)["all"]["contenders"]] == [1, 1]

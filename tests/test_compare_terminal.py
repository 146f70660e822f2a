"""``chatbot compare`` in a real pseudo-terminal: columns, a talk with several, votes by keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from chatbot.history import History
from tests.test_talk_terminal import Terminal

BACKENDS = """
import atexit
import time
from chatbot.dialogue import Backend, Reply
from chatbot.errors import ChatbotError

class Parrot(Backend):
    name = "parrot"

    def stream(self, conversation):
        said = f"앵무새 {len(conversation.turns)} {conversation.turns[-1].text}"
        yield said
        yield Reply(said, self.name, "깃털", 0.5, seconds=0.01, tokens=4)

class Owl(Backend):
    name = "owl"

    def stream(self, conversation):
        yield Reply(f"부엉이 {len(conversation.turns)}", self.name)

class Slow(Backend):
    name = "slow"

    def stream(self, conversation):
        said = ""
        for n in range(200):
            time.sleep(0.05)
            said += f"조각{n} "
            yield f"조각{n} "
        yield Reply(said, self.name)

class Broken(Backend):
    name = "broken"

    def stream(self, conversation):
        raise ChatbotError("오늘은 쉬어요.")

class Heavy(Backend):
    name = "heavy"

    def __init__(self):
        atexit.register(print, "파이썬이 문을 닫아요")
        time.sleep(60)
"""


NAMES = ("Parrot", "Owl", "Slow", "Broken", "Heavy")


@pytest.fixture
def backends(tmp_path: Path) -> str:
    """Backends from elsewhere, so that nothing has to load."""
    info = tmp_path / "birds-1.0.dist-info"
    info.mkdir()
    (tmp_path / "birds.py").write_text(BACKENDS, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: birds\nVersion: 1.0\n")
    names = "".join(f"{name.lower()} = birds:{name}\n" for name in NAMES)
    (info / "entry_points.txt").write_text(f"[chatbot.backends]\n{names}")
    return str(tmp_path)


Compare = Callable[..., Terminal]


@pytest.fixture
def compare(home: Path, backends: str) -> Iterator[Compare]:
    opened: list[Terminal] = []

    def start(names: str, *arguments: str, columns: int = 90) -> Terminal:
        opened.append(
            Terminal(
                home,
                *arguments,
                "--backends",
                names,
                path=backends,
                command="compare",
                columns=columns,
            )
        )
        return opened[-1]

    yield start
    for each in opened:
        each.child.close(force=True)


def ended(screen: Terminal) -> str:
    """Return the last picture once the command has ended."""
    try:
        screen.wait(lambda text: False)
    except AssertionError:
        screen.child.close()
    return screen.text()


@pytest.mark.parametrize(("columns", "side_by_side"), [(140, True), (80, True), (60, False)])
def test_three_answers_stand_side_by_side_where_there_is_room(
    compare: Compare, columns: int, side_by_side: bool
) -> None:
    # Two of them short: stacked, all three fit the screen whatever the third says.
    screen = compare("retrieval,owl,parrot", "오늘 좀 우울해", columns=columns)
    shown = ended(screen)
    assert screen.child.exitstatus == 0 and "…" not in shown
    assert any(
        all(name in line for name in ("retrieval", "owl", "parrot")) for line in shown.splitlines()
    ) is (side_by_side)
    assert "나 › 오늘 좀 우울해" in shown
    for word in ("앵무새", "깃털", "부엉이", "점수", "0.500", "400토큰/초", "←"):
        assert word in shown
    assert not History().conversations()


@pytest.mark.parametrize("columns", [140, 80])
def test_the_three_that_ship_stand_side_by_side(compare: Compare, columns: int) -> None:
    screen = compare("retrieval,gpt,hybrid", "현관 앞에 누가 무를 한 포대 두고 갔어", columns=columns)
    shown = ended(screen)
    assert screen.child.exitstatus == 0 and "…" not in shown
    lines = shown.splitlines()
    assert any(all(name in line for name in ("retrieval", "gpt", "hybrid")) for line in lines)
    assert "견주어" in "".join(shown.split())  # why the hybrid chose what it says


def test_columns_fill_one_after_the_other_and_ctrl_c_stops_them(compare: Compare) -> None:
    screen = compare("parrot,slow,owl", "길게 말해 봐")
    shown = screen.wait("조각3")
    assert "앵무새 1 길게" in shown and "기다리는 중" in shown and "조각30" not in shown
    screen.child.sendintr()
    shown = ended(screen)
    assert "멈췄어요" in shown and "조각3" in shown and screen.child.exitstatus == 130


def test_who_leaves_while_a_model_loads_is_not_kept(compare: Compare) -> None:
    """Nor does Python shut down around the thread that loads: its library would abort."""
    screen = compare("heavy,parrot", "안녕")
    screen.wait("생각하는 중")
    screen.child.sendintr()
    shown = ended(screen)
    assert "그만두었어요" in shown and "문을 닫아요" not in shown and screen.child.exitstatus == 130


def test_one_that_fails_does_not_keep_the_others_from_answering(compare: Compare) -> None:
    screen = compare("broken,parrot", "안녕")
    shown = ended(screen)
    assert "오늘은 쉬어요" in shown and "앵무새 1 안녕" in shown and screen.child.exitstatus == 1


def test_each_column_goes_on_with_its_own_conversation(compare: Compare) -> None:
    screen = compare("parrot,owl")
    screen.wait("/help")
    screen.type("안녕\r")
    screen.wait("부엉이 1")
    screen.type("또\r")
    assert "앵무새 3 또" in screen.wait("부엉이 3")
    screen.type("/hlep\r")
    screen.wait("혹시 /help")
    screen.type("/why\r")  # a command of talk is none here, and is said to nobody
    screen.wait("/why 명령을 쓸 수 없어요")
    screen.type("/new\r")
    screen.wait("새 대화를 시작해요")
    screen.type("처음\r")
    screen.wait("앵무새 1 처음")
    screen.type("죽고 싶어\r")
    screen.wait(lambda text: text.count("109") >= 2)
    screen.leave()
    assert screen.child.exitstatus == 0 and not History().conversations()


def test_a_talk_goes_on_after_answers_were_stopped(compare: Compare) -> None:
    screen = compare("slow,parrot")
    screen.wait("/help")
    screen.type("길게\r")
    screen.wait("조각2")
    screen.child.sendintr()
    screen.wait("멈췄어요")
    screen.type("/quit\r")
    screen.wait("다음에 또")
    screen.child.expect(pexpect.EOF)


def sides(shown: str) -> tuple[str, str]:
    """Return who stood left and right, as was said at the end."""
    found = re.findall(r"왼쪽: (\w+) · 오른쪽: (\w+)", shown)
    return found[-1]


@pytest.mark.parametrize(
    ("key", "outcome"),
    [
        ("1", "left"),
        ("\x1b[D", "left"),
        ("2", "right"),
        ("\x1b[C", "right"),
        ("3", "both_good"),
        ("4", "both_bad"),
    ],
)
def test_one_key_votes_and_the_names_come_after_it(compare: Compare, key: str, outcome: str) -> None:
    screen = compare("parrot,owl", "안녕", "--vote")
    shown = screen.wait("건너뛰기")
    assert "1 왼쪽" in shown and "2 오른쪽" in shown
    assert "parrot" not in shown and "owl" not in shown and "점수" not in shown and "깃털" not in shown
    screen.type("x")
    screen.type(key)
    shown = ended(screen)
    left, right = sides(shown)
    first = next(line for line in shown.splitlines() if "앵무새" in line)
    assert {left, right} == {"parrot", "owl"}
    assert (first.index("앵무새") < first.index("부엉이")) is (left == "parrot")
    (vote,) = History().votes()
    assert (vote.text, vote.left, vote.right, vote.outcome) == ("안녕", left, right, outcome)
    assert len(History().conversations()) == 2 and screen.child.exitstatus == 0


def test_a_vote_may_be_left_out(compare: Compare) -> None:
    screen = compare("parrot,owl", "안녕", "--vote")
    screen.wait("건너뛰기")
    screen.type("0")
    assert sides(ended(screen)) and not History().votes()


def test_ctrl_d_in_place_of_a_vote_leaves_it_out(compare: Compare) -> None:
    screen = compare("parrot,owl", "안녕", "--vote")
    screen.wait("건너뛰기")
    screen.type("\x04")
    shown = ended(screen)
    assert sides(shown) and "Abort" not in shown and screen.child.exitstatus == 0 and not History().votes()


def test_a_talk_with_votes_hides_the_names_until_the_conversation_ends(compare: Compare) -> None:
    screen = compare("parrot,owl,retrieval", "--vote", columns=120)
    screen.wait("/help")
    for n, said in enumerate(("안녕", "뭐해"), start=1):
        screen.type(f"{said}\r")
        screen.wait(lambda text, n=n: text.count("건너뛰기") == n)
        screen.type("1")
        screen.wait(lambda text, n=n: text.count("왼쪽이 나아요") == n)
    assert not re.search("parrot|owl|retrieval", screen.text())
    screen.type("죽고 싶어\r")
    shown = screen.wait(lambda text: text.count("109") >= 2)
    screen.type("/new\r")
    shown = screen.wait("새 대화를 시작해요")
    pair = sides(shown)
    screen.leave()
    votes = History().votes()
    assert [(v.text, v.left, v.right) for v in votes] == [("안녕", *pair), ("뭐해", *pair)]


def test_a_question_that_one_cannot_answer_is_forgotten_by_both(compare: Compare) -> None:
    screen = compare("parrot,broken", "안녕", "--vote")
    shown = ended(screen)
    assert "오늘은 쉬어요" in shown and "없던 것으로" in shown and screen.child.exitstatus == 1
    assert not History().votes()

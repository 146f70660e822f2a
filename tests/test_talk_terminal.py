"""``chatbot talk`` in a real pseudo-terminal, its screen read through a terminal emulator."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pexpect.popen_spawn
import pyte
import pytest

from chatbot.history import History
from tests.conftest import ROOT
from tests.tiny_models import write_endless

COLUMNS, ROWS = 90, 40
SLOW_BACKEND = """
import time
from chatbot.dialogue import Backend, Reply

class Slow(Backend):
    name = "slow"

    def stream(self, conversation):
        for n in range(200):
            time.sleep(0.05)
            yield f"조각{n} "
        yield Reply("끝", self.name)
"""


class Terminal:
    """A command in a pseudo-terminal, and what a person would see of it."""

    def __init__(
        self, home: Path, *arguments: str, path: str = "", command: str = "talk", columns: int = COLUMNS
    ) -> None:
        self._columns = columns
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "chatbot", command, *arguments],
            cwd=str(ROOT),
            env={**os.environ, "CHATBOT_HOME": str(home), "TERM": "xterm-256color", "PYTHONPATH": path},
            dimensions=(ROWS, columns),
            timeout=60,
            # What runs in the background of a shell without job control is deaf to Ctrl-C, as are its own.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self._screen = pyte.HistoryScreen(columns, ROWS, history=1000)
        self._stream = pyte.ByteStream(self._screen)

    def text(self) -> str:
        # A double-width character leaves an empty cell behind it.
        lines = ["".join(self._screen.buffer[y][x].data for x in range(self._columns)) for y in range(ROWS)]
        return "\n".join(line.rstrip() for line in lines)

    def wait(self, found: Callable[[str], object] | str, seconds: float = 60) -> str:
        deadline = time.monotonic() + seconds
        check = (lambda text: found in text) if isinstance(found, str) else found
        while not check(self.text()):
            assert time.monotonic() < deadline, f"waited in vain; the screen shows:\n{self.text()}"
            try:
                self._stream.feed(self.child.read_nonblocking(65536, timeout=0.1))
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                assert check(self.text()), f"ended early; the screen shows:\n{self.text()}"
        return self.text()

    def type(self, keys: str) -> None:
        self.child.send(keys.encode())

    def leave(self) -> None:
        self.child.send(b"\x04")
        self.child.expect(pexpect.EOF)
        self.child.close()


@pytest.fixture
def terminal(home: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: str, path: str = "") -> Terminal:
        opened.append(Terminal(home, *arguments, path=path))
        opened[-1].wait("/help")
        return opened[-1]

    yield start
    for each in opened:
        each.child.close(force=True)


@pytest.fixture
def slow_backend(tmp_path: Path) -> str:
    info = tmp_path / "slow-1.0.dist-info"
    info.mkdir()
    (tmp_path / "slow_backend.py").write_text(SLOW_BACKEND, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[chatbot.backends]\nslow = slow_backend:Slow\n")
    return str(tmp_path)


def replies(screen: str) -> list[str]:
    return re.findall(r"마루 › (\S.*)", screen)


def test_a_conversation(terminal: Callable[..., Terminal]) -> None:
    screen = terminal()
    screen.type("오늘 너무 피곤해\r")
    screen.wait(lambda text: len(replies(text)) == 1)
    screen.type("/why\r")
    shown = screen.wait("fatigue-tired-01")
    assert "hybrid" in shown and "바로 골랐어요" in shown
    screen.type("/style 존댓말\r")
    screen.wait("말투: 존댓말")
    screen.type("오늘 기분이 좋아\r")
    shown = screen.wait(lambda text: len(replies(text)) == 2)
    assert replies(shown)[-1].rstrip(".!?~ ").endswith(("요", "죠")) or "요" in replies(shown)[-1]
    screen.leave()
    assert screen.child.exitstatus == 0
    history = History()
    number = history.last_id()
    assert number and [r.turn.text for r in history.records(number)][0::2] == [
        "오늘 너무 피곤해",
        "오늘 기분이 좋아",
    ]


def test_backspace_deletes_a_whole_syllable(terminal: Callable[..., Terminal]) -> None:
    screen = terminal()
    screen.type("안녕하세요꽥")
    screen.wait("꽥")
    screen.type("\x7f")
    screen.wait(lambda text: "꽥" not in text)
    assert "나 › 안녕하세요" in screen.text()
    screen.type("\r")
    screen.wait(lambda text: replies(text))
    screen.leave()
    history = History()
    assert history.records(history.last_id() or "")[0].turn.text == "안녕하세요"


def test_commands_are_completed_and_lines_broken(terminal: Callable[..., Terminal]) -> None:
    screen = terminal()
    screen.type("/he")
    screen.wait("이 목록")
    screen.type("\t\r")
    screen.wait("지난 대화에서 찾기")
    screen.type("첫 줄\x1b\r둘째 줄\r")
    screen.wait(lambda text: replies(text))
    screen.leave()
    history = History()
    assert history.records(history.last_id() or "")[0].turn.text == "첫 줄\n둘째 줄"


def test_ctrl_c_stops_a_reply_and_not_the_talk(terminal: Callable[..., Terminal], slow_backend: str) -> None:
    screen = terminal("--backend", "slow", path=slow_backend)
    screen.type("길게 말해 봐\r")
    screen.wait("조각3")
    screen.child.sendintr()
    screen.wait("멈췄어요")
    screen.type("/backend retrieval\r")
    screen.wait("이제 retrieval")
    screen.type("오늘 너무 피곤해\r")
    screen.wait(lambda text: len(replies(text)) == 2)
    screen.type("\x03")
    screen.wait("Ctrl-D")
    screen.leave()
    history = History()
    turns = [r.turn.text for r in history.records(history.last_id() or "")]
    assert turns[1].startswith("조각0 ") and len(turns) == 4


def test_pieces_arrive_over_time(terminal: Callable[..., Terminal], slow_backend: str) -> None:
    screen = terminal("--backend", "slow", path=slow_backend)
    screen.type("길게 말해 봐\r")
    screen.wait("조각1")
    assert "조각40" not in screen.text()
    screen.wait("조각40")
    screen.child.sendintr()
    screen.wait("멈췄어요")
    screen.leave()


def test_gpt_streams_and_ctrl_c_stops_it(terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    """A model that never ends: what it says grows on the screen until it is told to stop."""
    model = write_endless(tmp_path / "endless")
    screen = terminal("--backend", "gpt", "--model", str(model), "--max-new-tokens", "1000")
    screen.type("길게 말해 봐\r")
    lengths = set()
    for _ in range(5):
        before = max(lengths, default=0)
        screen.wait(lambda text, before=before: len(_last_reply(text)) > before)
        lengths.add(len(_last_reply(screen.text())))
    assert len(lengths) == 5
    screen.child.sendintr()
    screen.wait("멈췄어요")
    screen.type("/set max_new_tokens 5\r")
    screen.wait("max_new_tokens 5")
    screen.type("/backend retrieval\r")
    screen.wait("대화는 이어져요")
    screen.type("오늘 너무 피곤해\r")
    screen.wait(lambda text: len(replies(text)) == 2)
    screen.leave()
    assert screen.child.exitstatus == 0
    history = History()
    records = history.records(history.last_id() or "")
    assert [r.reply.backend for r in records if r.reply] == ["gpt", "retrieval"] and len(records) == 4


def _last_reply(screen: str) -> str:
    return screen.rpartition("마루 ›")[2] if "마루 ›" in screen else ""


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.0, 0.02, 0.1, 0.3, 0.6, 1.0, 1.5])
def test_a_kill_loses_nothing_shown_and_nothing_entered(
    terminal: Callable[..., Terminal], slow_backend: str, after: float
) -> None:
    screen = terminal("--backend", "slow", path=slow_backend)
    screen.type("이 말은 남아야 해\r")
    screen.wait("조각0")
    time.sleep(after)
    screen.child.kill(signal.SIGKILL)
    shown = ""
    try:
        while True:
            shown = screen.wait(lambda text: False, seconds=3)
    except AssertionError:
        shown = screen.text()
    history = History()
    turns = [r.turn.text for r in history.records(history.last_id() or "")]
    assert turns[0] == "이 말은 남아야 해"
    stored = turns[1] if len(turns) > 1 else ""
    for piece in re.findall(r"조각\d+(?= )", shown):
        assert piece in stored


def test_a_kill_in_a_pipe_loses_nothing_printed(home: Path) -> None:
    child = pexpect.popen_spawn.PopenSpawn(
        [sys.executable, "-m", "chatbot", "talk"],
        cwd=str(ROOT),
        env={**os.environ, "CHATBOT_HOME": str(home)},
        encoding="utf-8",
        timeout=60,
    )
    printed = []
    for text in ("안녕", "오늘 너무 피곤해", "비 오네"):
        child.sendline(text)
        printed.append(child.readline().strip())
    child.sendline("이것도 남아야 해")
    while not (home / "history.db").exists() or "이것도 남아야 해" not in [
        r.turn.text for r in History().search("이것도")
    ]:
        time.sleep(0.02)
    child.kill(signal.SIGKILL)
    history = History()
    turns = [r.turn.text for r in history.records(history.last_id() or "")]
    assert turns[1:7:2] == printed and turns[6] == "이것도 남아야 해"


def test_typing_works_while_an_index_is_being_built(
    terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    pairs = tmp_path / "pairs.csv"
    rows = "".join(f"{n}번째 질문이야,{n}번째 대답이야\n" for n in range(20_000))
    pairs.write_text("question,answer\n" + rows, encoding="utf-8")
    screen = terminal("--data", str(pairs))
    screen.type("17번째 질문이야\r")
    shown = screen.wait("색인 만드는 중")
    assert "/20000" in shown and "마루 ›" not in shown
    screen.wait("마루 › 17번째 대답이야")
    screen.leave()

"""The slash commands of a talk, the same on a terminal and in a pipe."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from chatbot.backends import opened
from chatbot.dialogue import Adjustable, Backend, Conversation, Reply, Teachable
from chatbot.resources import write_private
from chatbot.screens.console import plain
from chatbot.screens.records import SPEAKERS, print_hits
from chatbot.session import Session

Answer = Generator["str | Reply", None, None]


class Quit(Exception):
    """The person wants to leave."""


@dataclass(frozen=True)
class Command:
    """One slash command: what it takes, what it does, and the method that does it."""

    takes: str
    help: str
    run: Callable[[Commands, str], Answer | None]


class Commands:
    """Runs slash commands on a session; what they print goes to ``console``."""

    def __init__(self, session: Session, console: Console, open_backend: Callable[[str], Backend]) -> None:
        self.session, self.console, self._open_backend = session, console, open_backend

    def parse(self, line: str) -> tuple[str, str] | None:
        """Split a command line as :func:`split_command` does."""
        return split_command(line, COMMANDS)

    def run(self, name: str, argument: str) -> Answer | None:
        """Run a command; return the stream of a new answer where it makes one.

        Raises:
            Quit: the person wants to leave.
            ChatbotError: the command could not be carried out.
        """
        if name not in COMMANDS:
            self._say(hint(name, COMMANDS))
            return None
        return COMMANDS[name].run(self, argument)

    def _say(self, text: str) -> None:
        self.console.print(plain(text, "dim"))

    def _help(self, argument: str) -> None:
        table = Table.grid(padding=(0, 2))
        for name, command in COMMANDS.items():
            table.add_row(plain(f"/{name} {command.takes}".rstrip(), "bold"), plain(command.help))
        self.console.print(table)
        self._say("Alt+Enter 줄바꿈 · Ctrl-C 답 멈추기 · Ctrl-D 나가기")

    def _new(self, argument: str) -> None:
        self.session.restart()
        self._say("새 대화를 시작해요.")

    def _backend(self, argument: str) -> None:
        if not argument:
            self._say(f"지금은 {self.session.backend.name} 백엔드예요.")
            return
        self.session.backend = self._open_backend(argument)
        self._say(f"이제 {argument} 백엔드가 대답해요. 대화는 이어져요.")

    def _style(self, argument: str) -> None:
        names = {"auto": "상대에 맞춤", "polite": "존댓말", "casual": "반말"}
        chosen = {
            "auto": "auto",
            "polite": "polite",
            "casual": "casual",
            "존댓말": "polite",
            "반말": "casual",
        }
        conversation = self.session.conversation
        if argument and argument not in chosen:
            self._say(
                f"말투 '{argument}'은(는) 없어요. auto, polite(존댓말), casual(반말) 중에서 골라 주세요."
            )
            return
        if argument:
            style = chosen[argument]
            conversation.style = "polite" if style == "polite" else "casual" if style == "casual" else None
        self._say(f"말투: {names[conversation.style or 'auto']}")

    def _why(self, argument: str) -> None:
        reply = self.session.last_reply
        if reply is None:
            self._say("아직 대답한 것이 없어요.")
            return
        facts = [f"백엔드 {reply.backend}"]
        if reply.model:
            facts.append(f"모델 {reply.model}")
        if reply.score is not None:
            facts.append(f"점수 {reply.score:.3f}")
        if reply.seconds is not None:
            facts.append(f"{reply.seconds:.3f}초")
        self._say(" · ".join(facts))
        if reply.reason:
            self._say(reply.reason)
        table = Table(box=None, header_style="dim", pad_edge=False)
        table.add_column("점수", justify="right", no_wrap=True)
        table.add_column("어디서 (질문)", overflow="fold")
        table.add_column("답", overflow="fold")
        for candidate in reply.candidates:
            table.add_row(f"{candidate.score:.3f}", plain(candidate.source), plain(candidate.text))
        if reply.candidates:
            self.console.print(table)

    def _retry(self, argument: str) -> Answer | None:
        if not self.session.conversation.said("user"):
            self._say("다시 대답할 말이 없어요.")
            return None
        return self.session.retry()

    def _undo(self, argument: str) -> None:
        taken = self.session.undo()
        self._say(f"'{taken.text}'부터 되돌렸어요." if taken else "되돌릴 말이 없어요.")

    def _teach(self, argument: str) -> None:
        questions = self.session.conversation.said("user")
        backend = opened(self.session.backend)
        if not argument or not questions:
            self._say("먼저 말을 건 다음 '/teach 대답'처럼 써 주세요.")
        elif not isinstance(backend, Teachable):
            self._say(f"{backend.name} 백엔드는 대화하면서 가르칠 수 없어요.")
        else:
            backend.teach(questions[-1], argument)
            self._say(f"배웠어요. 앞으로 '{questions[-1]}'에는 이렇게 대답할게요: {argument}")

    def _set(self, argument: str) -> None:
        backend = opened(self.session.backend)
        if not isinstance(backend, Adjustable):
            self._say(f"{backend.name} 백엔드에는 바꿀 설정이 없어요.")
            return
        name, _, value = argument.partition(" ")
        if value:
            backend.adjust(name, value.strip())
        self._say("설정: " + ", ".join(f"{key} {value}" for key, value in backend.settings.items()))

    def _save(self, argument: str) -> None:
        if not argument:
            self._say("'/save 파일이름'처럼 써 주세요. 이름이 .jsonl로 끝나면 JSON Lines로 저장해요.")
            return
        path = Path(argument)
        try:
            path = path.expanduser()
            if path.exists():
                self._say(f"{path} 파일이 이미 있어요. 다른 이름을 써 주세요.")
                return
            write_private(path, conversation_text(self.session.conversation, path.suffix == ".jsonl"))
        except (OSError, RuntimeError) as error:  # RuntimeError: nobody's home
            reason = getattr(error, "strerror", None) or "없는 홈 폴더"
            self._say(f"{path}에 저장할 수 없어요({reason}). 다른 곳을 써 주세요.")
            return
        self._say(f"{path}에 저장했어요.")

    def _search(self, argument: str) -> None:
        if self.session.history is None:
            self._say("대화를 저장하지 않고 있어서 찾을 수 없어요.")
        elif not argument:
            self._say("'/search 찾을말'처럼 써 주세요.")
        else:
            print_hits(self.console, self.session.history.search(argument, limit=10), argument)

    def _quit(self, argument: str) -> None:
        raise Quit


COMMANDS: dict[str, Command] = {
    "help": Command("", "이 목록", Commands._help),
    "new": Command("", "새 대화", Commands._new),
    "backend": Command("이름", "대답하는 백엔드 바꾸기", Commands._backend),
    "style": Command("auto|polite|casual", "말투 정하기", Commands._style),
    "why": Command("", "마지막 답이 어디서 왔는지, 점수와 함께", Commands._why),
    "retry": Command("", "마지막 말에 다시 대답하기", Commands._retry),
    "undo": Command("", "마지막 말과 답 되돌리기", Commands._undo),
    "teach": Command("대답", "마지막 말에 앞으로 이렇게 대답하기", Commands._teach),
    "set": Command("이름 값", "설정 보기와 바꾸기", Commands._set),
    "save": Command("파일", "대화를 파일로 저장", Commands._save),
    "search": Command("말", "지난 대화에서 찾기", Commands._search),
    "quit": Command("", "나가기", Commands._quit),
}


def split_command(line: str, known: Collection[str]) -> tuple[str, str] | None:
    """Split a command line into name and argument; ``None`` where it is an utterance.

    ``/오늘 뭐 먹지`` is an utterance; ``/hlep`` is a slip of the finger that :func:`hint` is for.
    """
    match = re.fullmatch(r"/([a-z]+)(?:\s+(.*))?", line.strip(), re.DOTALL)
    if not match:
        return None
    name, argument = match[1], (match[2] or "").strip()
    return (name, argument) if name in known or _close(name, known) else None


def hint(name: str, known: Collection[str]) -> str:
    """Return what to say to a command that is nearly one."""
    return f"/{name} 명령은 없어요. 혹시 /{_close(name, known)[0]}인가요? /help로 모두 볼 수 있어요."


def _close(name: str, known: Collection[str]) -> list[str]:
    return difflib.get_close_matches(name, known, 1, 0.6)


def conversation_text(conversation: Conversation, as_json: bool = False) -> str:
    """Return a conversation as text to read, or as one line of the messages form."""
    if as_json:
        messages = [{"role": t.role, "name": t.name, "content": t.text} for t in conversation.turns]
        row = {"id": conversation.id, "messages": messages, "meta": {}}
        return json.dumps(row, ensure_ascii=False) + "\n"
    return "".join(
        f"[{t.at:%Y-%m-%d %H:%M}] {t.name or SPEAKERS[t.role]}: {t.text}\n" for t in conversation.turns
    )

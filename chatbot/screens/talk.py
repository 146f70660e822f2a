"""The chat itself: on a terminal with prompt_toolkit and Rich, in a pipe line by line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from rich.console import Console

from chatbot.dialogue import Backend, Reply
from chatbot.errors import explain
from chatbot.models.encoder import Progress
from chatbot.screens.commands import COMMANDS, Answer, Commands, Quit
from chatbot.screens.console import notes, output, plain
from chatbot.screens.progress import ProgressReport
from chatbot.screens.records import SPEAKERS
from chatbot.session import Session
from chatbot.text import normalise, one_line

BOT = SPEAKERS["assistant"]
RECALLED = 4  # turns shown of a conversation that goes on


class Loading:
    """Progress of a backend that is opened in the background, shown only while a person waits."""

    def __init__(self) -> None:
        self._watcher: Progress | None = None

    def watch(self, watcher: Progress | None) -> None:
        """Pass progress on to ``watcher`` from now on; ``None`` to nobody."""
        self._watcher = watcher

    def __call__(self, done: int, total: int) -> None:
        """Take note of progress; called from the thread that opens the backend."""
        watcher = self._watcher  # read once: the other thread may stop watching at any time
        if watcher:
            watcher(done, total)


def talk(
    session: Session,
    open_backend: Callable[[str], Backend],
    loading: Loading,
    imitated: str | None = None,
) -> None:
    """Talk on the terminal until the person leaves; ``imitated`` is whose manner the answers have."""
    console = output()
    commands = Commands(session, console, open_backend)
    helps = {name: command.help for name, command in COMMANDS.items()}
    prompt = new_prompt(helps, session.conversation.said("user"))
    greeting = f"{imitated}처럼 대답해요." if imitated else f"{BOT}와 이야기해 보세요."
    console.print(plain(f"{greeting} /help 도움말 · Ctrl-D 나가기", "dim"))
    for turn in session.conversation.turns[-RECALLED:]:
        console.print(plain(f"{turn.name or SPEAKERS[turn.role]} › {turn.text}", "dim"))
    noted: set[str] = set()
    for line in typed(prompt, console):
        try:
            command = commands.parse(line)
            answer = commands.run(*command) if command else session.say(line)
            if answer is not None:
                _show(session, answer, loading)
        except Quit:
            break
        except KeyboardInterrupt:
            console.print(plain(" (멈췄어요)", "dim"))
        except Exception as error:  # one answer that fails must not end the talk
            if os.environ.get("CHATBOT_DEBUG"):
                raise
            console.print(plain(explain(error), "red"))
        for note in getattr(session.backend, "notes", ()):
            if note not in noted:
                noted.add(note)
                console.print(plain(note, "dim"))
    console.print(plain("다음에 또 이야기해요.", "dim"))


def new_prompt(helps: Mapping[str, str], said: Sequence[str] = ()) -> PromptSession[str]:
    """Return the line a person types on, with slash commands to complete and earlier lines to call back.

    ``helps`` says what each command does, ``said`` are the earlier lines, oldest first.
    """
    return PromptSession(
        message=FormattedText([("bold ansicyan", "나 "), ("", "› ")]),
        completer=_CommandCompleter(helps),
        complete_while_typing=True,
        key_bindings=_keys(),
        multiline=True,
        prompt_continuation="   ",
        history=InMemoryHistory(said),
    )


def typed(prompt: PromptSession[str], console: Console) -> Iterator[str]:
    """Yield the lines that say something, until the person leaves."""
    while True:
        try:
            line = prompt.prompt()
        except KeyboardInterrupt:
            console.print(plain("나가려면 Ctrl-D를 누르거나 /quit을 입력하세요.", "dim"))
            continue
        except EOFError:
            return
        if normalise(line):
            yield line


def talk_in_pipe(session: Session, open_backend: Callable[[str], Backend], lines: Iterable[str]) -> bool:
    """Answer every line by one line on standard output; everything else goes to standard error.

    Returns whether every line could be answered.
    """
    console = notes()
    commands = Commands(session, console, open_backend)
    fine = True
    for line in lines:
        if not normalise(line):
            continue
        try:
            command = commands.parse(line)
            answer = commands.run(*command) if command else session.say(line)
            if answer is not None:
                *_, reply = answer
                if isinstance(reply, Reply):
                    sys.stdout.write(one_line(reply.text) + "\n")
                    sys.stdout.flush()
        except Quit:
            break
        except BrokenPipeError:
            raise
        except Exception as error:  # the lines after it still want their answers
            if os.environ.get("CHATBOT_DEBUG") or getattr(session.backend, "failed", False):
                raise  # where the backend cannot be opened, no line will have an answer
            fine = False
            console.print(plain(explain(error)))
    return fine


def _show(session: Session, answer: Answer, loading: Loading) -> None:
    """Print an answer as it comes; leaving on the way stops the backend."""
    console = output()
    with closing(answer):
        with waiting(loading):
            piece = next(answer, None)
        if piece is None:
            return
        console.print(plain(session.speaker or BOT, "bold green"), plain("› "), end="")
        if isinstance(piece, Reply):
            console.print(plain(piece.text), end="")
        while isinstance(piece, str):
            console.print(plain(piece), end="")
            console.file.flush()
            piece = next(answer, None)
        console.print()


@contextmanager
def waiting(loading: Loading) -> Iterator[None]:
    """Show that something is going on until the first piece is there."""
    with output().status("생각하는 중") as status, ProgressReport("색인 만드는 중") as report:

        def show(done: int, total: int) -> None:
            status.stop()
            report(done, total)

        loading.watch(show)
        try:
            yield
        finally:
            loading.watch(None)


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


class _CommandCompleter(Completer):
    """Completes slash commands at the start of the line."""

    def __init__(self, helps: Mapping[str, str]) -> None:
        self._helps = helps

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Yield the commands that begin as the line does."""
        typed = document.text
        if typed.startswith("/") and " " not in typed:
            for name, meaning in self._helps.items():
                if name.startswith(typed[1:]):
                    yield Completion(f"/{name}", -len(typed), display_meta=meaning)

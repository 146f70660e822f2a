"""The chat itself: on a terminal with prompt_toolkit and Rich, in a pipe line by line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from chatbot.dialogue import Backend, Reply
from chatbot.errors import ChatbotError
from chatbot.models.encoder import Progress
from chatbot.screens.commands import COMMANDS, Answer, Commands, Quit
from chatbot.screens.console import notes, output, plain
from chatbot.screens.progress import ProgressReport
from chatbot.session import Session
from chatbot.text import one_line

BOT = "마루"


class Loading:
    """Progress of a backend that is opened in the background, shown only while a person waits."""

    def __init__(self) -> None:
        self._watcher: Progress | None = None

    def watch(self, watcher: Progress | None) -> None:
        """Pass progress on to ``watcher`` from now on; ``None`` to nobody."""
        self._watcher = watcher

    def __call__(self, done: int, total: int) -> None:
        """Take note of progress; called from the thread that opens the backend."""
        if self._watcher:
            self._watcher(done, total)


def talk(session: Session, open_backend: Callable[[str], Backend], loading: Loading) -> None:
    """Talk on the terminal until the person leaves."""
    console = output()
    commands = Commands(session, console, open_backend)
    prompt: PromptSession[str] = PromptSession(
        message=FormattedText([("bold ansicyan", "나 "), ("", "› ")]),
        completer=_CommandCompleter(),
        complete_while_typing=True,
        key_bindings=_keys(),
        multiline=True,
        prompt_continuation="   ",
        history=_remembered(session),
    )
    console.print(plain(f"{BOT}와 이야기해 보세요. /help 도움말 · Ctrl-D 나가기", "dim"))
    while True:
        try:
            line = prompt.prompt()
        except KeyboardInterrupt:
            console.print(plain("나가려면 Ctrl-D를 누르거나 /quit을 입력하세요.", "dim"))
            continue
        except EOFError:
            break
        if not line.strip():
            continue
        command = commands.parse(line)
        try:
            answer = commands.run(*command) if command else session.say(line)
        except Quit:
            break
        if answer is not None:
            _show(answer, loading)
    console.print(plain("다음에 또 이야기해요.", "dim"))


def talk_in_pipe(session: Session, open_backend: Callable[[str], Backend], lines: Iterable[str]) -> None:
    """Answer every line by one line on standard output; everything else goes to standard error."""
    commands = Commands(session, notes(), open_backend)
    for line in lines:
        if not line.strip():
            continue
        command = commands.parse(line)
        try:
            answer = commands.run(*command) if command else session.say(line)
        except Quit:
            return
        if answer is not None:
            *_, reply = answer
            if isinstance(reply, Reply):
                sys.stdout.write(one_line(reply.text) + "\n")
                sys.stdout.flush()


def _show(answer: Answer, loading: Loading) -> None:
    """Print an answer as it comes; Ctrl-C stops the answer, not the talk."""
    console = output()
    try:
        with closing(answer):
            with _waiting(loading):
                first = next(answer, None)
            if first is None:
                return
            console.print(plain(f"{BOT} ", "bold green"), end="")
            console.print("› ", end="")
            piece: str | Reply | None = first
            while isinstance(piece, str):
                console.print(plain(piece), end="")
                console.file.flush()
                piece = next(answer, None)
            console.print()
    except KeyboardInterrupt:
        console.print(plain(" (멈췄어요)", "dim"))
    except ChatbotError as error:
        console.print(plain(str(error), "red"))


@contextmanager
def _waiting(loading: Loading) -> Iterator[None]:
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


def _remembered(session: Session) -> InMemoryHistory:
    """Return the input history: what this person said in this conversation before."""
    return InMemoryHistory(session.conversation.said("user"))


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

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Yield the commands that begin as the line does."""
        typed = document.text
        if typed.startswith("/") and " " not in typed:
            for name, command in COMMANDS.items():
                if name.startswith(typed[1:]):
                    yield Completion(f"/{name}", -len(typed), display_meta=command.help)

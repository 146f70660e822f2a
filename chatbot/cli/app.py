"""The command line: parse options, call one function, print. Heavy imports wait for their command."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from chatbot.cli.common import announce_server, chosen_style, print_json, question_of, reply_json, say
from chatbot.cli.compare import compare
from chatbot.cli.data import data_app, import_
from chatbot.cli.evaluate import evaluate
from chatbot.cli.history import conversation_id, history_app
from chatbot.cli.models import models_app
from chatbot.cli.train import train_app
from chatbot.errors import ChatbotError, UsageError, explain
from chatbot.options import AsJson, BackendName, NoHistory, Style, takes_answer_options

if TYPE_CHECKING:
    from chatbot.dialogue import Backend, Conversation
    from chatbot.history import History


class _KoreanErrors(TyperGroup):
    """Prints our own errors as one sentence and ends with their exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ChatbotError as error:
            say(f"오류: {error}")
            raise typer.Exit(error.exit_code) from error
        except (KeyboardInterrupt, typer.Abort):
            say("그만두었어요.")
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_KoreanErrors,
    help="내 대화로 가르칠 수 있는 한국어 챗봇",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(history_app, name="history")
app.add_typer(data_app, name="data")
app.add_typer(models_app, name="models")
app.add_typer(train_app, name="train")


@app.command()
@takes_answer_options
def talk(
    backend: BackendName = "hybrid",
    go_on: Annotated[bool, typer.Option("--continue", "-c", help="마지막 대화 이어 하기")] = False,
    resume: Annotated[str | None, typer.Option("--resume", help="이 번호의 대화 이어 하기")] = None,
    style: Style = "auto",
    no_history: NoHistory = False,
    *,
    given: dict[str, Any],
) -> None:
    """터미널에서 대화하기 (파이프로는 한 줄에 한 답)."""
    from chatbot.backends import check_options, open_in_background, usable_options
    from chatbot.knowledge import personal_dataset
    from chatbot.screens import talk as screen
    from chatbot.screens.progress import ProgressReport
    from chatbot.session import Session

    if no_history and (go_on or resume):
        raise UsageError("--no-history는 --continue, --resume과 함께 쓸 수 없어요. 하나만 써 주세요.")
    check_options(backend, **given)
    on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    with _history(no_history) as history, ProgressReport("색인 만드는 중") as report:
        loading = screen.Loading()

        def open_other(name: str) -> Backend:
            """Open a backend with those of the given options that it can use."""
            announce_server(name, given)
            progress = loading if on_terminal else report
            return open_in_background(name, **usable_options(name, **given, progress=progress))

        past = _past(history, go_on, resume)
        session = Session(open_other(backend), history, conversation=past, warn=say)
        session.conversation.style = chosen_style(style)
        if on_terminal:
            dataset = personal_dataset(given["data"])
            screen.talk(session, open_other, loading, dataset.speaker if dataset else None)
        elif not screen.talk_in_pipe(session, open_other, sys.stdin):
            raise typer.Exit(1)


@app.command()
@takes_answer_options
def ask(
    text: Annotated[list[str] | None, typer.Argument(help="물어볼 말 (없으면 표준 입력)")] = None,
    backend: BackendName = "hybrid",
    k: Annotated[int | None, typer.Option("-k", min=1, max=5, help="보여 줄 후보 수")] = None,
    style: Style = "auto",
    no_history: NoHistory = False,
    as_json: AsJson = False,
    *,
    given: dict[str, Any],
) -> None:
    """한 번 묻고 한 번 답 듣기."""
    from chatbot.backends import check_options, open_in_background, usable_options
    from chatbot.screens.progress import ProgressReport
    from chatbot.session import Session
    from chatbot.text import one_line, printable

    question = question_of(text, 'chatbot ask "안녕"')
    check_options(backend, **given)
    announce_server(backend, given)
    with _history(no_history) as history, ProgressReport("색인 만드는 중") as report:
        # Opened beside, so that the question is stored before anything can go wrong.
        opening = open_in_background(backend, **usable_options(backend, **given, progress=report))
        session = Session(opening, history, warn=say)
        session.conversation.style = chosen_style(style)
        reply = session.ask(question)
    for note in opening.notes:
        say(note)
    if as_json:
        print_json(reply_json(reply, k))
        return
    typer.echo(reply.text)
    if k:
        for candidate in reply.candidates[:k]:
            said, source = (one_line(printable(text)) for text in (candidate.text, candidate.source))
            typer.echo(f"{candidate.score:.3f}\t{said}\t{source}")


app.command()(compare)
app.command("import")(import_)
app.command()(evaluate)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """장치, 버전, 파일 위치, 빠진 것 살펴보기."""
    from chatbot.doctor import examine

    facts, missing = examine()
    if as_json:
        print_json({**facts, "missing": missing})
    else:
        for name, value in facts.items():
            typer.echo(f"{name}\t{value}")
        for problem in missing:
            say(problem)
        if not missing:
            say("빠진 것이 없어요.")
    if missing:
        raise typer.Exit(1)


@contextmanager
def _history(no_history: bool) -> Iterator[History | None]:
    """Open the history for a conversation; trouble with it is said, and the talk goes on unsaved."""
    if no_history:
        yield None
        return
    from chatbot.history import History, HistoryError

    try:
        history = History()
    except HistoryError as error:
        say(f"{error} 이번 대화는 저장되지 않아요.")
        yield None
        return
    try:
        yield history
    finally:
        history.close()


def _past(history: History | None, go_on: bool, resume: str | None) -> Conversation | None:
    if go_on and resume:
        raise UsageError("--continue와 --resume은 함께 쓸 수 없어요. 하나만 써 주세요.")
    if history is None or not (go_on or resume):
        return None
    return history.load(conversation_id(history, resume))


def main() -> None:
    """Run the command line with UTF-8 streams; a closed pipe ends it quietly."""
    try:
        _run()
    except SystemExit as ended:
        backends = sys.modules.get("chatbot.backends")
        if backends and backends.still_opening():
            # Python shutting down around a thread that loads a model ends in an abort of the C++ library.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(ended.code if isinstance(ended.code, int) else 1 if ended.code else 0)
        raise


def _run() -> None:
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(encoding="utf-8", errors="replace")
    # Where the locale is not UTF-8, Python hands over undecoded bytes as surrogates.
    sys.argv = [os.fsencode(argument).decode("utf-8", "replace") for argument in sys.argv]
    try:
        app()
    except BrokenPipeError:
        # Whoever read us has left; nothing may be flushed to them at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if os.environ.get("CHATBOT_DEBUG"):
            raise
        say(f"오류: {explain(error)}")
        sys.exit(1)

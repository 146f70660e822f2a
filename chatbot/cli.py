"""The command line: parse options, call one function, print. Heavy imports wait for their command."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from chatbot.errors import ChatbotError, UsageError, explain
from chatbot.options import (
    AsJson,
    BackendName,
    DataName,
    Device,
    EncoderName,
    ModelName,
    NoHistory,
    Style,
    takes_answer_options,
)

if TYPE_CHECKING:
    from chatbot.dialogue import Backend, Conversation, Reply
    from chatbot.history import History


class _KoreanErrors(TyperGroup):
    """Prints our own errors as one sentence and ends with their exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ChatbotError as error:
            _note(f"오류: {error}")
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_KoreanErrors,
    help="내 대화로 가르칠 수 있는 한국어 챗봇",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
SHOWN_WARNINGS = 20

history_app = typer.Typer(help="지난 대화 보기, 찾기, 내보내기, 지우기", no_args_is_help=True)
data_app = typer.Typer(help="질문과 답 데이터", no_args_is_help=True)
app.add_typer(history_app, name="history")
app.add_typer(data_app, name="data")


@app.command()
@takes_answer_options
def talk(
    backend: BackendName = "retrieval",
    go_on: Annotated[bool, typer.Option("--continue", "-c", help="마지막 대화 이어 하기")] = False,
    resume: Annotated[str | None, typer.Option("--resume", help="이 번호의 대화 이어 하기")] = None,
    style: Style = "auto",
    no_history: NoHistory = False,
    *,
    given: dict[str, Any],
) -> None:
    """터미널에서 대화하기 (파이프로는 한 줄에 한 답)."""
    from chatbot.backends import check_options, open_in_background, usable_options
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
            progress = loading if on_terminal else report
            return open_in_background(name, **usable_options(name, **given, progress=progress))

        past = _past(history, go_on, resume)
        session = Session(open_other(backend), history, conversation=past, warn=_note)
        session.conversation.style = _style(style)
        if on_terminal:
            screen.talk(session, open_other, loading)
        elif not screen.talk_in_pipe(session, open_other, sys.stdin):
            raise typer.Exit(1)


@app.command()
@takes_answer_options
def ask(
    text: Annotated[list[str] | None, typer.Argument(help="물어볼 말 (없으면 표준 입력)")] = None,
    backend: BackendName = "retrieval",
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
    from chatbot.text import printable

    question = _question(text, 'chatbot ask "안녕"')
    check_options(backend, **given)
    with _history(no_history) as history, ProgressReport("색인 만드는 중") as report:
        # Opened beside, so that the question is stored before anything can go wrong.
        opening = open_in_background(backend, **usable_options(backend, **given, progress=report))
        session = Session(opening, history, warn=_note)
        session.conversation.style = _style(style)
        reply = session.ask(question)
    for note in opening.notes:
        _note(note)
    if as_json:
        _json(_reply_json(reply, k))
        return
    typer.echo(reply.text)
    if k:
        for candidate in reply.candidates[:k]:
            typer.echo(f"{candidate.score:.3f}\t{printable(candidate.text)}\t{printable(candidate.source)}")


@app.command()
def evaluate(
    backend: BackendName = "retrieval",
    data: DataName = None,
    model: ModelName = None,
    encoder: EncoderName = None,
    device: Device = "auto",
    sts: Annotated[Path | None, typer.Option("--sts", help="문장 유사도 파일 (a, b, score)")] = None,
    as_json: AsJson = False,
    out: Annotated[Path | None, typer.Option("--out", help="결과를 저장할 JSON 파일")] = None,
) -> None:
    """백엔드를 시험 데이터로 재기."""
    from chatbot.backends import check_options
    from chatbot.screens.progress import ProgressReport

    check_options(backend, model=model, encoder=encoder, device=device)
    lines: Callable[[dict[str, Any]], list[str]]
    if backend == "retrieval":
        from training.evaluate import evaluate_retrieval
        from training.evaluate import report_lines as lines

        with ProgressReport("색인 만드는 중") as bar:
            figures = evaluate_retrieval(data=data, encoder=encoder, device=device, sts=sts, progress=bar)
    elif backend == "gpt":
        from training.evaluate_gpt import evaluate_gpt
        from training.evaluate_gpt import report_lines as lines

        if sts:
            raise UsageError("--sts는 인코더를 재는 파일이에요. --backend retrieval과 함께 써 주세요.")
        with ProgressReport("재는 중") as bar:
            figures = evaluate_gpt(model=model, data=data, device=device, progress=bar)
    else:
        raise UsageError(f"{backend} 백엔드를 재는 방법이 아직 없어요. retrieval이나 gpt를 써 주세요.")
    for note in figures["notes"]:
        _note(note)
    if out:
        _write_out(out, json.dumps(figures, ensure_ascii=False, indent=2) + "\n")
    if as_json:
        _json(figures)
    else:
        typer.echo("\n".join(lines(figures)))


@app.command()
@takes_answer_options
def compare(
    text: Annotated[list[str] | None, typer.Argument(help="물어볼 말 (없으면 표준 입력)")] = None,
    backends: Annotated[str, typer.Option("--backends", help="견줄 백엔드, 쉼표로 나누어")] = "retrieval,gpt",
    style: Style = "auto",
    as_json: AsJson = False,
    *,
    given: dict[str, Any],
) -> None:
    """한 질문에 여러 백엔드의 답을 나란히 보기 (저장하지 않음)."""
    from chatbot.backends import open_in_background, share_options, usable_options
    from chatbot.screens.compare import print_replies
    from chatbot.screens.progress import ProgressReport
    from chatbot.session import Session

    question = _question(text, 'chatbot compare "오늘 너무 피곤해"')
    names = list(dict.fromkeys(filter(None, map(str.strip, backends.split(",")))))
    if len(names) < 2:
        raise UsageError("--backends에는 둘 이상을 써 주세요. 예: --backends retrieval,gpt")
    with ProgressReport("색인 만드는 중") as report:
        shared = share_options(names, **given)
        # All are opened before the first answers, so that no answer pays for another's loading.
        opening = [
            open_in_background(name, **usable_options(name, **options, progress=report))
            for name, options in shared.items()
        ]
        replies = []
        for backend in opening:
            session = Session(backend.opened)
            session.conversation.style = _style(style)
            replies.append(session.ask(question))
    for backend in opening:
        for note in backend.notes:
            _note(note)
    if as_json:
        _json({"question": question, "replies": [_reply_json(reply) for reply in replies]})
    else:
        print_replies(question, replies)


@history_app.command("list")
def history_list(as_json: AsJson = False) -> None:
    """저장된 대화 목록."""
    from chatbot.screens.console import output
    from chatbot.screens.records import print_conversations

    with _stored_history() as history:
        summaries = history.conversations()
    if as_json:
        for summary in summaries:
            _json(dataclasses.asdict(summary))
    elif summaries:
        print_conversations(output(), summaries)
    else:
        _note("저장된 대화가 없어요. chatbot talk로 시작해 보세요.")


@history_app.command("show")
def history_show(
    conversation: Annotated[
        str | None, typer.Argument(metavar="[번호]", help="대화 번호 (없으면 마지막)")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """대화 한 편 보기."""
    from chatbot.screens.console import output
    from chatbot.screens.records import print_records, record_json

    with _stored_history() as history:
        records = history.records(_one(history, conversation))
    if as_json:
        for record in records:
            _json(record_json(record))
    else:
        print_records(output(), records)


@history_app.command("search")
def history_search(
    text: Annotated[str, typer.Argument(metavar="말", help="찾을 말")],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="최대 몇 개")] = 50,
    as_json: AsJson = False,
) -> None:
    """지난 대화에서 말 찾기."""
    from chatbot.screens.console import output
    from chatbot.screens.records import print_hits, record_json

    with _stored_history() as history:
        records = history.search(text, limit)
    if as_json:
        for record in records:
            _json(record_json(record))
    else:
        print_hits(output(), records, text)


@history_app.command("export")
def history_export(
    conversation: Annotated[str, typer.Argument(metavar="번호", help="대화 번호")],
    out: Annotated[Path | None, typer.Option("--out", help="저장할 파일 (없으면 표준 출력)")] = None,
    as_json: AsJson = False,
) -> None:
    """대화 내보내기 (글 또는 --json으로 messages 형식)."""
    from chatbot.screens.commands import conversation_text

    with _stored_history() as history:
        past = history.load(history.find(conversation))
    exported = conversation_text(past, as_json or (out is not None and out.suffix == ".jsonl"))
    if out:
        _write_out(out, exported)
    else:
        typer.echo(exported, nl=False)


@history_app.command("delete")
def history_delete(
    conversation: Annotated[str, typer.Argument(metavar="번호", help="대화 번호")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="묻지 않고 지우기")] = False,
) -> None:
    """대화 지우기."""
    with _stored_history() as history:
        found = history.find(conversation)
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError("지우려면 --yes를 붙여 주세요.")
            if not typer.confirm(f"대화 {found}을(를) 지울까요?"):
                return
        history.delete(found)
    _note(f"대화 {found}을(를) 지웠어요.")


@data_app.command("check")
def data_check(
    file: Annotated[
        Path | None, typer.Argument(metavar="[파일]", help="파일이나 폴더 (없으면 함께 온 데이터)")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="폴더", help="이 폴더의 글에도 있는 문장 찾기", exists=True, file_okay=False),
    ] = None,
    encoder: Annotated[
        bool, typer.Option("--encoder/--no-encoder", help="뜻이 겹치는 질문을 인코더로 찾기")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """데이터의 형식과 내용을 검사하고 수를 세기."""
    from chatbot.datacheck import check
    from chatbot.models.encoder import load_encoder
    from chatbot.screens.progress import ProgressReport

    with ProgressReport("검사하는 중") as progress:
        report = check(file, against=against, encoder=load_encoder if encoder else None, progress=progress)
    if as_json:
        _json(dataclasses.asdict(report))
    else:
        for name, count in report.counts.items():
            typer.echo(f"{name}\t{count}")
        for warning in report.warnings[:SHOWN_WARNINGS]:
            _note(f"살펴볼 곳: {warning}")
        if len(report.warnings) > SHOWN_WARNINGS:
            rest = len(report.warnings) - SHOWN_WARNINGS
            _note(f"살펴볼 곳이 {rest}군데 더 있어요. --json으로 모두 볼 수 있어요.")
        for problem in report.problems:
            _note(problem)
    if report.problems:
        raise ChatbotError(f"고칠 곳이 {len(report.problems)}군데 있어요.")
    _note("잘못된 곳이 없어요.")


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """장치, 버전, 파일 위치, 빠진 것 살펴보기."""
    from chatbot.doctor import examine

    facts, missing = examine()
    if as_json:
        _json({**facts, "missing": missing})
    else:
        for name, value in facts.items():
            typer.echo(f"{name}\t{value}")
        for problem in missing:
            _note(problem)
        if not missing:
            _note("빠진 것이 없어요.")
    if missing:
        raise typer.Exit(1)


# --- helpers


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
        _note(f"{error} 이번 대화는 저장되지 않아요.")
        yield None
        return
    try:
        yield history
    finally:
        history.close()


@contextmanager
def _stored_history() -> Iterator[History]:
    from chatbot.history import History

    history = History()
    try:
        yield history
    finally:
        history.close()


def _past(history: History | None, go_on: bool, resume: str | None) -> Conversation | None:
    if go_on and resume:
        raise UsageError("--continue와 --resume은 함께 쓸 수 없어요. 하나만 써 주세요.")
    if history is None or not (go_on or resume):
        return None
    return history.load(_one(history, resume))


def _one(history: History, conversation: str | None) -> str:
    """Return the id of the conversation named, or of the last one."""
    if conversation is not None:
        return history.find(conversation)
    last = history.last_id()
    if last is None:
        raise ChatbotError("저장된 대화가 없어요. chatbot talk로 시작해 보세요.")
    return last


def _question(text: list[str] | None, example: str) -> str:
    """Return what was asked, as an argument or on standard input."""
    from chatbot.text import normalise

    question = normalise(" ".join(text) if text else "" if sys.stdin.isatty() else sys.stdin.read())
    if not question:
        raise UsageError(f"물어볼 말이 없어요. {example}처럼 써 주세요.")
    return question


def _style(name: str) -> Literal["polite", "casual"] | None:
    return "polite" if name == "polite" else "casual" if name == "casual" else None


def _write_out(path: Path, text: str) -> None:
    from chatbot.resources import write_private

    try:
        write_private(path, text)
    except OSError as error:
        raise ChatbotError(
            f"--out {path}: 쓸 수 없어요({error.strerror}). 다른 곳을 지정해 주세요."
        ) from error


def _reply_json(reply: Reply, k: int | None = None) -> dict[str, Any]:
    """Return a reply under the names of its fields, with its ``k`` best candidates."""
    return {**dataclasses.asdict(reply), "candidates": [c._asdict() for c in reply.candidates[:k]]}


def _json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, default=str))


def _note(message: str) -> None:
    from chatbot.text import printable

    typer.echo(printable(message), err=True)


def main() -> None:
    """Run the command line with UTF-8 streams; a closed pipe ends it quietly."""
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
        _note(f"오류: {explain(error)}")
        sys.exit(1)

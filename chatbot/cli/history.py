"""``chatbot history``: past conversations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatbot.cli.common import print_json, say, sure, write_out
from chatbot.errors import ChatbotError
from chatbot.options import AsJson

if TYPE_CHECKING:
    from chatbot.history import History

history_app = typer.Typer(help="지난 대화 보기, 찾기, 내보내기, 지우기", no_args_is_help=True)


@history_app.command("list")
def history_list(as_json: AsJson = False) -> None:
    """저장된 대화 목록."""
    from chatbot.screens.console import output
    from chatbot.screens.records import print_conversations

    with stored_history() as history:
        summaries = history.conversations()
    if as_json:
        for summary in summaries:
            print_json({**dataclasses.asdict(summary), "last": summary.last.isoformat()})
    elif summaries:
        print_conversations(output(), summaries)
    else:
        say("저장된 대화가 없어요. chatbot talk로 시작해 보세요.")


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

    with stored_history() as history:
        records = history.records(conversation_id(history, conversation))
    if as_json:
        for record in records:
            print_json(record_json(record))
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

    with stored_history() as history:
        records = history.search(text, limit)
    if as_json:
        for record in records:
            print_json(record_json(record))
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

    with stored_history() as history:
        past = history.load(history.find(conversation))
    exported = conversation_text(past, as_json or (out is not None and out.suffix == ".jsonl"))
    if out:
        write_out(out, exported)
    else:
        typer.echo(exported, nl=False)


@history_app.command("delete")
def history_delete(
    conversation: Annotated[str, typer.Argument(metavar="번호", help="대화 번호")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="묻지 않고 지우기")] = False,
) -> None:
    """대화 지우기."""
    with stored_history() as history:
        found = history.find(conversation)
        if not sure(f"대화 {found}을(를) 지울까요?", yes):
            return
        history.delete(found)
    say(f"대화 {found}을(를) 지웠어요.")


@contextmanager
def stored_history() -> Iterator[History]:
    """Open the history, and close it again."""
    from chatbot.history import History

    history = History()
    try:
        yield history
    finally:
        history.close()


def conversation_id(history: History, conversation: str | None) -> str:
    """Return the id of the conversation named, or of the last one."""
    if conversation is not None:
        return history.find(conversation)
    last = history.last_id()
    if last is None:
        raise ChatbotError("저장된 대화가 없어요. chatbot talk로 시작해 보세요.")
    return last

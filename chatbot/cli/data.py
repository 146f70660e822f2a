"""``chatbot import`` and ``chatbot data``: chat exports and the datasets made of them."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatbot.cli.common import print_json, say, sure
from chatbot.errors import ChatbotError, UsageError
from chatbot.options import AsJson

if TYPE_CHECKING:
    from chatbot.chatlogs.conversations import Roles
    from chatbot.datasets import Dataset

data_app = typer.Typer(help="질문과 답 데이터", no_args_is_help=True)
_SHOWN_WARNINGS = 20


def import_(
    files: Annotated[
        list[Path], typer.Argument(metavar="파일...", help="내보낸 대화 (여러 개면 한 방의 것)")
    ],
    name: Annotated[str | None, typer.Option("--name", help="만들 데이터셋의 이름")] = None,
    me: Annotated[list[str] | None, typer.Option("--me", help="나 (이름이 둘이었으면 여러 번)")] = None,
    bot: Annotated[str | None, typer.Option("--bot", help="챗봇이 따라 할 사람")] = None,
    format_name: Annotated[str, typer.Option("--format", help="형식 (auto는 내용으로 알아냄)")] = "auto",
    gap: Annotated[
        float | None, typer.Option("--gap", min=1, help="이만큼(분) 조용하면 새 대화 (없으면 알아냄)")
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="가린 것만 보고 저장하지 않기")] = False,
    no_mask: Annotated[bool, typer.Option("--no-mask", help="개인정보를 가리지 않기")] = False,
    mask_name: Annotated[
        list[str] | None, typer.Option("--mask-name", help="가릴 다른 사람의 이름 (여러 번)")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """내보낸 대화를 읽어 데이터셋 만들기 (이 컴퓨터 밖으로 나가지 않음)."""
    from chatbot.chatlogs.importing import Request, import_exports
    from chatbot.datasets import check_name, datasets_dir, delete_indexes
    from chatbot.screens.dataset import ask_roles
    from chatbot.screens.progress import ProgressReport

    if name is not None:
        name = unicodedata.normalize("NFC", name)
        check_name(name)
    elif not (as_json or preview):
        raise UsageError("--name에 데이터셋 이름을 지어 주세요. 예: chatbot import 대화.txt --name 친구")
    if preview and as_json:
        raise UsageError("--preview와 --json은 함께 쓸 수 없어요. 하나만 써 주세요.")
    hidden = tuple(mask_name or ())
    if preview:
        _preview(files, format_name, not no_mask, hidden)
        return
    if as_json:
        _print_messages(files, format_name, not no_mask, hidden)
    if name is None:
        return
    request = Request(name, tuple(me or ()), bot, gap and gap * 60, not no_mask, hidden)
    asks = sys.stdin.isatty() and sys.stderr.isatty() and not as_json
    existed = (datasets_dir() / name).exists()
    # Being told to stop, or the terminal closing, must leave nothing half-done behind.
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    with ProgressReport("읽는 중") as progress:

        def ask(*known: Any) -> Roles:
            progress.pause()  # it would draw over what is typed
            return ask_roles(*known)

        dataset = import_exports(files, request, ask if asks else None, format_name, progress)
    if existed:
        delete_indexes(name)
        say(f"있던 데이터셋 '{name}'을(를) 새로 바꾸었어요.")
        _name_trained_before(name)
    if not as_json:
        _show_report(dataset)
    say(f"이제 chatbot talk --data {name}(으)로 이야기해 보세요.")


@data_app.command("list")
def data_list(as_json: AsJson = False) -> None:
    """가져온 데이터셋 목록."""
    from chatbot.datasets import list_datasets
    from chatbot.screens.console import output
    from chatbot.screens.dataset import print_datasets

    found, damaged = list_datasets()
    for name in damaged:
        say(f"데이터셋 '{name}'이(가) 깨졌어요. chatbot data delete {name}(으)로 지우고 다시 만드세요.")
    if as_json:
        for dataset in found:
            print_json(dataset.facts)
    elif found:
        print_datasets(output(), found)
    elif not damaged:
        say("가져온 데이터셋이 없어요. chatbot import 파일 --name 이름으로 만들어 보세요.")


@data_app.command("show")
def data_show(
    name: Annotated[str, typer.Argument(metavar="이름", help="데이터셋 이름")], as_json: AsJson = False
) -> None:
    """데이터셋에 무엇이 있는지 보기."""
    from chatbot.datasets import open_dataset

    dataset = open_dataset(unicodedata.normalize("NFC", name))
    if as_json:
        print_json(dataset.facts)
    else:
        _show_report(dataset)


@data_app.command("delete")
def data_delete(
    name: Annotated[str, typer.Argument(metavar="이름", help="데이터셋 이름")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="묻지 않고 지우기")] = False,
) -> None:
    """데이터셋과 그것으로 만든 색인, 모델 지우기."""
    from chatbot.datasets import belongings, delete_dataset

    name = unicodedata.normalize("NFC", name)
    for folder in belongings(name):
        say(f"함께 지울 것: {folder}")
    if not sure(f"데이터셋 '{name}'을(를) 지울까요?", yes):
        return
    deleted = delete_dataset(name)
    say(f"데이터셋 '{name}'와(과) 그것으로 만든 것 {len(deleted) - 1}개를 지웠어요.")
    say("그 사람처럼 대답한 대화는 history에 남아 있어요. chatbot history list로 찾아 지울 수 있어요.")


@data_app.command("forget")
def data_forget(
    name: Annotated[str, typer.Argument(metavar="이름", help="데이터셋 이름")],
    speaker: Annotated[str, typer.Option("--speaker", help="잊을 사람")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="묻지 않고 지우기")] = False,
) -> None:
    """데이터셋에서 한 사람의 말을 모두 지우기."""
    from chatbot.chatlogs.importing import forget_speaker
    from chatbot.datasets import delete_indexes, open_dataset

    name, speaker = (unicodedata.normalize("NFC", text) for text in (name, speaker))
    dataset = open_dataset(name)
    if not sure(f"데이터셋 '{name}'에서 '{speaker}'의 말을 모두 지울까요?", yes):
        return
    forget_speaker(dataset, speaker)
    delete_indexes(name)
    say(f"'{speaker}'의 말을 모두 지웠어요.")
    _name_trained_before(name)


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
        print_json(dataclasses.asdict(report))
    else:
        for name, count in report.counts.items():
            typer.echo(f"{name}\t{count}")
        for warning in report.warnings[:_SHOWN_WARNINGS]:
            say(f"살펴볼 곳: {warning}")
        if len(report.warnings) > _SHOWN_WARNINGS:
            rest = len(report.warnings) - _SHOWN_WARNINGS
            say(f"살펴볼 곳이 {rest}군데 더 있어요. --json으로 모두 볼 수 있어요.")
        for problem in report.problems:
            say(problem)
    if report.problems:
        raise ChatbotError(f"고칠 곳이 {len(report.problems)}군데 있어요.")
    say("잘못된 곳이 없어요.")


def _show_report(dataset: Dataset) -> None:
    """Draw what is in a dataset on a terminal, print it as plain lines in a pipe."""
    from chatbot.screens.console import output
    from chatbot.screens.dataset import print_report, report_lines

    if sys.stdout.isatty():
        print_report(output(), dataset)
    else:
        typer.echo("\n".join(report_lines(dataset)))


def _name_trained_before(dataset: str) -> None:
    """Name the checkpoints that were trained on what a dataset was before."""
    from chatbot.datasets import trained_on

    for folder in trained_on(dataset):
        say(f"이 모델은 바뀌기 전의 대화로 배웠어요. 다시 학습하거나 지워 주세요: {folder}")


def _print_messages(files: list[Path], format_name: str, mask: bool, hidden: tuple[str, ...]) -> None:
    """Print the messages of exports as JSON Lines, and on standard error what each file is."""
    from chatbot.chatlogs import open_exports
    from chatbot.chatlogs.importing import Masking, message_json
    from chatbot.privacy import Masker

    masking = Masking(Masker(hidden) if mask else None)
    for path in files:
        for export in open_exports(path, format_name):
            facts = {"format": export.format.name, "encoding": export.encoding}
            typer.echo(json.dumps(facts, ensure_ascii=False), err=True)
            for message in export.messages():
                print_json(message_json(masking.message(message)))


def _preview(files: list[Path], format_name: str, mask: bool, hidden: tuple[str, ...]) -> None:
    """Show on a sample what masking changes; nothing is kept."""
    from chatbot.chatlogs.importing import masked_sample
    from chatbot.screens.console import output
    from chatbot.screens.dataset import print_preview

    if not mask:
        raise UsageError(
            "--preview는 가리는 것을 보는 옵션이라 --no-mask와 함께 쓸 수 없어요. 하나만 써 주세요."
        )
    print_preview(output(), *masked_sample(files, format_name, hidden))

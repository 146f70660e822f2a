"""The command line: parse options, call one function, print. Heavy imports wait for their command."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import unicodedata
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
    from chatbot.datasets import Dataset
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
        except (KeyboardInterrupt, typer.Abort):
            _note("그만두었어요.")
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_KoreanErrors,
    help="내 대화로 가르칠 수 있는 한국어 챗봇",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
SHOWN_WARNINGS = 20

train_app = typer.Typer(help="모델을 내 대화로 가르치기", no_args_is_help=True)
history_app = typer.Typer(help="지난 대화 보기, 찾기, 내보내기, 지우기", no_args_is_help=True)
data_app = typer.Typer(help="질문과 답 데이터", no_args_is_help=True)
app.add_typer(history_app, name="history")
app.add_typer(data_app, name="data")
app.add_typer(train_app, name="train")


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
            progress = loading if on_terminal else report
            return open_in_background(name, **usable_options(name, **given, progress=progress))

        past = _past(history, go_on, resume)
        session = Session(open_other(backend), history, conversation=past, warn=_note)
        session.conversation.style = _style(style)
        if on_terminal:
            dataset = personal_dataset(given["data"])
            screen.talk(session, open_other, loading, dataset.speaker if dataset else None)
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
        if not _sure(f"대화 {found}을(를) 지울까요?", yes):
            return
        history.delete(found)
    _note(f"대화 {found}을(를) 지웠어요.")


@train_app.command("gpt")
def train_gpt(
    data: Annotated[list[str], typer.Option("--data", help="데이터셋 이름이나 대화 파일 (여러 번)")],
    base: Annotated[
        str, typer.Option("--base", help="바탕 모델: 허브 이름, 폴더, small(함께 온 작은 모델)")
    ] = "skt/kogpt2-base-v2",
    out: Annotated[
        Path | None, typer.Option("--out", help="저장할 폴더 (없으면 <데이터>-gpt라는 이름으로)")
    ] = None,
    tune: Annotated[
        Literal["full", "freeze", "gradual", "lora"],
        typer.Option(
            "--tune",
            help="무엇을 학습할지. full 전부(대화가 수천 쌍 이상), freeze 위쪽 --layers개(대화가 적을 때), "
            "gradual 위부터 차츰(덜 잊게), lora 작은 덧행렬(큰 모델을 적은 메모리로)",
        ),
    ] = "full",
    layers: Annotated[int, typer.Option("--layers", min=1, help="freeze에서 학습할 블록 수")] = 2,
    epochs: Annotated[float, typer.Option("--epochs", min=0.01, help="데이터를 몇 번 볼지")] = 3.0,
    learning_rate: Annotated[float, typer.Option("--learning-rate", min=0, help="학습률 (0은 알아서)")] = 0.0,
    schedule: Annotated[
        Literal["cosine", "linear"], typer.Option("--schedule", help="학습률을 줄이는 법")
    ] = "cosine",
    lm_weight: Annotated[
        float, typer.Option("--lm-weight", min=0, help="대답이 아닌 말에서도 배우는 비중")
    ] = 0.0,
    batch_tokens: Annotated[int, typer.Option("--batch-tokens", min=16, help="한 번에 보는 토큰 수")] = 1024,
    accumulate: Annotated[int, typer.Option("--accumulate", min=1, help="몇 번을 모아 한 걸음으로 할지")] = 1,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="느려지는 대신 메모리를 아끼기")
    ] = False,
    evaluate_every: Annotated[
        int, typer.Option("--evaluate-every", min=0, help="몇 걸음마다 검증할지 (0은 알아서)")
    ] = 0,
    patience: Annotated[
        int, typer.Option("--patience", min=0, help="이만큼 나아지지 않으면 그만두기 (0은 끝까지)")
    ] = 3,
    save_every: Annotated[
        float, typer.Option("--save-every", min=0, help="몇 분마다 이어 할 수 있게 저장할지")
    ] = 5.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="난수 씨앗")] = 0,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="멈춘 학습 이어 하기")] = False,
    keep_adapter: Annotated[bool, typer.Option("--keep-adapter", help="lora의 덧행렬도 따로 남기기")] = False,
    as_json: AsJson = False,
) -> None:
    """GPT를 내 대화로 가르치기."""
    from chatbot.resources import home_dir
    from chatbot.screens.progress import ProgressReport
    from training.finetune import Options, fine_tune, report_lines

    name = f"{Path(data[0]).stem}-gpt"
    options = Options(
        tune=tune, layers=layers, epochs=epochs, learning_rate=learning_rate, schedule=schedule,
        lm_weight=lm_weight, batch_tokens=batch_tokens, accumulate=accumulate, checkpointing=checkpointing,
        evaluate_every=evaluate_every, patience=patience, seed=seed,
    )  # fmt: skip
    target = out or home_dir() / "models" / name
    with ProgressReport("학습하는 중") as report:
        try:
            figures = fine_tune(
                data, target, base, options,
                device=device, resume=resume, keep_adapter=keep_adapter, save_every=save_every,
                say=_note, report=report,
            )  # fmt: skip
        except KeyboardInterrupt:
            _note("멈췄어요. 같은 명령에 --resume을 붙이면 이어서 학습해요.")
            raise
    if as_json:
        _json(figures)
    else:
        typer.echo("\n".join(report_lines(figures)))
    _note(f"이제 chatbot talk --backend gpt --model {out or name}(으)로 이야기해 보세요.")


@app.command("import")
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
        dataset = import_exports(files, request, ask_roles if asks else None, format_name, progress)
    if existed:
        delete_indexes(name)
        _note(f"있던 데이터셋 '{name}'을(를) 새로 바꾸었어요.")
        _name_trained_before(name)
    if not as_json:
        _show_report(dataset)
    _note(f"이제 chatbot talk --data {name}(으)로 이야기해 보세요.")


@data_app.command("list")
def data_list(as_json: AsJson = False) -> None:
    """가져온 데이터셋 목록."""
    from chatbot.datasets import list_datasets
    from chatbot.screens.console import output
    from chatbot.screens.dataset import print_datasets

    found, damaged = list_datasets()
    for name in damaged:
        _note(f"데이터셋 '{name}'이(가) 깨졌어요. chatbot data delete {name}(으)로 지우고 다시 만드세요.")
    if as_json:
        for dataset in found:
            _json(dataset.facts)
    elif found:
        print_datasets(output(), found)
    elif not damaged:
        _note("가져온 데이터셋이 없어요. chatbot import 파일 --name 이름으로 만들어 보세요.")


@data_app.command("show")
def data_show(
    name: Annotated[str, typer.Argument(metavar="이름", help="데이터셋 이름")], as_json: AsJson = False
) -> None:
    """데이터셋에 무엇이 있는지 보기."""
    from chatbot.datasets import open_dataset

    dataset = open_dataset(name)
    if as_json:
        _json(dataset.facts)
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
        _note(f"함께 지울 것: {folder}")
    if not _sure(f"데이터셋 '{name}'을(를) 지울까요?", yes):
        return
    deleted = delete_dataset(name)
    _note(f"데이터셋 '{name}'와(과) 그것으로 만든 것 {len(deleted) - 1}개를 지웠어요.")
    _note("그 사람처럼 대답한 대화는 history에 남아 있어요. chatbot history list로 찾아 지울 수 있어요.")


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
    if not _sure(f"데이터셋 '{name}'에서 '{speaker}'의 말을 모두 지울까요?", yes):
        return
    forget_speaker(dataset, speaker)
    delete_indexes(name)
    _note(f"'{speaker}'의 말을 모두 지웠어요.")
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


def _sure(question: str, yes: bool) -> bool:
    """Ask before something is gone for good; in a pipe ``--yes`` must have been given."""
    if not yes and not sys.stdin.isatty():
        raise UsageError("지우려면 --yes를 붙여 주세요.")
    return yes or typer.confirm(question, err=True)


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
        _note(f"이 모델은 바뀌기 전의 대화로 배웠어요. 다시 학습하거나 지워 주세요: {folder}")


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
                _json(message_json(masking.message(message)))


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

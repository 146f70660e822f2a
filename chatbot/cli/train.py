"""``chatbot train``: teach the models on a person's own conversations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from chatbot.cli.common import print_json, say
from chatbot.options import AsJson, Device

if TYPE_CHECKING:
    from chatbot.screens.progress import ProgressReport

train_app = typer.Typer(help="모델을 내 대화로 가르치기", no_args_is_help=True)

_MOST_EPOCHS = 10_000.0
Layers = Annotated[int, typer.Option("--layers", min=1, help="freeze에서 학습할 블록 수")]
LearningRate = Annotated[float, typer.Option("--learning-rate", min=0, help="학습률 (0은 알아서)")]
EvaluateEvery = Annotated[
    int, typer.Option("--evaluate-every", min=0, help="몇 걸음마다 검증할지 (0은 알아서)")
]
Patience = Annotated[
    int, typer.Option("--patience", min=0, help="이만큼 나아지지 않으면 그만두기 (0은 끝까지)")
]
SaveEvery = Annotated[float, typer.Option("--save-every", min=0, help="몇 분마다 이어 할 수 있게 저장할지")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="난수 씨앗")]
Resume = Annotated[bool, typer.Option("--resume", help="멈춘 학습 이어 하기")]
Pretrain = Annotated[
    list[Path] | None, typer.Option("--pretrain", help="먼저 읽힐 글 파일, 한 줄에 한 문단 (여러 번)")
]


@train_app.command("gpt")
def train_gpt(
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="데이터셋 이름이나 대화 파일 (여러 번, 없으면 함께 온 대화)"),
    ] = None,
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
    layers: Layers = 2,
    epochs: Annotated[
        float, typer.Option("--epochs", min=0.01, max=_MOST_EPOCHS, help="데이터를 몇 번 볼지")
    ] = 3.0,
    learning_rate: LearningRate = 0.0,
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
    evaluate_every: EvaluateEvery = 0,
    patience: Patience = 3,
    save_every: SaveEvery = 5.0,
    pretrain: Pretrain = None,
    seed: Seed = 0,
    device: Device = "auto",
    resume: Resume = False,
    keep_adapter: Annotated[bool, typer.Option("--keep-adapter", help="lora의 덧행렬도 따로 남기기")] = False,
    as_json: AsJson = False,
) -> None:
    """GPT를 내 대화로 가르치기."""
    from chatbot.resources import home_dir
    from training.gpt import Options, fine_tune, report_lines

    name = _name(data or ["default"], "gpt")
    options = Options(
        tune=tune, layers=layers, epochs=epochs, learning_rate=learning_rate, schedule=schedule,
        lm_weight=lm_weight, batch_tokens=batch_tokens, accumulate=accumulate, checkpointing=checkpointing,
        evaluate_every=evaluate_every, patience=patience, seed=seed,
    )  # fmt: skip
    target = out or home_dir() / "models" / name
    with _training(target) as report:
        figures = fine_tune(
            data or [], target, base, options, pretrain=pretrain or [],
            device=device, resume=resume, keep_adapter=keep_adapter, save_every=save_every,
            say=say, report=report,
        )  # fmt: skip
    if not figures:  # another process tells
        return
    _tell(figures, report_lines, as_json)
    say(f"이제 chatbot talk --backend gpt --model {out or name}(으)로 이야기해 보세요.")


@train_app.command("encoder")
def train_encoder(
    data: Annotated[list[str], typer.Option("--data", help="데이터셋 이름, 파일, 폴더 (여러 번)")],
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            help="바탕 인코더: 허브 이름, 폴더, small(함께 온 작은 인코더). 없으면 --teacher, 그것도 없으면 "
            "klue/bert-base",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="저장할 폴더 (없으면 <데이터>-encoder라는 이름으로)")
    ] = None,
    tune: Annotated[
        Literal["full", "freeze", "gradual"],
        typer.Option(
            "--tune", help="무엇을 학습할지. full 전부, freeze 위쪽 --layers개(적을 때), gradual 위부터 차츰"
        ),
    ] = "full",
    layers: Layers = 2,
    teacher: Annotated[
        str | None,
        typer.Option("--teacher", help="따라 배울 큰 인코더. --base가 없으면 여기서 블록을 가져와요"),
    ] = None,
    student_layers: Annotated[
        int, typer.Option("--student-layers", min=0, help="남길 블록 수 (0은 전부, 선생에서 가져오면 반)")
    ] = 0,
    pretrain: Pretrain = None,
    sts: Annotated[
        Path | None, typer.Option("--sts", help="검증에 쓸 문장 유사도 파일 (KorSTS 형식)")
    ] = None,
    epochs: Annotated[
        float, typer.Option("--epochs", min=0, max=_MOST_EPOCHS, help="데이터를 몇 번 볼지 (0은 알아서)")
    ] = 0.0,
    learning_rate: LearningRate = 0.0,
    batch: Annotated[int, typer.Option("--batch", min=0, help="한 번에 보는 쌍의 수 (0은 알아서)")] = 0,
    hard_negatives: Annotated[
        int, typer.Option("--hard-negatives", min=0, help="쌍마다 찾아 넣을 헷갈리는 오답 수")
    ] = 0,
    evaluate_every: EvaluateEvery = 0,
    patience: Patience = 3,
    save_every: SaveEvery = 5.0,
    seed: Seed = 0,
    device: Device = "auto",
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """문장 인코더를 내 데이터로 가르치기."""
    from chatbot.knowledge import DataError, load_knowledge
    from chatbot.resources import home_dir
    from training.encoder import Options, Sources, report_lines
    from training.encoder import train_encoder as train

    name = _name(data, "encoder")
    options = Options(
        tune=tune, layers=layers, student_layers=student_layers, epochs=epochs, learning_rate=learning_rate,
        batch=batch, hard_negatives=hard_negatives, evaluate_every=evaluate_every, patience=patience,
        seed=seed,
    )  # fmt: skip
    target = out or home_dir() / "models" / name
    with _training(target) as report:
        figures = train(
            Sources(data, base, teacher, pretrain or (), sts), target, options,
            device=device, resume=resume, save_every=save_every, say=say, report=report,
        )  # fmt: skip
    _tell(figures, report_lines, as_json)
    try:
        load_knowledge(data[0])
    except DataError:  # paraphrases and the like teach, but nobody can be answered from them
        said = ""
    else:
        said = f"--data {data[0]} "
    say(f"이제 chatbot talk {said}--encoder {out or name}(으)로 이야기해 보세요.")


def _name(data: list[str], kind: str) -> str:
    """Return what a model is called by default: after its first dataset or file."""
    path = Path(data[0]).expanduser()
    return f"{path.resolve().stem if path.exists() or len(path.parts) > 1 else data[0]}-{kind}"


@contextmanager
def _training(target: Path) -> Iterator[ProgressReport]:
    """Show how a training goes on; where it is stopped, say how to go on with it."""
    from chatbot.screens.progress import ProgressReport
    from training.workplace import Workplace

    with ProgressReport("학습하는 중") as report:
        try:
            yield report
        except KeyboardInterrupt:
            begun = Workplace(target.expanduser().resolve()).begun
            say("멈췄어요." + " 같은 명령에 --resume을 붙이면 이어서 학습해요." * begun)
            raise


def _tell(figures: dict[str, Any], lines: Callable[[dict[str, Any]], list[str]], as_json: bool) -> None:
    if as_json:
        print_json(figures)
    else:
        typer.echo("\n".join(lines(figures)))

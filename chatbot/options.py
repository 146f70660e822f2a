"""Options that several commands share, and the set that everything which answers takes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer

ModelName = Annotated[str | None, typer.Option("--model", help="생성 모델: 이름, 폴더, 허브 이름")]
EncoderName = Annotated[str | None, typer.Option("--encoder", help="문장 인코더: 이름, 폴더, 허브 이름")]
DataName = Annotated[str | None, typer.Option("--data", help="질문과 답: 데이터셋 이름이나 CSV·JSONL 파일")]
Device = Annotated[str, typer.Option("--device", help="장치: auto, cpu, cuda, mps")]
BackendName = Annotated[str, typer.Option("--backend", "-b", help="대답하는 백엔드")]
Style = Annotated[
    Literal["auto", "polite", "casual"], typer.Option("--style", help="말투: auto는 상대에 맞춤")
]
NoHistory = Annotated[bool, typer.Option("--no-history", help="대화를 저장하지 않기")]
AsJson = Annotated[bool, typer.Option("--json", help="프로그램이 읽을 JSON으로")]


# Shared by everything that answers; which of them a backend can use, it says itself.
ANSWER_OPTIONS = {
    "model": ModelName,
    "encoder": EncoderName,
    "data": DataName,
    "scorer": Annotated[str | None, typer.Option(help="점수 방식: fused, dense, tfidf")],
    "persona": Annotated[str | None, typer.Option(help="배운 모델이 따라 할 사람")],
    "device": Device,
    "shots": Annotated[int | None, typer.Option(help="hybrid: GPT에게 보여 줄 예시 수 (0, 1, 2...)")],
    "seed": Annotated[int | None, typer.Option(help="생성의 난수 씨앗")],
    "temperature": Annotated[float | None, typer.Option(help="생성의 온도")],
    "top_p": Annotated[float | None, typer.Option(help="생성의 top-p")],
    "max_new_tokens": Annotated[int | None, typer.Option(help="답의 최대 토큰 수")],
    "url": Annotated[str | None, typer.Option(help="remote: OpenAI 대화 API 서버의 주소")],
    "allow_remote": Annotated[
        bool | None, typer.Option("--allow-remote", help="remote: 다른 컴퓨터로 대화를 보내도 됨")
    ],
}


def takes_answer_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of everything that answers, gathered in its parameter ``given``."""

    @functools.wraps(command)
    def gathering(**arguments: Any) -> None:
        given = {name: arguments.pop(name) for name in ANSWER_OPTIONS}
        command(**arguments, given=given)

    own = inspect.signature(command, eval_str=True).parameters.values()
    parameters = [p for p in own if p.name != "given"]
    for name, kind in ANSWER_OPTIONS.items():
        default = "auto" if name == "device" else None
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        )
    # Typer reads a command's options from its signature and its annotations.
    gathering.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    gathering.__annotations__ = {p.name: p.annotation for p in parameters}
    return gathering

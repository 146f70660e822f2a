"""``chatbot evaluate``: measure a backend."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from chatbot.cli.common import print_json, say, write_out
from chatbot.errors import UsageError
from chatbot.options import AsJson, BackendName, DataName, Device, EncoderName, ModelName


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
        say(note)
    if out:
        write_out(out, json.dumps(figures, ensure_ascii=False, indent=2) + "\n")
    if as_json:
        print_json(figures)
    else:
        typer.echo("\n".join(lines(figures)))

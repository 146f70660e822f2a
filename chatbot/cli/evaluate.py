"""``chatbot evaluate``: measure a backend."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from chatbot.cli.common import check_writable, print_json, say, write_out
from chatbot.errors import UsageError
from chatbot.options import AsJson, BackendName, DataName, Device, EncoderName, ModelName


def evaluate(
    backend: BackendName = "retrieval",
    data: DataName = None,
    model: ModelName = None,
    encoder: EncoderName = None,
    device: Device = "auto",
    sts: Annotated[Path | None, typer.Option("--sts", help="문장 유사도 파일 (a, b, score)")] = None,
    styles: Annotated[
        Path | None, typer.Option("--styles", help="말투 판별을 잴 파일 (formal, informal 목록)")
    ] = None,
    as_json: AsJson = False,
    out: Annotated[Path | None, typer.Option("--out", help="결과를 저장할 JSON 파일")] = None,
) -> None:
    """백엔드를 시험 데이터로 재기."""
    from chatbot.backends import check_options

    check_options(backend, model=model, encoder=encoder, device=device)
    if backend not in ("retrieval", "gpt"):
        raise UsageError(f"{backend} 백엔드를 재는 방법이 아직 없어요. retrieval이나 gpt를 써 주세요.")
    if sts and backend != "retrieval":
        raise UsageError("--sts는 인코더를 재는 파일이에요. --backend retrieval과 함께 써 주세요.")
    if out:
        check_writable(out, "--out")
    figures = _measure(backend, data, model, encoder, device, sts, styles)
    for note in figures["notes"]:
        say(note)
    if out:
        write_out(out, json.dumps(figures, ensure_ascii=False, indent=2) + "\n")
    if as_json:
        print_json(figures)
    else:
        _show(figures)


def _measure(
    backend: str,
    data: str | None,
    model: str | None,
    encoder: str | None,
    device: str,
    sts: Path | None,
    styles: Path | None,
) -> dict[str, Any]:
    from chatbot.screens.progress import ProgressReport
    from training.metrics import style_accuracy

    # First, since it is quick to tell that a file is none.
    told = {"style_detector": style_accuracy(styles)} if styles else {}
    with ProgressReport("재는 중") as bar:
        if backend == "gpt":
            from training.evaluate_gpt import evaluate_gpt

            return evaluate_gpt(model=model, data=data, device=device, progress=bar) | told
        from training.evaluate import evaluate_retrieval

        return evaluate_retrieval(data=data, encoder=encoder, device=device, sts=sts, progress=bar) | told


def _show(figures: dict[str, Any]) -> None:
    from chatbot.screens.console import output
    from chatbot.screens.evaluation import print_figures, report_lines

    if sys.stdout.isatty():
        print_figures(output(), figures)
    else:
        typer.echo("\n".join(report_lines(figures)))

"""Models on the screen."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from chatbot.models.catalog import KnownModel
from chatbot.screens.console import plain

_KINDS = {
    "gpt": "생성 (--backend gpt)",
    "encoder": "문장 인코더 (--backend retrieval)",
    "reranker": "재순위 (--backend hybrid)",
}
_OPTIONS = {"gpt": "--backend gpt --model", "encoder": "--backend retrieval --encoder"}


def print_models(console: Console, models: Sequence[KnownModel]) -> None:
    """Print a line per model."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for title in ("이름", "종류", "크기", "라이선스", "어디서"):
        table.add_column(title, overflow="fold", justify="right" if title == "크기" else "left")
    for model in models:
        table.add_row(
            plain(model.name),
            _KINDS[model.kind],
            _megabytes(model),
            plain(model.licence or "-"),
            _origin(model),
        )
    console.print(table)


def print_model(console: Console, model: KnownModel) -> None:
    """Print what is known of one model, and how to talk with it."""
    rows = [
        ("이름", model.name),
        ("종류", _KINDS[model.kind]),
        ("어디서", _origin(model)),
        ("바탕", model.base or ("없음 (처음부터 학습)" if model.ships else "-")),
        ("배운 데이터", ", ".join(model.datasets) or "-"),
        ("크기", _megabytes(model)),
        ("라이선스", model.licence or "-"),
        ("폴더", str(model.folder)),
        ("모델 카드", f"chatbot models show {model.name} --card"),
    ]
    if not model.ships and model.kind in _OPTIONS:
        rows.append(("써 보기", f"chatbot talk {_OPTIONS[model.kind]} {model.name}"))
    for title, text in rows:
        console.print(plain(f"{title}: {text}"))


def _origin(model: KnownModel) -> str:
    return "함께 온 것" if model.ships else "내가 가르친 것"


def _megabytes(model: KnownModel) -> str:
    return f"{model.size / 1e6:,.1f} MB"

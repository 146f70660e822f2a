"""``chatbot models``: what there is to answer with, and what its model card says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatbot.cli.common import print_json, say
from chatbot.errors import ChatbotError
from chatbot.options import AsJson

if TYPE_CHECKING:
    from chatbot.models.catalog import KnownModel

models_app = typer.Typer(help="함께 온 모델과 내가 가르친 모델", no_args_is_help=True)


@models_app.command("list")
def models_list(as_json: AsJson = False) -> None:
    """쓸 수 있는 모델 목록."""
    from chatbot.models.catalog import known_models
    from chatbot.screens.console import output
    from chatbot.screens.models import print_models

    found, damaged = known_models()
    for folder in damaged:
        say(f"{folder}: chatbot.json이 깨졌어요. 폴더를 지우고 다시 학습해 주세요.")
    if as_json:
        for model in found:
            print_json(_facts(model))
    else:
        print_models(output(), found)


@models_app.command("show")
def models_show(
    name: Annotated[str, typer.Argument(metavar="이름", help="모델 이름 (gpt, encoder, reranker, 내 모델)")],
    card: Annotated[bool, typer.Option("--card", help="모델 카드를 그대로 (영어)")] = False,
    as_json: AsJson = False,
) -> None:
    """모델 하나를 자세히 보기."""
    from chatbot.models.catalog import known_model
    from chatbot.screens.console import output
    from chatbot.screens.models import print_model

    model = known_model(name)
    if as_json:
        print_json({**_facts(model), "facts": model.facts})
    elif card:
        try:
            typer.echo(model.card.read_text(encoding="utf-8").rstrip("\n"))
        except (OSError, UnicodeDecodeError) as error:
            raise ChatbotError(
                f"{model.card}: 모델 카드를 읽을 수 없어요. 다시 학습하거나 설치해 주세요."
            ) from error
    else:
        print_model(output(), model)


def _facts(model: KnownModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "kind": model.kind,
        "ships": model.ships,
        "folder": str(model.folder),
        "bytes": model.size,
        "licence": model.licence,
        "base": model.base,
        "datasets": model.datasets,
    }

"""What models there are on this machine: those that ship, and those trained on a person's own words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatbot.datasets import learnt_by
from chatbot.errors import UsageError
from chatbot.models.checkpoint import CheckpointError, read_description
from chatbot.resources import data_dir, home_dir

_KINDS = ("gpt", "encoder", "reranker")
_FRONT_MATTER = re.compile(r"\A---\n(.*?)^---$", re.DOTALL | re.MULTILINE)  # of a model card
_LICENCE = re.compile(r"^license: (cc)?(.+?)(-[\d.]+)?$", re.MULTILINE)


@dataclass(frozen=True)
class KnownModel:
    """A model and what is known of it.

    ``size`` is in bytes; ``datasets`` are the imported ones it has learnt from, ``base`` what it was made
    from, ``None``: from nothing, or its files do not say; ``facts`` is its whole ``chatbot.json``.
    """

    name: str
    kind: str
    folder: Path
    ships: bool
    size: int
    licence: str | None
    base: str | None
    datasets: list[str]
    facts: dict[str, Any]

    @property
    def card(self) -> Path:
        """Where its model card lies."""
        return self.folder / "README.md"


def known_models() -> tuple[list[KnownModel], list[Path]]:
    """Return the models, what ships first, and the folders of damaged ones."""
    own = home_dir() / "models"
    folders = [(data_dir() / "models" / kind, True) for kind in _KINDS]
    folders += [(path, False) for path in sorted(own.iterdir())] if own.is_dir() else []
    found, damaged = [], []
    for folder, ships in folders:
        if not folder.is_dir() or folder.name.startswith("."):  # a training at work
            continue
        try:
            facts = read_description(folder)
        except CheckpointError:
            damaged.append(folder)
            continue
        if facts.get("kind") in _KINDS:
            found.append(_described(folder, ships, facts))
    return found, damaged


def known_model(name: str) -> KnownModel:
    """Return the model of a name, a person's own before one that ships.

    Raises:
        UsageError: there is none.
    """
    found, _ = known_models()
    for model in reversed(found):
        if model.name == name:
            return model
    raise UsageError(
        f"'{name}'(이)라는 모델은 없어요. {', '.join(model.name for model in found)} 중에서 골라 주세요."
    )


def _described(folder: Path, ships: bool, facts: dict[str, Any]) -> KnownModel:
    return KnownModel(
        folder.name,
        str(facts["kind"]),
        folder,
        ships,
        sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        facts.get("licence") or _stated_licence(folder / "README.md"),
        facts.get("base_model"),
        learnt_by(folder),
        facts,
    )


def _stated_licence(card: Path) -> str | None:
    """Return the licence that a model card states, ``cc-by-sa-4.0`` as ``CC BY-SA 4.0``."""
    front = (
        _FRONT_MATTER.match(card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else None
    )
    stated = _LICENCE.search(front.group(1)) if front else None
    if stated is None:
        return None
    creative, name, version = stated.groups()
    if creative:
        return f"CC {name.strip('-').upper()} {(version or '').strip('-')}".strip()
    return f"{name}{version or ''}"

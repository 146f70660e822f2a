"""Finding a model by what a person typed: a folder, a trained model's name, or a name on the hub."""

from __future__ import annotations

from pathlib import Path

from chatbot.resources import home_dir


def local_folder(name: str | Path) -> Path | None:
    """Return the folder a name stands for: a path, or a trained model of the user's; else ``None``."""
    for folder in (Path(name).expanduser(), home_dir() / "models" / str(name)):
        if folder.is_dir():
            return folder
    return None


def is_hub_id(name: str | Path) -> bool:
    """Tell whether a name has the form of a model on the hub, ``owner/model``."""
    parts = str(name).split("/")
    return len(parts) == 2 and all(parts) and not str(name).startswith(("/", ".", "~"))

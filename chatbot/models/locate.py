"""Finding a model by what a person typed: a folder, a trained model's name, or a name on the hub."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from chatbot.resources import home_dir

_HUB_ID = re.compile(r"(?=.{3,96}$)\w[\w.-]*/\w[\w.-]*", re.ASCII)


def local_folder(name: str | Path) -> Path | None:
    """Return the folder a name stands for: a path, or a trained model of the user's; else ``None``."""
    with suppress(OSError, RuntimeError):  # too long a name, nobody's home: no folder
        for folder in (Path(name).expanduser(), home_dir() / "models" / str(name)):
            if folder.is_dir():
                return folder
    return None


def is_hub_id(name: str | Path) -> bool:
    """Tell whether a name has the form of a model on the hub, ``owner/model``."""
    return bool(_HUB_ID.fullmatch(str(name)))

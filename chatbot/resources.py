"""Where things are: shipped data inside the package or the checkout, user data outside both."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import IO, Any

import platformdirs

_PACKAGE = Path(__file__).resolve().parent


def data_dir() -> Path:
    """Return the folder of shipped data: in the installed package, or beside it in a checkout."""
    inside = _PACKAGE / "data"
    return inside if inside.is_dir() else _PACKAGE.parent / "data"


def home_dir() -> Path:
    """Return the folder of the user's own data (``CHATBOT_HOME`` overrides the platform's)."""
    override = os.environ.get("CHATBOT_HOME")
    return Path(override).expanduser() if override else Path(platformdirs.user_data_dir("chatbot", False))


def private_dir(path: Path) -> Path:
    """Create ``path`` for its owner alone, and so whatever lacks above it; return it."""
    if not path.parent.exists():
        private_dir(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def open_private(path: Path, mode: str = "w") -> IO[Any]:
    """Open a file for its owner alone, mode 0600: ``"w"`` and ``"a"`` as UTF-8, ``"wb"`` for bytes."""
    how = os.O_APPEND if mode.startswith("a") else os.O_TRUNC
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600)
    return os.fdopen(descriptor, mode, encoding=None if "b" in mode else "utf-8")


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner can read, whole or not at all (temporary name, then rename)."""
    path = path.resolve()  # what a link points to is written, the link stays
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")  # a pipe or a device
        return
    private_dir(path.parent)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")  # mode 0600
    part = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise

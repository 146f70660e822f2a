"""A person's own datasets: a folder each under ``datasets/``, made by ``chatbot import``.

``messages.jsonl`` has the masked messages, ``dialogues.jsonl`` the sessions in the messages form,
``pairs.jsonl`` what was answered to what, ``dataset.json`` who is who and the report. All are for
their owner alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatbot.errors import ChatbotError, UsageError
from chatbot.resources import home_dir, private_dir

FORMAT = 1
RESERVED = ("taught",)
_NAME = re.compile(r"[\w가-힣][\w가-힣.-]{0,63}")


class DatasetError(ChatbotError):
    """A dataset is missing, damaged or cannot be written."""


@dataclass(frozen=True)
class Dataset:
    """An imported dataset and what ``dataset.json`` says of it."""

    name: str
    folder: Path
    facts: dict[str, Any]

    @property
    def messages(self) -> Path:
        """The masked messages, one a line: ``time``, ``speaker``, ``text``, ``part``."""
        return self.folder / "messages.jsonl"

    @property
    def dialogues(self) -> Path:
        """The sessions, one a line, in the messages form."""
        return self.folder / "dialogues.jsonl"

    @property
    def pairs(self) -> Path:
        """The pairs, one a line: ``question``, ``answer``, ``time``, ``split``."""
        return self.folder / "pairs.jsonl"

    @property
    def speaker(self) -> str:
        """The one whom the bot imitates."""
        return str(self.facts["roles"]["bot"])


def datasets_dir() -> Path:
    """Return the folder that holds all datasets."""
    return home_dir() / "datasets"


def check_name(name: str) -> None:
    """Raise :class:`UsageError` where ``name`` cannot be a dataset's."""
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise UsageError(
            f"--name '{name}': 데이터셋 이름으로 쓸 수 없어요. 글자, 숫자, -, _로 된 다른 이름을 지어 주세요."
        )


def is_dataset(folder: Path) -> bool:
    """Tell whether a folder was made by ``chatbot import``."""
    return (folder / "dataset.json").is_file()


def list_datasets() -> tuple[list[Dataset], list[str]]:
    """Return all datasets by name, and the names of those that are damaged."""
    found, damaged = [], []
    for folder in sorted(datasets_dir().glob("*")) if datasets_dir().is_dir() else []:
        if is_dataset(folder) and not folder.name.startswith("."):
            try:
                found.append(open_dataset(folder.name))
            except DatasetError:
                damaged.append(folder.name)
    return found, damaged


def open_dataset(name: str) -> Dataset:
    """Return a dataset.

    Raises:
        DatasetError: there is none of that name, or its description is damaged.
    """
    from chatbot.chatlogs.report import Report  # with all that reads exports: not for every talk

    folder = _folder(name)
    try:
        facts = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            raise ValueError("format")
        _ = facts["roles"]["bot"], facts["masked"], Report.from_json(facts["report"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{folder / 'dataset.json'}: 읽을 수 없어요. chatbot import로 다시 만들어 주세요."
        ) from error
    return Dataset(name, folder, facts)


def _folder(name: str) -> Path:
    folder = datasets_dir() / name
    if not _NAME.fullmatch(name) or not is_dataset(folder):
        raise DatasetError(f"'{name}'(이)라는 데이터셋이 없어요. chatbot data list로 이름을 확인해 주세요.")
    return folder


@contextmanager
def new_folder(name: str) -> Iterator[Path]:
    """Give a private folder to fill; it becomes dataset ``name`` when the block ends well.

    A dataset of that name is replaced in one step; after an error nothing is left behind.
    """
    target = datasets_dir() / name
    # With the process in its name, so that what a killed one left can be told from work in progress.
    part = datasets_dir() / f".{name}.{os.getpid()}.part"
    try:
        private_dir(datasets_dir())
        _sweep()
        private_dir(part)
        yield part
        old = part.with_suffix(".old")
        if target.exists():
            target.rename(old)
        try:
            part.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
        _remove(old)
    except OSError as error:
        raise DatasetError(
            f"{target}: 쓸 수 없어요({error.strerror}). 디스크와 권한을 확인해 주세요."
        ) from error
    finally:
        _remove(part)


def _sweep() -> None:
    """Remove what killed imports left behind."""
    for left in [*datasets_dir().glob(".*.part"), *datasets_dir().glob(".*.old")]:
        process = left.stem.rpartition(".")[2]
        if process.isdecimal() and not _is_running(int(process)):
            _remove(left)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)  # 0 only asks
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def belongings(name: str) -> list[Path]:
    """Return what was made from a dataset: indexes over it and checkpoints trained on it."""
    return _indexes(name) + trained_on(name)


def delete_indexes(name: str) -> None:
    """Delete the indexes over a dataset; the next talk makes them anew."""
    for folder in _indexes(name):
        shutil.rmtree(folder, ignore_errors=True)


def _indexes(name: str) -> list[Path]:
    return [folder for folder in _folders("indexes") if _fact(folder / "index.json", "data") == name]


def trained_on(name: str) -> list[Path]:
    """Return the checkpoints that were trained on a dataset, unfinished ones, too."""
    return [folder for folder in _folders("models") if name in learnt_by(folder)]


def learnt_by(model: Path) -> list[str]:
    """Return the datasets that a checkpoint has learnt from; older ones name a single one."""
    found = _fact(model / "chatbot.json", "dataset")
    return [found] if isinstance(found, str) else found or []


def delete_dataset(name: str) -> list[Path]:
    """Delete a dataset, damaged or not, and everything made from it; return what was deleted.

    Raises:
        DatasetError: there is none of that name, or something cannot be deleted.
    """
    folder = _folder(name)
    _sweep()
    doomed = [*belongings(name), folder]
    for path in doomed:
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise DatasetError(f"{path}: 지울 수 없어요({error.strerror}). 권한을 확인해 주세요.") from error
    return doomed


def _folders(kind: str) -> list[Path]:
    root = home_dir() / kind
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _fact(path: Path, key: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8")).get(key)
    except (OSError, ValueError, AttributeError):
        return None

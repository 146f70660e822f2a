"""Where a run lies until it is done: a folder beside the checkpoint, for one run at a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from chatbot.datasets import learnt_by
from chatbot.errors import UsageError
from chatbot.knowledge import personal_dataset
from chatbot.resources import private_dir, write_private
from training.loop import is_first, together


class Workplace:
    """The folder of a run, and what is known of it.

    Args:
        out: where the finished checkpoint goes.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.folder = out, out.parent / f".{out.name}.training"
        self._facts = self.folder / "run.json"

    @property
    def begun(self) -> bool:
        """Whether a run lies here that can be gone on with."""
        return self._facts.is_file()

    @contextmanager
    def occupied(self, identity: str, datasets: Sequence[str], *, resume: bool) -> Iterator[None]:
        """Work here, alone; what lies here is cleared away at the end, if it is reached.

        Args:
            identity: everything that decides what the run makes.
            datasets: the imported datasets it learns from, so that deleting one finds it.
            resume: go on with the run that lies here.

        Raises:
            UsageError: there is nothing to resume, it is another run, or one is at work here.
        """
        if not is_first():
            together()
            yield
            return
        if resume and not self.begun:
            raise UsageError(
                f"--resume: {self.out}에 이어서 할 학습이 없어요. --resume을 빼고 시작해 주세요."
            )
        lock = FileLock(private_dir(self.folder) / "lock", timeout=0, mode=0o600)
        try:
            lock.acquire()
        except Timeout as error:
            raise UsageError(
                f"{self.out}: 다른 학습이 여기에 쓰고 있어요. 기다리거나 --out으로 다른 곳을 지정해 주세요."
            ) from error
        try:
            if resume and self.known("identity") != identity:
                raise UsageError(
                    "--resume: 멈춘 학습과 데이터나 옵션이 달라요. 처음과 같은 명령에 --resume만 붙여 주세요."
                )
            if not resume:
                self._clear()
                description = {"kind": "training", "dataset": list(datasets)}
                write_private(self.folder / "chatbot.json", json.dumps(description, ensure_ascii=False))
                self.note(identity=identity)
            together()
            yield
        finally:
            lock.release()
        shutil.rmtree(self.folder)

    def note(self, **facts: Any) -> None:
        """Remember more about the run."""
        known = json.loads(self._facts.read_text(encoding="utf-8")) if self._facts.is_file() else {}
        write_private(self._facts, json.dumps({**known, **facts}, ensure_ascii=False))

    def known(self, name: str) -> Any:
        """Return what was noted under a name, ``None`` where nothing was."""
        return json.loads(self._facts.read_text(encoding="utf-8")).get(name)

    def _clear(self) -> None:
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()


def learnt_datasets(data: Sequence[str], base: Path | None) -> list[str]:
    """Return the imported datasets that training teaches: those named, and those its base has learnt."""
    named = [name for name in data if personal_dataset(name)]
    return list(dict.fromkeys([*named, *(learnt_by(base) if base else [])]))

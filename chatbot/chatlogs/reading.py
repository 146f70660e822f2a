"""From a file to messages: which format it is, by its content, and the reader for it."""

from __future__ import annotations

import importlib
import pkgutil
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

from chatbot.chatlogs import formats
from chatbot.chatlogs.message import Dropped, ExportError, ExportFormat, Message
from chatbot.chatlogs.source import Source
from chatbot.errors import UsageError

_READABLE = (".txt", ".csv", ".json", ".jsonl")


@dataclass
class Export:
    """A recognised export, ready to be read; ``dropped`` fills while it is."""

    source: Source
    format: ExportFormat
    dropped: Dropped = field(default_factory=Counter)

    @property
    def encoding(self) -> str:
        """The name of the text encoding; ``"zip"`` for an archive read as one."""
        return "zip" if self.source.is_zip else self.source.encoding.name

    def messages(self) -> Iterator[Message]:
        """Yield the messages in the order of the file.

        Raises:
            ExportError: the file is damaged beyond reading on.
        """
        self.dropped.clear()
        try:
            yield from self.format.read(self.source, self.dropped)
        except (zipfile.BadZipFile, EOFError, OSError) as error:
            raise ExportError(f"{self.source}: 읽다가 끊겼어요. 파일을 다시 받아 주세요.") from error


@cache
def export_formats() -> dict[str, ExportFormat]:
    """Return every known format by name; each module of ``formats`` adds its own."""
    modules = (
        importlib.import_module(f"{formats.__name__}.{info.name}")
        for info in pkgutil.iter_modules(formats.__path__)
    )
    return {known.name: known for module in modules for known in module.FORMATS}


def open_exports(path: Path, format_name: str = "auto") -> list[Export]:
    """Open a file: one export, or those inside a zip that is no format of its own.

    Raises:
        UsageError: there is no format of that name.
        ExportError: the file cannot be read, or no format fits it.
    """
    source = Source(path)
    wanted = None if format_name == "auto" else _named(format_name)
    found = _recognise(source, wanted)
    if found is not None:
        return [Export(source, found)]
    if source.is_zip:
        exports = list(_exports_inside(source, wanted))
        rooms = {(PurePosixPath(export.source.member or "").parent, export.format.name) for export in exports}
        if len(rooms) > 1:
            raise ExportError(
                f"{path}: zip 안에 대화방이 {len(rooms)}개 있어요. zip을 풀고 한 방의 파일만 골라 주세요."
            )
        if exports:
            return exports
        raise ExportError(f"{path}: zip 안에 아는 형식의 대화가 없어요. 대화를 내보낸 zip인지 확인해 주세요.")
    if wanted is not None:
        raise ExportError(f"{path}: --format {wanted.name} 형식이 아니에요. --format을 빼고 다시 해 보세요.")
    raise ExportError(
        f"{path}: 어떤 형식의 대화인지 알 수 없어요. 메신저에서 내보낸 그대로의 파일을 골라 주세요."
    )


def _exports_inside(archive: Source, wanted: ExportFormat | None) -> Iterator[Export]:
    """Yield the exports among a zip's members; what cannot be read is none."""
    for name in archive.members():
        if name.lower().endswith(_READABLE):
            with suppress(ExportError):
                member = Source(archive.path, name)
                known = _recognise(member, wanted)
                if known is not None:
                    yield Export(member, known)


def _named(name: str) -> ExportFormat:
    known = export_formats()
    if name not in known:
        raise UsageError(f"--format '{name}'은(는) 없어요. auto, {', '.join(known)} 중에서 골라 주세요.")
    return known[name]


def _recognise(source: Source, wanted: ExportFormat | None = None) -> ExportFormat | None:
    """Return the format that fits best, among all or only the one ``wanted``."""
    sample = source.sample
    candidates = [wanted] if wanted else list(export_formats().values())
    scored = [(known.recognise(sample), known) for known in candidates]
    score, best = max(scored, key=lambda pair: pair[0])
    return best if score > 0 else None

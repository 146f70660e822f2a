"""Finding sentences of ours in other people's text, to be sure that nothing was copied."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chatbot.errors import ChatbotError
from chatbot.models.encoder import Progress
from chatbot.style import sentences
from chatbot.text import squeeze

# Shorter sentences than this many syllables everybody says: they are nobody's.
SET_PHRASE = 10
_SUFFIXES = (".txt", ".jsonl", ".json", ".csv", ".tsv")


class Overlap:
    """Our sentences, compared without spaces, punctuation and case; whole texts and their parts."""

    def __init__(self) -> None:
        self._ours: dict[str, tuple[str, str]] = {}  # squeezed -> (sentence, place)

    def add(self, text: str, place: str) -> None:
        """Remember a text of ours and each sentence of it."""
        for part in {text, *sentences(text)}:
            key = squeeze(part)
            if key:
                self._ours.setdefault(key, (part, place))

    def search(self, folder: Path, progress: Progress | None = None) -> dict[str, tuple[str, str]]:
        """Read every text file under ``folder``, gzipped or not, in constant memory.

        Returns:
            Our sentences found there: sentence to (place of ours, file it stands in).

        Raises:
            ChatbotError: no such folder, no text in it, or a file that cannot be read.
        """
        files = [path for path in sorted(folder.rglob("*")) if _text_suffix(path) and path.is_file()]
        if not files:
            raise ChatbotError(f"--against {folder}: 비교할 글 파일이 없어요. 폴더를 확인해 주세요.")
        found: dict[str, tuple[str, str]] = {}
        sizes = [path.stat().st_size for path in files]
        for done, path in enumerate(files, start=1):
            try:
                for text in _texts(path):
                    for part in {text, *sentences(text)}:
                        own = self._ours.get(squeeze(part))
                        if own:
                            found.setdefault(own[0], (own[1], path.name))
            except (OSError, EOFError, UnicodeDecodeError) as error:
                raise ChatbotError(
                    f"--against {path}: 읽을 수 없어요({error}). UTF-8 글 파일인지 확인해 주세요."
                ) from error
            if progress:
                progress(sum(sizes[:done]) // 1024, sum(sizes) // 1024)
        return found


def _text_suffix(path: Path) -> str:
    """Return the suffix of a text file, ``.gz`` taken off; empty for other files."""
    name = path.name.removesuffix(".gz")
    return next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), "")


def _texts(path: Path) -> Iterator[str]:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    suffix = _text_suffix(path)
    with opener(path, "rt", encoding="utf-8") as file:
        for line in file:
            if suffix in (".jsonl", ".json"):
                try:
                    yield from _strings(json.loads(line))
                    continue
                except json.JSONDecodeError:
                    pass  # part of a document over several lines
            elif suffix in (".csv", ".tsv"):
                yield from line.replace('"', "").split("\t" if "\t" in line else ",")
            yield line


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)

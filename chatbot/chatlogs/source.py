"""A file as the readers see it: which encoding, which lines, which members."""

from __future__ import annotations

import codecs
import io
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any, BinaryIO

import ijson

from chatbot.chatlogs.message import ExportError

# What reading from a damaged zip raises; the last, where it asks for a buffer of gigabytes.
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, MemoryError)
_CHUNK = 1 << 20
_SAMPLE_CHARACTERS = 1 << 18
_SAMPLE_LINES = 500
_SAMPLE_ITEMS = 20
_DEEPEST = 1000  # levels of JSON opened in one piece of a file
# A damaged file is still read up to this many unreadable bytes, or up to this share of them.
_BAD_BYTES = 8
_BAD_SHARE = 1 / 200
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Encoding:
    """A codec and what it does with bytes it cannot read (``"strict"``, ``"ignore"``, ``"replace"``)."""

    name: str
    errors: str = "strict"


class Source:
    """An export to read from: a file, or one member of a zip.

    Args:
        path: the file.
        member: the name inside the zip that ``path`` is; ``None`` for the file itself.
        archive: that zip, already open; who reads thousands of members opens it once.

    Raises:
        ExportError: there is no such file, it is a folder or empty, or it holds no text.
    """

    def __init__(self, path: Path, member: str | None = None, archive: zipfile.ZipFile | None = None) -> None:
        self.path, self.member, self._archive = path, member, archive
        self._opened: IO[bytes] | None = None
        try:
            if path.is_dir():
                raise ExportError(f"{path}: 폴더예요. 대화를 내보낸 파일을 골라 주세요.")
            if path.exists() and not path.is_file():
                raise ExportError(f"{path}: 파일이 아니에요. 대화를 파일로 저장해서 골라 주세요.")
            with self.open_bytes() as stream:
                start = stream.read(4)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ExportError(f"{path}: 읽을 수 없어요({reason}). 경로와 권한을 확인해 주세요.") from error
        if not start:
            raise ExportError(f"{self}: 빈 파일이에요. 대화를 다시 내보내 주세요.")
        self.is_zip = member is None and start[:4] in (b"PK\x03\x04", b"PK\x05\x06")

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}({self.member})"

    @property
    def share_read(self) -> float:
        """How much of the file has been read, 0..1; 1 for what is inside a zip."""
        if self._opened is None or self._opened.closed:
            return 1.0
        return self._opened.tell() / max(self.path.stat().st_size, 1)

    @contextmanager
    def open_bytes(self) -> Iterator[IO[bytes]]:
        """Open the raw bytes."""
        if self.member is None:
            with self.path.open("rb") as stream:
                self._opened = stream
                yield stream
            return
        try:
            with self._open_member() as stream:
                yield stream
        except _DAMAGE as error:
            raise ExportError(f"{self}: zip 안의 파일이 깨졌어요. zip을 다시 받아 주세요.") from error

    def _open_member(self) -> IO[bytes]:
        assert self.member is not None
        try:
            # What is open stays so when the archive closes.
            with nullcontext(self._archive) if self._archive else zipfile.ZipFile(self.path) as archive:
                if not archive.getinfo(self.member).flag_bits & 1:
                    return archive.open(self.member)
        except (KeyError, RuntimeError, ValueError, struct.error) as error:  # damaged headers
            raise zipfile.BadZipFile(str(error)) from error
        raise ExportError(f"{self}: 암호가 걸려 있어요. zip을 풀고 그 안의 파일을 골라 주세요.")

    @cached_property
    def encoding(self) -> Encoding:
        """The encoding, from the bytes alone.

        A byte order mark decides, else UTF-8 where all of it is (a character cut off at the end
        counts), else CP949, else CP932, else UTF-16 without a mark. A few bad bytes in a big file
        are read as U+FFFD.
        """
        with self.open_bytes() as stream:
            start = stream.read(1 << 16)
        if b"\0" in start:
            for name, zeros in (("utf-16-le", start[1::2]), ("utf-16-be", start[::2])):
                if zeros.count(0) > len(zeros) // 4:
                    candidates = [name]
                    break
            else:
                candidates = ["utf-8"]
        else:
            candidates = ["utf-8", "cp949", "cp932"]  # the last: LINE, saved again on Japanese Windows
        for mark, name in _BOMS:
            if start.startswith(mark):
                candidates = [name]
        best, fewest, size = "", 1 << 60, 0
        for name in candidates:
            bad, size = self._unreadable(name)
            if bad < fewest:
                best, fewest = name, bad
            if not bad:
                break
        text = start.decode(best, "replace")
        control = sum(c < " " and c not in "\t\r\n\v\f\x1b" for c in text)
        if fewest > max(_BAD_BYTES, size * _BAD_SHARE) or control > len(text) / 20:
            raise ExportError(
                f"{self}: 글이 아닌 파일이에요. 대화를 내보낸 txt, csv, json, zip을 골라 주세요."
            )
        return Encoding(best, "replace" if fewest else "strict")

    def _unreadable(self, name: str) -> tuple[int, int]:
        """Return how often the codec stumbles and how many bytes there are; a cut at the very end is none."""
        bad = size = 0
        with self.open_bytes() as stream:
            chunk = stream.read(_CHUNK)
            if name == "utf-16":  # its decoder would ask for the mark again after a bad byte
                name = "utf-16-le" if chunk.startswith(codecs.BOM_UTF16_LE) else "utf-16-be"
            decoder = codecs.getincrementaldecoder(name)("strict")
            while chunk:
                size += len(chunk)
                while True:
                    try:
                        decoder.decode(chunk)
                        break
                    except UnicodeDecodeError as error:
                        bad += 1
                        if bad > _CHUNK * _BAD_SHARE:
                            return bad, 1
                        # counted from what the decoder still held, too
                        chunk = error.object[error.end :]
                        decoder.reset()
                chunk = stream.read(_CHUNK)
        return bad, size

    @contextmanager
    def open_text(self) -> Iterator[io.TextIOWrapper]:
        """Open as text with line ends as they are, so that a CRLF and a bare LF can be told apart."""
        encoding = self.encoding
        errors = "ignore" if encoding.errors == "strict" else encoding.errors  # a cut at the very end
        with self.open_bytes() as stream:
            yield io.TextIOWrapper(stream, encoding.name, errors, newline="")

    def lines(self) -> Iterator[str]:
        """Yield the lines with their ends; only CRLF, LF and a lone CR end one."""
        with self.open_text() as text:
            yield from text

    def json_items(self, prefix: str) -> Iterator[Any]:
        """Yield the values under an ijson ``prefix`` such as ``messages.item``, one at a time.

        Raises:
            ExportError: the JSON is broken or cut off.
        """
        with self._open_json() as stream:
            yield from ijson.items(stream, prefix, use_float=True)

    def json_events(self) -> Iterator[tuple[str, str, Any]]:
        """Yield ijson's events (prefix, event, value), for what lies between the values.

        Raises:
            ExportError: the JSON is broken or cut off.
        """
        with self._open_json() as stream:
            yield from ijson.parse(stream, use_float=True)

    @contextmanager
    def _open_json(self) -> Iterator[_Repaired]:
        with self.open_bytes() as stream:
            try:
                yield _Repaired(stream, self.encoding)
            except (ijson.JSONError, UnicodeDecodeError, ValueError) as error:
                raise ExportError(
                    f"{self}: JSON이 중간에 끊겼거나 깨졌어요. 대화를 다시 내보내 주세요."
                ) from error

    def members(self) -> list[str]:
        """Return the names of the files inside the zip.

        Raises:
            ExportError: the zip is damaged.
        """
        try:
            with zipfile.ZipFile(self.path) as archive:
                return [info.filename for info in archive.infolist() if not info.is_dir()]
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise ExportError(f"{self}: zip 파일이 깨졌어요. 다시 받아 주세요.") from error

    @cached_property
    def sample(self) -> Sample:
        """The beginning, to recognise the format by."""
        if self.is_zip:
            return Sample(members=tuple(self.members()))
        with self.open_text() as text:
            head = text.read(_SAMPLE_CHARACTERS)
        lines = io.StringIO(head, newline="").readlines()
        if len(head) == _SAMPLE_CHARACTERS and len(lines) > 1:
            del lines[-1]  # cut short by us
        lines = [line.rstrip("\r\n") for line in lines[:_SAMPLE_LINES]]
        sample = Sample(lines=tuple(lines))
        if head.lstrip()[:1] in ("{", "["):
            sample.shape = _shape(self)
        return sample


@dataclass
class Sample:
    """The beginning of a source: its first lines, its members, or the shape of its JSON.

    ``shape`` maps the keys of the top-level object to their values; a list keeps its first items
    and long nesting is cut. A top-level list stands under the key ``""``.
    """

    lines: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    shape: dict[str, Any] = field(default_factory=dict)


class _Repaired:
    r"""A JSON file as UTF-8 without byte order mark, with ``\x0B`` (no JSON) written ``\u000B``.

    Telegram Desktop writes control characters so.
    """

    def __init__(self, stream: IO[bytes] | BinaryIO, encoding: Encoding) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding.name)(
            "ignore" if encoding.errors == "strict" else encoding.errors
        )
        self._stream, self._held, self._done = stream, "", False

    def read(self, size: int) -> bytes:
        """Return some bytes, ``b""`` at the end; ijson first asks for none, to see that they are bytes."""
        while size and not self._done:
            chunk = self._stream.read(size)
            self._done = not chunk
            text = self._held + self._decoder.decode(chunk, final=self._done)
            self._held = ""
            if "\\" in text:
                text = self._repair(text)
            opened = sum(map(text.count, "[{")) - sum(map(text.count, "]}"))
            if opened > _DEEPEST:
                # ijson keeps the path of every level: a run of brackets would fill the memory
                raise ValueError("nested too deeply")
            if text:
                return text.encode("utf-8", "replace")
        return b""

    def _repair(self, text: str) -> str:
        """Rewrite escapes pair by pair from the left, so that an escaped backslash stays one."""
        if not self._done:
            # What may be half an escape waits for the next piece: a backslash that none escapes, \x or \xA.
            for cut in range(len(text) - 1, max(len(text) - 4, -1), -1):
                before = text[:cut]
                escaped = (cut - len(before.rstrip("\\"))) % 2
                if text[cut] == "\\" and not escaped and text[cut + 1 : cut + 2] in ("", "x"):
                    text, self._held = before, text[cut:]
                    break
        if "\\x" not in text:
            return text
        parts = text.split("\\")
        out = [parts[0]]
        position = 1
        while position < len(parts):
            part = parts[position]
            if not part and position + 1 < len(parts):  # an escaped backslash
                out.append("\\\\" + parts[position + 1])
                position += 2
                continue
            out.append(("\\u00" + part[1:]) if part[:1] == "x" else "\\" + part)
            position += 1
        return "".join(out)


def _shape(source: Source) -> dict[str, Any]:
    """Return the outline of a JSON file from its first events, whatever is wrong further on."""
    root: dict[str, Any] = {}
    stack: list[Any] = []
    keys: list[str] = []

    def put(value: Any) -> None:
        if not stack:
            root[""] = value
        elif isinstance(stack[-1], dict):
            stack[-1][keys[-1]] = value
        elif len(stack[-1]) < _SAMPLE_ITEMS:
            stack[-1].append(value)

    with source.open_bytes() as stream:
        try:
            for count, (_, event, value) in enumerate(
                ijson.parse(_Repaired(stream, source.encoding), use_float=True)
            ):
                if count > 20_000:
                    break
                if event in ("start_map", "start_array"):
                    opened: Any = {} if event == "start_map" else []
                    put(opened)
                    stack.append(opened)
                    keys.append("")
                elif event in ("end_map", "end_array"):
                    stack.pop()
                    keys.pop()
                elif event == "map_key":
                    keys[-1] = value
                else:
                    put(value)
        except (ijson.JSONError, ValueError):
            pass
    top = root.get("")
    return top if isinstance(top, dict) else {"": top} if isinstance(top, list) else {}


def json_line(line: str) -> Any:
    """Return the value of one line of JSON Lines; ``None`` where it is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # a number of thousands of digits is a ValueError, too
        return None

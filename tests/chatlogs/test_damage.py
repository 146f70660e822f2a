"""Damaged exports of every format end in messages or in one Korean sentence."""

from __future__ import annotations

import importlib
import pkgutil
import random
import re
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import pytest

from chatbot.chatlogs import ExportError, export_formats, open_exports
from tests import chatlogs
from tests.chatlogs.json_exports import assert_sound

SECONDS = 5.0  # far beyond what a small file takes, however busy the machine
ENCODINGS = ("utf-8", "utf-8-sig", "cp949", "utf-16", "utf-16-le", "latin-1")


def all_examples() -> list[bytes]:
    """Return the examples of every format's test module."""
    names = [info.name for info in pkgutil.iter_modules(chatlogs.__path__) if info.name.startswith("test_")]
    modules = [importlib.import_module(f"{chatlogs.__name__}.{name}") for name in names]
    return [raw for module in modules for raw in getattr(module, "EXAMPLES", {}).values()]


def mutated(raw: bytes, other: bytes, rng: random.Random) -> bytes:
    """Return the bytes with one to four kinds of damage, one after another."""
    for _ in range(rng.randint(1, 4)):
        kind = rng.randrange(8)
        lines = raw.split(b"\n")
        at = rng.randrange(len(raw) + 1)
        if kind == 0:  # bytes flipped
            flipped = bytearray(raw)
            for _ in range(rng.randint(1, 20)):
                if flipped:
                    flipped[rng.randrange(len(flipped))] = rng.randrange(256)
            raw = bytes(flipped)
        elif kind == 1:
            raw = raw[:at]
        elif kind == 2:  # a line gone, doubled or moved
            line = lines.pop(rng.randrange(len(lines)))
            for _ in range(rng.randrange(3)):
                lines.insert(rng.randrange(len(lines) + 1), line)
            raw = b"\n".join(lines)
        elif kind == 3:  # a line cut
            number = rng.randrange(len(lines))
            lines[number] = lines[number][: rng.randrange(len(lines[number]) + 1)]
            raw = b"\n".join(lines)
        elif kind == 4:  # a piece of another export
            start = rng.randrange(len(other) + 1)
            raw = raw[:at] + other[start : start + rng.randrange(400)] + raw[at:]
        elif kind == 5:  # saved again in another encoding
            raw = raw.decode("utf-8", "replace").encode(rng.choice(ENCODINGS), "replace")
        elif kind == 6:  # half of it in another encoding
            raw = raw[:at] + raw[at:].decode("utf-8", "replace").encode(rng.choice(ENCODINGS), "replace")
        else:
            raw = rng.choice(
                (raw.replace(b"\r\n", b"\n"), raw.replace(b"\n", b"\r"), raw.replace(b'"', b"", 1))
            )
    return raw


def survive(path: Path, seed: int, rounds: int) -> int:
    """Read ``rounds`` damaged exports; return how many could still be read."""
    rng = random.Random(seed)
    examples = all_examples()
    readable = 0
    for number in range(rounds):
        raw = mutated(rng.choice(examples), rng.choice(examples), rng)
        path.write_bytes(raw)
        started = time.monotonic()
        try:
            for export in open_exports(path):
                assert_sound(list(export.messages()))
            readable += 1
        except ExportError as error:
            assert re.search(r"[가-힣].*요\.$", str(error)) and "\n" not in str(error), (
                f"round {number}: {error}"
            )
        except Exception as error:
            raise AssertionError(f"seed {seed}, round {number}: {raw!r}") from error
        assert time.monotonic() - started < SECONDS, f"seed {seed}, round {number}: {raw!r}"
    return readable


def test_every_format_has_examples() -> None:
    assert len(all_examples()) > len(export_formats())


def test_two_thousand_damaged_exports(tmp_path: Path) -> None:
    assert survive(tmp_path / "대화", seed=1, rounds=2_000) > 500


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fifty_thousand_damaged_exports(tmp_path: Path) -> None:
    seeds = range(2, 12)
    paths = [tmp_path / f"대화{seed}" for seed in seeds]
    with ProcessPoolExecutor() as processes:
        assert sum(processes.map(survive, paths, seeds, repeat(5_000))) > 12_500

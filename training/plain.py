"""Plain text to pretrain on: somebody's own files, a paragraph a line."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chatbot.errors import ChatbotError
from chatbot.privacy import mask
from chatbot.text import normalise
from training.batches import Batches, joined

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_HELD_OUT = 50  # every so manieth line is validated on
_CHUNK = 10_000  # lines tokenised at a time


class Text(NamedTuple):
    """Lines to read and lines to measure with."""

    train: list[str]
    valid: list[str]
    fingerprint: str


def read_text(paths: Sequence[str | Path]) -> Text:
    """Read text files, what looks like personal data masked; every fiftieth line is held out.

    Raises:
        ChatbotError: a file cannot be read, is no UTF-8 text, or holds nothing.
    """
    lines: list[str] = []
    for path in map(Path, paths):
        try:
            raw = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise ChatbotError(
                f"--pretrain {path}: 읽을 수 없어요({error.strerror}). 글 파일을 지정해 주세요."
            ) from error
        except UnicodeDecodeError as error:
            raise ChatbotError(
                f"--pretrain {path}: UTF-8로 된 글이 아니에요. UTF-8로 저장해서 다시 지정해 주세요."
            ) from error
        found = [mask(line) for line in map(normalise, raw.splitlines()) if line]
        if not found:
            raise ChatbotError(f"--pretrain {path}: 글이 하나도 없어요. 다른 파일을 지정해 주세요.")
        lines += found
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    valid = lines[_HELD_OUT - 1 :: _HELD_OUT]
    del lines[_HELD_OUT - 1 :: _HELD_OUT]
    return Text(lines, valid, digest)


def line_batches(
    tokenizer: PreTrainedTokenizerFast, lines: Sequence[str], longest: int, batch_tokens: int, seed: int
) -> Batches:
    """Return lines as batches of ids, each between a text's beginning and end, in pieces that fit."""
    before = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
    after = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    pieces = []
    for start in range(0, len(lines), _CHUNK):
        read = tokenizer.backend_tokenizer.encode_batch(
            list(lines[start : start + _CHUNK]), add_special_tokens=False
        )
        for encoding in read:
            ids = [*before, *encoding.ids, *after]
            pieces += [np.array(ids[at : at + longest], dtype=np.int32) for at in range(0, len(ids), longest)]
    flat, starts = joined(piece for piece in pieces if len(piece) > 1)
    return Batches(flat, starts, batch_tokens=batch_tokens, pad=int(tokenizer.pad_token_id or 0), seed=seed)

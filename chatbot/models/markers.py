"""The special tokens of our prompt format, and text as ids whatever special token it may spell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from chatbot.style import Style

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

USER = "<|user|>"
BOT = "<|bot|>"
END = "<|end|>"
BREAK = "<|break|>"
STYLES: dict[Style, str] = {"polite": "<|polite|>", "casual": "<|casual|>"}
SPEAKER = "<|speaker|>"
EXAMPLE = "<|example|>"
MARKERS = (USER, BOT, END, BREAK, *STYLES.values(), SPEAKER, EXAMPLE)

# Pieces such as <unused7>, <usr> or <|end|>, special or not; <0xEC> is a byte of ordinary text.
_MARKER_PIECE = re.compile(r"<(?!0x)[/|]?\w+\|?>")

# How a model with a chat template of its own is told the speech level.
STYLE_WISH: dict[Style, str] = {
    "polite": "한국어 존댓말(해요체)로 짧게 대답해 주세요.",
    "casual": "한국어 반말로 짧게 대답해 줘.",
}

# The same format for tools that know chat templates only; a system message may set the style, by its
# name or by the wish that other models get, so that one request suits a server of either.
CHAT_TEMPLATE = (
    "{%- set style = namespace(token='" + STYLES["polite"] + "') -%}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'system' -%}"
    "{%- if message.content in ['casual', '" + STYLE_WISH["casual"] + "'] -%}"
    "{%- set style.token = '" + STYLES["casual"] + "' -%}{%- endif -%}"
    "{%- else -%}{%- set text = message.content | trim | replace('\\n', '" + BREAK + "') -%}"
    "{%- if message.role == 'user' -%}{{ '" + USER + "' + text + '" + END + "' }}"
    "{%- else -%}{{ '" + BOT + "' + style.token + text + '" + END + "' }}{%- endif -%}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '" + BOT + "' + style.token }}{%- endif -%}"
)


def add_markers(tokenizer: PreTrainedTokenizerFast) -> int:
    """Add the markers that the tokenizer lacks as special tokens; return how many were new.

    The tokenizer gets our chat template too: what it had was for another format.
    """
    new = tokenizer.add_special_tokens(
        {"extra_special_tokens": list(MARKERS)}, replace_extra_special_tokens=False
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return new


def marker_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Return the id of every marker."""
    ids: Any = tokenizer.convert_tokens_to_ids(list(MARKERS))
    return dict(zip(MARKERS, ids, strict=True))


def marker_like(tokenizer: PreTrainedTokenizerFast) -> set[int]:
    """Return the ids of all special tokens, and of pieces that look like one without being flagged."""
    vocabulary = tokenizer.get_vocab()
    looks_special = {number for piece, number in vocabulary.items() if _MARKER_PIECE.fullmatch(piece)}
    return looks_special | set(tokenizer.all_special_ids)


def end_ids(tokenizer: PreTrainedTokenizerFast, stated: int | list[int] | None) -> list[int]:
    """Return the ids that end a text, by the tokenizer and by what generation settings have ``stated``.

    A setting nobody meant, such as GPT-2's 50256, may lie outside or be an ordinary piece.
    """
    many = [*(stated if isinstance(stated, list) else [stated]), tokenizer.eos_token_id]
    special = marker_like(tokenizer)
    return sorted({int(i) for i in many if i is not None and int(i) in special})


def encode_text(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Return the ids of ``text`` as ordinary text, whatever special token it may spell."""
    added = tokenizer.added_tokens_decoder
    ids = _split(tokenizer, text)
    if any(i in added and i != tokenizer.unk_token_id for i in ids):  # one not flagged as special
        ids = _split(tokenizer, defused(tokenizer, text))
    return ids


def _split(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]


def defused(tokenizer: PreTrainedTokenizerFast, text: str) -> str:
    """Return ``text`` with a space in whatever spells an added token, so that it is one no more."""
    for token in map(str, tokenizer.added_tokens_decoder.values()):
        if len(token) > 1:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text

"""Replies written once for many utterances, as ``data/replies`` has them."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from chatbot.questions import asks
from chatbot.resources import data_dir
from chatbot.style import Style


@cache
def stock_replies(name: str) -> dict[str, Any]:
    """Return what ``data/replies/NAME.json`` holds."""
    return json.loads((data_dir() / "replies" / f"{name}.json").read_text(encoding="utf-8"))


def replies_to(said: str, style: Style, name: str) -> list[str]:
    """Return the replies of a file in a speech level that has others to a question than to a statement."""
    return stock_replies(name)["question" if asks(said) else "statement"][style]

"""A Korean chatbot for the terminal.

The public names are loaded when they are first used: importing this package loads neither torch
nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chatbot.backends import open_backend
    from chatbot.dialogue import Backend, Conversation, Reply, Turn
    from chatbot.history import History
    from chatbot.models.encoder import Encoder, load_encoder
    from chatbot.session import Session

__version__ = "0.1.0"

_HOMES = {
    "open_backend": "chatbot.backends",
    "load_encoder": "chatbot.models.encoder",
    "Encoder": "chatbot.models.encoder",
    "Backend": "chatbot.dialogue",
    "Conversation": "chatbot.dialogue",
    "Reply": "chatbot.dialogue",
    "Turn": "chatbot.dialogue",
    "History": "chatbot.history",
    "Session": "chatbot.session",
}

__all__ = [
    "Backend",
    "Conversation",
    "Encoder",
    "History",
    "Reply",
    "Session",
    "Turn",
    "__version__",
    "load_encoder",
    "open_backend",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)

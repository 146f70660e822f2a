"""``python -m chatbot``."""

from __future__ import annotations

from chatbot.cli import main

main()

"""Errors that a person sees: one clear Korean sentence each, with what to do about it."""

from __future__ import annotations


class ChatbotError(Exception):
    """Something failed; the message names the file or option and the remedy."""

    exit_code = 1


class UsageError(ChatbotError):
    """The command was used wrongly (an unknown name, an option that does not apply)."""

    exit_code = 2

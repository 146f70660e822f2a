"""Errors that a person sees: one clear Korean sentence each, with what to do about it."""

from __future__ import annotations


class ChatbotError(Exception):
    """Something failed; the message names the file or option and the remedy."""

    exit_code = 1


class UsageError(ChatbotError):
    """The command was used wrongly (an unknown name, an option that does not apply)."""

    exit_code = 2


def explain(error: BaseException) -> str:
    """Return the one sentence a person gets for any error.

    The message of an unforeseen one may quote what somebody wrote; its kind does not.
    """
    if isinstance(error, ChatbotError):
        return str(error)
    kind = type(error).__name__
    return f"예상하지 못한 문제가 생겼어요({kind}). CHATBOT_DEBUG=1로 다시 실행하면 자세히 나와요."

"""The settings of generation that several backends share: how to read one, what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from chatbot.errors import UsageError

RETRY_TEMPERATURE = 0.7  # a reply asked for again needs some chance to be another


@dataclass(frozen=True)
class _Setting:
    """One option of generation: how to read it, what is allowed, and how to say so."""

    read: Callable[[str], Any]
    allowed: Callable[[Any], bool]
    wanted: str


SETTINGS = {
    "temperature": _Setting(
        float, lambda value: value == 0 or 0.01 <= value <= 5, "0이나 0.01 이상 5 이하의 수"
    ),
    "top_p": _Setting(float, lambda value: 0 < value <= 1, "0보다 크고 1 이하인 수"),
    "max_new_tokens": _Setting(int, lambda value: 1 <= value <= 4096, "1 이상 4096 이하의 정수"),
    "seed": _Setting(int, lambda value: 0 <= value < 2**63, "0 이상의 정수"),
}
# How many examples the hybrid backend shows; more than these only push the talk out of the prompt.
SHOTS = {"shots": _Setting(int, lambda value: 0 <= value <= 8, "0 이상 8 이하의 정수")}


def checked(name: str, value: Any) -> Any:
    """Return a setting read from what a person typed.

    Raises:
        UsageError: it is no number, or one that makes no sense.
    """
    setting = (SETTINGS | SHOTS)[name]
    try:
        read = setting.read(value)
        if setting.allowed(read):
            return read
    except ValueError:
        pass
    raise UsageError(f"--{name.replace('_', '-')} '{value}': {setting.wanted}를 써 주세요.")


def all_checked(**given: Any) -> dict[str, Any]:
    """Return the settings that were given (not ``None``), each read and checked.

    Raises:
        UsageError: as :func:`checked`.
    """
    return {name: checked(name, value) for name, value in given.items() if value is not None}


def adjusted(backend: str, name: str, value: str, known: Iterable[str] = SETTINGS) -> Any:
    """Return the new value of a setting that a person changes while talking.

    Raises:
        UsageError: it is not among the ``known`` ones of the backend, or as :func:`checked`.
    """
    if name not in known:
        raise UsageError(f"{backend} 백엔드의 설정은 {', '.join(known)}예요. '{name}'은(는) 바꿀 수 없어요.")
    return checked(name, value)

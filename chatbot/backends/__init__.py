"""The backends' door: open one by name, ours or a third party's.

A third party adds a backend through the entry-point group ``chatbot.backends``; the entry point
names a class or function that takes some of the options and returns a
:class:`~chatbot.dialogue.Backend`.
"""

from __future__ import annotations

import importlib
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from chatbot.dialogue import Backend, Conversation, Reply
from chatbot.errors import UsageError

GROUP = "chatbot.backends"
_OPENER = "open-backends"
_BUILT_IN = {
    "retrieval": "chatbot.backends.retrieval:RetrievalBackend",
    "gpt": "chatbot.backends.gpt:GptBackend",
    "hybrid": "chatbot.backends.hybrid:HybridBackend",
    "remote": "chatbot.backends.remote:RemoteBackend",
}


def backend_names() -> list[str]:
    """Return the names that :func:`open_backend` knows, ours first."""
    others = sorted(point.name for point in entry_points(group=GROUP) if point.name not in _BUILT_IN)
    return [*_BUILT_IN, *others]


def open_backend(name: str, *, model: str | None = None, device: str = "auto", **options: Any) -> Backend:
    """Open a backend by name.

    Options that were not given (``None``, or the device ``"auto"``) are left to the backend.

    Raises:
        UsageError: no such backend, or it has no use for one of the options.
    """
    factory = _factory(name)
    check_options(name, model=model, device=device, **options)
    return factory(**_given(model=model, device=device, **options))


def check_options(name: str, **options: Any) -> None:
    """Raise :class:`UsageError` where the backend does not exist or cannot use an option."""
    taken = usable_options(name, **options)
    for option in _given(**options):
        if option not in taken:
            raise UsageError(
                f"{name} 백엔드에는 --{option.replace('_', '-')} 옵션이 없어요. 빼고 다시 실행해 주세요."
            )


def usable_options(name: str, **options: Any) -> dict[str, Any]:
    """Return those of the given options that the backend has a use for."""
    parameters = _parameters(_factory(name))
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    names = {p.name for p in parameters}
    return {option: value for option, value in _given(**options).items() if takes_any or option in names}


def share_options(names: Sequence[str], **options: Any) -> dict[str, dict[str, Any]]:
    """Return, for each backend, those of the given options that it has a use for.

    Raises:
        UsageError: no such backend, or none of them can use an option.
    """
    shared = {name: usable_options(name, **options) for name in names}
    for option in _given(**options):
        if not any(option in usable for usable in shared.values()):
            raise UsageError(
                f"--{option.replace('_', '-')} 옵션을 쓰는 백엔드가 {', '.join(names)} 가운데 없어요. "
                "빼고 다시 실행해 주세요."
            )
    return shared


def open_in_background(name: str, **options: Any) -> OpeningBackend:
    """Start opening a backend in another thread and return at once; the first use waits for it."""
    return open_all_in_background([(name, options)])[0]


def open_all_in_background(wanted: Sequence[tuple[str, Mapping[str, Any]]]) -> list[OpeningBackend]:
    """Start opening several backends, each with its options, and return at once.

    One is opened after the other: an index that two of them use is built once.
    """
    for name, options in wanted:
        check_options(name, **options)
    opening: list[Future[Backend]] = [Future() for _ in wanted]

    def work() -> None:
        for future, (name, options) in zip(opening, wanted, strict=True):
            try:
                future.set_result(open_backend(name, **options))
            except BaseException as error:
                future.set_exception(error)

    # A daemon, so that a person who leaves meanwhile need not wait for it.
    threading.Thread(target=work, name=_OPENER, daemon=True).start()
    return [OpeningBackend(name, future) for future, (name, _) in zip(opening, wanted, strict=True)]


def still_opening() -> bool:
    """Tell whether a backend is being opened in the background right now."""
    return any(thread.name == _OPENER for thread in threading.enumerate())


def opened(backend: Backend) -> Backend:
    """Return the backend itself, waiting for it where it is still being opened."""
    return backend.opened if isinstance(backend, OpeningBackend) else backend


def prepared(backend: Backend) -> Backend:
    """Return the backend itself with everything loaded that it would else load when it is first needed."""
    backend = opened(backend)
    prepare = getattr(backend, "prepare", None)
    if prepare is not None:
        prepare()
    return backend


def _parameters(factory: Callable[..., Backend]) -> list[inspect.Parameter]:
    """Return what a class or function takes; nothing for a class without an ``__init__`` of its own.

    Such a class inherits the one of ``Protocol``, whose signature claims to take anything.
    """
    if inspect.isclass(factory) and factory.__init__ is Backend.__init__:
        return []
    return list(inspect.signature(factory).parameters.values())


def _given(**options: Any) -> dict[str, Any]:
    return {k: v for k, v in options.items() if v is not None and (k, v) != ("device", "auto")}


def _factory(name: str) -> Callable[..., Backend]:
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    points: dict[str, EntryPoint] = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        raise UsageError(
            f"'{name}'(이)라는 백엔드는 없어요. {', '.join(backend_names())} 중에서 골라 주세요."
        )
    try:
        return points[name].load()
    except Exception as error:
        raise UsageError(
            f"백엔드 {name}을(를) 불러올 수 없어요({type(error).__name__}: {error}). "
            "그 패키지를 다시 설치해 주세요."
        ) from error


class OpeningBackend(Backend):
    """A backend that is still being opened; everything asked of it waits for the real one."""

    def __init__(self, name: str, opening: Future[Backend]) -> None:
        self.name = name
        self._opening = opening

    @property
    def ready(self) -> bool:
        """Whether the real backend is there."""
        return self._opening.done()

    @property
    def failed(self) -> bool:
        """Whether it is known that there will be no real backend."""
        return self._opening.done() and self._opening.exception() is not None

    @property
    def notes(self) -> list[str]:
        """What the real backend has to say about itself, as far as it is there."""
        return getattr(self.opened, "notes", []) if self.ready and not self.failed else []

    @property
    def invents(self) -> bool:
        """Whether the real backend makes up its words."""
        return getattr(self.opened, "invents", False)

    @property
    def written(self) -> Backend | None:
        """What answers in written words alone, where the real backend has such a part."""
        return getattr(self.opened, "written", None)

    @property
    def speaker(self) -> str | None:
        """In whose name the real backend answers; ``None``: the bot's own."""
        return getattr(self.opened, "speaker", None) if self.ready and not self.failed else None

    @property
    def speakers(self) -> list[str | None] | None:
        """In whose name the real backend gave each answer of a batch, where that may change."""
        return getattr(self.opened, "speakers", None) if self.ready and not self.failed else None

    @property
    def opened(self) -> Backend:
        """The real backend; raises what went wrong where it could not be opened."""
        return self._opening.result()

    def stream(self, conversation: Conversation) -> Iterator[str | Reply]:
        """Answer as soon as the real backend is there."""
        return self.opened.stream(conversation)

    def reply_many(self, conversations: Sequence[Conversation]) -> list[Reply]:
        """Answer several as soon as the real backend is there."""
        return self.opened.reply_many(conversations)

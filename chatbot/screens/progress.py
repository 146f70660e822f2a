"""Progress of long work: a Rich bar on a terminal, plain lines elsewhere.

Rich is loaded when there is something to show, so that work already done costs no start-up.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress


class ProgressReport:
    """Call it with ``(done, total)`` and perhaps a note.

    Use it as a context manager, so that the bar goes away.
    """

    def __init__(self, description: str) -> None:
        self._description = description
        self._bar: Progress | None = None
        self._total, self._tenths = 0, -1

    def __enter__(self) -> ProgressReport:
        return self

    def __exit__(self, *_: object) -> None:
        self.pause()

    def pause(self) -> None:
        """Take the bar away, until there is more to show."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Show how far the work has come, and how it goes."""
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = _bar(sys.stderr)
                self._bar.add_task(self._description, total=total, rate="")
                self._bar.start()
            task = self._bar.tasks[0]
            rate = note or (f"{task.speed:,.0f}/초" if task.speed else "")
            self._bar.update(task.id, completed=done, total=total, rate=rate)
        elif (total, 10 * done // max(total, 1)) != (self._total, self._tenths):
            self._total, self._tenths = total, 10 * done // max(total, 1)
            sys.stderr.write(f"{self._description} {done}/{total} {note}".rstrip() + "\n")
            sys.stderr.flush()


def _bar(stream: TextIO) -> Progress:
    """Return a bar with rate and ETA that goes away when it is done."""
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}", markup=False),
        progress.TimeRemainingColumn(),
        console=Console(file=stream, markup=False, highlight=False, emoji=False),
        transient=True,
    )

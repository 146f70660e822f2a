"""What is written down of a run: ``metrics.jsonl`` as it goes, a learning curve at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chatbot.resources import open_private, write_private
from training.loop import Step


class Record:
    """The file ``metrics.jsonl`` of a run, for its owner alone: a line a step, a line a validation."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, facts: dict[str, Any]) -> None:
        """Start the file anew with what the run is about."""
        self.path.unlink(missing_ok=True)
        self._write({"kind": "run", **facts})

    def step(self, step: Step, trained: int) -> None:
        """Write a step down, with how many weights it trained."""
        self._write({"kind": "step", **step._asdict(), "trained": trained})

    def validation(self, number: int, figures: dict[str, float], samples: list[str]) -> None:
        """Write a validation down, with what the model answered to the fixed prompts."""
        self._write({"kind": "validation", "number": number, **figures, "samples": samples})

    def rewind(self, steps: int) -> None:
        """Drop what was written after step ``steps``: it is done again."""
        kept = [row for row in self.rows() if row["kind"] == "run" or row["number"] <= steps]
        write_private(self.path, "".join(_line(row) for row in kept))

    def rows(self) -> list[dict[str, Any]]:
        """Return what was written so far; a last line cut short by a kill is left out."""
        rows = []
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []:
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return rows

    def _write(self, row: dict[str, Any]) -> None:
        with open_private(self.path, "a") as file:
            file.write(_line(row))


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def draw_curve(rows: list[dict[str, Any]], path: Path, measure: str = "nats") -> None:
    """Draw the learning curve of a run: training loss a step, ``measure`` a validation, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps = [row for row in rows if row["kind"] == "step"]
    found = [row for row in rows if row["kind"] == "validation" and measure in row]
    figure, axes = pyplot.subplots(figsize=(8, 4.5), dpi=120)
    # Korean fonts are not everywhere, so the picture speaks English.
    lines = axes.plot(
        [r["number"] for r in steps], [r["loss"] for r in steps], lw=0.8, alpha=0.6, label="training loss"
    )
    # A share beside a loss in nats would be a flat line at the bottom: it gets a scale of its own.
    own = axes if measure == "nats" else axes.twinx()
    lines += own.plot(
        [r["number"] for r in found], [r[measure] for r in found], "C1o-", ms=4, label=f"validation {measure}"
    )
    axes.set_xlabel("step")
    axes.set_ylabel("nats per token" if measure == "nats" else "training loss")
    if own is not axes:
        own.set_ylabel(f"validation {measure}")
    axes.grid(alpha=0.3)
    axes.legend(handles=lines)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)

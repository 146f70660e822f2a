"""Where the marks of a chart go, in percent of its width and height; who draws them is the template."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_BINS = 24


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic axis from ``low`` to ``high``."""

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return where ``value`` lies, 0..100."""
        low, value, high = (math.log(v) if self.log else v for v in (self.low, value, self.high))
        return round(100 * (value - low) / (high - low), 2)

    def ticks(self) -> list[float]:
        """Return a handful of round numbers on the axis."""
        from matplotlib.ticker import LogLocator, MaxNLocator

        found: list[float] = []
        if self.log:
            steps = (1, 2, 5) if self.high / self.low < 100 else (1,)
            found = self._within(LogLocator(subs=steps, numticks=99).tick_values(self.low, self.high))
        if len(found) < 2:
            found = self._within(MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(self.low, self.high))
        return found

    def _within(self, values: Sequence[float]) -> list[float]:
        return [float(value) for value in values if self.low <= value <= self.high]


@dataclass(frozen=True)
class Bar:
    """How many values lie from ``start`` to ``stop``, and where the bar stands."""

    start: float
    stop: float
    count: int
    x: float
    width: float
    height: float


@dataclass(frozen=True)
class Histograms:
    """Histograms of several samples over one axis, each as high as its own highest bar."""

    scale: Scale
    edges: tuple[float, ...]
    bars: Mapping[str, tuple[Bar, ...]]
    medians: Mapping[str, float]

    def counts(self) -> list[tuple[float, float, list[int]]]:
        """Return every bin with the count of each sample."""
        columns = [[bar.count for bar in bars] for bars in self.bars.values()]
        return [
            (self.edges[n], self.edges[n + 1], [column[n] for column in columns])
            for n in range(len(self.edges) - 1)
        ]


def histograms(samples: Mapping[str, Sequence[float]], *, log: bool = False) -> Histograms:
    """Return the histograms of samples of positive numbers, whole ones where the axis is linear.

    The samples may not all be empty.
    """
    every = np.concatenate([np.asarray(sample, dtype=float) for sample in samples.values()])
    low, high = float(every.min()), float(every.max())
    if log:
        edges = np.geomspace(low / 1.05, high * 1.05, _BINS + 1)
    else:
        step = max(1, math.ceil((high - low + 1) / _BINS))
        edges = np.arange(low, high + step + 1, step)
    scale = Scale(float(edges[0]), float(edges[-1]), log)
    bars = {name: _bars(sample, edges, scale) for name, sample in samples.items()}
    medians = {name: float(np.median(sample)) for name, sample in samples.items() if len(sample)}
    return Histograms(scale, tuple(map(float, edges)), bars, medians)


def _bars(sample: Sequence[float], edges: np.ndarray, scale: Scale) -> tuple[Bar, ...]:
    counts, _ = np.histogram(sample, edges)
    most = max(int(counts.max()), 1)
    return tuple(
        Bar(start, stop, int(count), scale.at(start), scale.at(stop) - scale.at(start), 100 * count / most)
        for start, stop, count in zip(edges[:-1].tolist(), edges[1:].tolist(), counts, strict=True)
    )

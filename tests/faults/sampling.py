"""What processes use over time: sampled by a thread, told as slopes, drawn as a picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.faults.beside import Beside

Readings = Mapping[str, Callable[[], float]]


@dataclass(slots=True)
class Series:
    """Values over seconds since the sampler began."""

    seconds: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def after(self, begin_s: float) -> Series:
        kept = [(s, v) for s, v in zip(self.seconds, self.values, strict=True) if s >= begin_s]
        return Series([s for s, _ in kept], [v for _, v in kept])

    def slope_per_min(self) -> float:
        """Of the straight line through all values, by least squares."""
        count = len(self.seconds)
        if count < 2:
            return 0.0
        mean_s, mean = sum(self.seconds) / count, sum(self.values) / count
        spread = sum((s - mean_s) ** 2 for s in self.seconds)
        covered = sum((s - mean_s) * (v - mean) for s, v in zip(self.seconds, self.values, strict=True))
        return 60 * covered / spread

    def quantile(self, share: float) -> float:
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Sampler(Beside):
    """Reads everything every ``every_s``; a reading that fails (the process is away) leaves a gap."""

    def __init__(self, readings: Readings, every_s: float) -> None:
        super().__init__()
        self.series = {name: Series() for name in readings}
        self._readings = readings
        self._every_s = every_s
        self._began_s = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began_s

    def run(self) -> None:
        while not self.ending:
            for name, read in self._readings.items():
                try:
                    value = read()
                except Exception:  # noqa: BLE001 - whatever is the matter, there is no value
                    continue
                self.series[name].seconds.append(self.seconds)
                self.series[name].values.append(value)
            self.pause(self._every_s)


def rss_mb(pid: int) -> Callable[[], float]:
    """Resident memory of a process in MB (10^6 bytes)."""
    process = psutil.Process(pid)
    return lambda: process.memory_info().rss / 1e6


def descriptors(pid: int) -> Callable[[], float]:
    """Open file descriptors of a process."""
    process = psutil.Process(pid)
    return lambda: float(process.num_fds())


def draw(path: Path, title: str, panels: Sequence[tuple[str, Mapping[str, Series]]], warm_s: float) -> None:
    """One panel below the other, each with its series; what is before ``warm_s`` is shaded."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(panels), 1, figsize=(10, 2.1 * len(panels)), sharex=True, layout="constrained")
    figure.suptitle(title)
    for axis, (name, lines) in zip(axes, panels, strict=True):
        for label, series in lines.items():
            axis.plot([s / 60 for s in series.seconds], series.values, label=label, linewidth=1)
        axis.axvspan(0, warm_s / 60, color="0.92")
        axis.set_ylabel(name)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        if len(lines) > 1:
            axis.legend(loc="lower right", fontsize="small", ncols=len(lines))
    axes[-1].set_xlabel("minutes; shaded: warming up")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)

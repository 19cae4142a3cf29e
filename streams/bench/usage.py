"""Processor time of processes: user and system, all threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import psutil  # type: ignore[import-untyped]


def cpu_s(pid: int) -> float:
    """What a process has used so far, in seconds (10 ms steps); raises psutil.NoSuchProcess."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def child_with(argument: str) -> int:
    """The process below this one whose command line contains ``argument``; raises StopIteration if there is none."""
    below = psutil.Process().children(recursive=True)
    return next(int(process.pid) for process in below if any(argument in part for part in process.cmdline()))


class Stopwatch:
    """Measures one process between `start` and `stop`, and what others used meanwhile.

    ``subject`` is the measured process, None for this one; ``others`` are process ids by name.
    """

    def __init__(self, others: Mapping[str, int], subject: int | None = None) -> None:
        self._others = dict(others)
        self._subject = subject
        self._began: dict[str, float] = {}
        self._threads: dict[int, float] = {}
        self._cpu_s = 0.0
        self._wall_s = 0.0

    def start(self) -> None:
        """From here on."""
        self._began = {name: cpu_s(pid) for name, pid in self._others.items()}
        self._threads = self._thread_times()
        self._wall_s = time.monotonic()
        self._cpu_s = self._own()

    def stop(self) -> dict[str, object]:
        """Until here: ``cpu_s``, ``wall_s``, ``busy`` (processors used by the others), ``threads`` (seconds)."""
        used_s = self._own() - self._cpu_s
        wall_s = time.monotonic() - self._wall_s
        busy = {name: (cpu_s(pid) - self._began[name]) / wall_s for name, pid in self._others.items()}
        return {"cpu_s": used_s, "wall_s": wall_s, "busy": busy, "threads": self._by_thread()}

    def _own(self) -> float:
        return time.process_time() if self._subject is None else cpu_s(self._subject)

    def _thread_times(self) -> dict[int, float]:
        threads = psutil.Process(self._subject).threads()
        return {thread.id: thread.user_time + thread.system_time for thread in threads}

    def _by_thread(self) -> dict[str, float]:
        names = {t.native_id: t.name for t in threading.enumerate()} if self._subject is None else {}
        main = self._subject or psutil.Process().pid
        used: dict[str, float] = {}
        for number, seconds in self._thread_times().items():
            name = "MainThread" if number == main else names.get(number, "other threads")
            used[name] = used.get(name, 0.0) + seconds - self._threads.get(number, 0.0)
        return {name: round(seconds, 3) for name, seconds in used.items() if seconds > 0}

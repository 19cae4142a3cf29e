"""What runs inside a measured process: ``python -m streams.bench.child ROLE CONFIG RESULTS``.

CONFIG is a JSON file: the role's own keys, ``others`` (process ids by name, whose load is noted), ``subject`` (the
process to be measured, if it is not this one), ``profile`` (where to write a profile, or empty) and ``signal`` (whether
the subject is told by signals when to profile itself). RESULTS gets one JSON object per line. A role is a function of
its configuration and a :class:`Meter`; roles live beside the measurement they belong to.
"""

from __future__ import annotations

import cProfile
import json
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from streams.bench.usage import Stopwatch

Config = dict[str, Any]


class Meter:
    """Counts from the first record that the measured code sees to the last that is safe."""

    def __init__(self, config: Config, results: Path) -> None:
        self._subject: int | None = config.get("subject")
        self._stopwatch = Stopwatch(config.get("others", {}), self._subject)
        self._signal = bool(config.get("signal"))
        self._profile = str(config.get("profile", ""))
        self._profiler = cProfile.Profile()
        self._results = results
        self.began = False

    def begin(self) -> None:
        """The first record is here. Calls after the first do nothing."""
        if self.began:
            return
        self.began = True
        self._stopwatch.start()
        self._tell(signal.SIGUSR1)
        if self._profile:
            self._profiler.enable()

    def end(self, work: int, **more: Any) -> None:
        """``work`` units are done and safe."""
        if self._profile:
            self._profiler.disable()
            self._profiler.dump_stats(self._profile)
        measured = self._stopwatch.stop()
        self._tell(signal.SIGUSR2)
        self.say({**measured, "work": work, **more})

    def say(self, line: dict[str, Any]) -> None:
        """One line of results."""
        with self._results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _tell(self, number: signal.Signals) -> None:
        if self._signal and self._subject is not None:
            os.kill(self._subject, number)

    def leave(self) -> NoReturn:
        """End the process without what a framework would do at its end: that is not measured."""
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def profile_on_signals(path: str) -> None:
    """SIGUSR1 begins a profile of the main thread, SIGUSR2 ends it and writes it to ``path``."""
    profiler = cProfile.Profile()

    def begin(*_: object) -> None:
        profiler.enable()

    def end(*_: object) -> None:
        profiler.disable()
        profiler.dump_stats(path)

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)


def main(argv: list[str]) -> int:
    """Run one role."""
    role, config_path, results = argv
    config: Config = json.loads(Path(config_path).read_text(encoding="utf-8"))
    module, _, function = role.partition(":")
    run = getattr(import_module(f"streams.bench.{module}"), function)
    return int(run(config, Meter(config, Path(results))) or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

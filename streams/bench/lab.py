"""Where measurements take place: a broker, a directory, child processes, and a line of progress for each step."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import streams
from streams.bench.figures import Reading
from streams.bench.profiles import show_profile
from streams.bench.usage import child_with
from streams.processes import BoundProcess, log_tail

EMBEDDED = "embedded"
REAL = "real"

_POLL_S = 0.02


class BenchFailed(RuntimeError):
    """A measured process failed or took too long. The message says which, and ends with its last words."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for. ``scale`` multiplies amounts of work; ``kafka`` is empty for each bench's own choice."""

    rounds: int = 3
    scale: float = 1.0
    kafka: str = ""
    profile: bool = False


class Child:
    """One running role, or any other process; its log and its results lie in the lab's directory."""

    def __init__(
        self, name: str, argv: list[str], directory: Path, results: Path, env: Mapping[str, str] | None
    ) -> None:
        self.name = name
        self._log = directory / f"{results.stem}.log"
        self._results = results
        self.process = BoundProcess(argv, env=env, log=self._log, cwd=directory)

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait(self, timeout_s: float) -> dict[str, Any]:
        """Wait for the end; returns the last line of results. Raises BenchFailed."""
        try:
            code = self.process.wait(timeout_s)
        except TimeoutError:
            self.process.kill()
            raise BenchFailed(f"{self.name} took more than {timeout_s:.0f} s: {self.last_words()}") from None
        lines = self.lines()
        if code or not lines:
            raise BenchFailed(f"{self.name} ended with code {code}: {self.last_words()}")
        return lines[-1]

    def until(self, told: Callable[[list[dict[str, Any]]], bool], timeout_s: float) -> list[dict[str, Any]]:
        """Wait until the results say enough. Raises BenchFailed."""
        deadline = time.monotonic() + timeout_s
        while not told(lines := self.lines()):
            self.check()
            if time.monotonic() > deadline:
                raise BenchFailed(f"{self.name} said nothing for {timeout_s:.0f} s: {self.last_words()}")
            time.sleep(_POLL_S)
        return lines

    def check(self) -> None:
        """Raise BenchFailed if it has ended."""
        if self.process.returncode is not None:
            raise BenchFailed(f"{self.name} ended with code {self.process.returncode}: {self.last_words()}")

    def lines(self) -> list[dict[str, Any]]:
        """All results so far."""
        if not self._results.exists():
            return []
        whole = self._results.read_text(encoding="utf-8").rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def last_words(self) -> str:
        """The end of its log."""
        return log_tail(self._log) or "it said nothing"


@dataclass(slots=True)
class Lab:
    """One bench's surroundings. ``others`` are the processes whose load is noted, by name."""

    bootstrap: str
    broker: str
    directory: Path
    options: Options
    others: dict[str, int] = field(default_factory=dict)
    profiles: dict[str, Path] = field(default_factory=dict)
    _children: list[Child] = field(default_factory=list)
    _count: int = 0

    @property
    def embedded(self) -> bool:
        return self.broker == EMBEDDED

    def amount(self, number: int, least: int = 1) -> int:
        """An amount of work, scaled."""
        return max(least, int(number * self.options.scale))

    def unique(self, name: str) -> str:
        """A name for topics, groups and files that nothing else in this lab has."""
        self._count += 1
        return f"{name}-{self._count}"

    def start(self, role: str, config: Mapping[str, Any], env: Mapping[str, str] | None = None) -> Child:
        """Start a role of :mod:`streams.bench.child` without waiting for it."""
        name = self.unique(role.replace(":", "-"))
        path, results = self.directory / f"{name}.json", self.directory / f"{name}.jsonl"
        others = {**self.others, **config.get("others", {})}
        path.write_text(
            json.dumps({**config, "others": others, "bootstrap": self.bootstrap, "embedded": self.embedded})
        )
        argv = [sys.executable, "-m", "streams.bench.child", role, str(path), str(results)]
        child = Child(role, argv, self.directory, results, env)
        self._children.append(child)
        return child

    def run(self, role: str, config: Mapping[str, Any], timeout_s: float = 240.0) -> dict[str, Any]:
        """Run a role to its end; returns what its meter said."""
        return self.start(role, config).wait(timeout_s)

    def profile_of(self, what: str) -> str:
        """Where a profile is to be written; it is shown when the lab closes."""
        say(f"  profile of {what}")
        self.profiles[what] = path = self.directory / f"{self.unique('profile')}.prof"
        return str(path)

    def close(self) -> None:
        """Stop what still runs."""
        for child in self._children:
            if child.process.returncode is None:
                child.process.stop(2.0)
        for what, path in self.profiles.items():
            show_profile(what, path)


@contextmanager
def lab(options: Options, preferred: str) -> Iterator[Lab]:
    """A lab on the broker that was asked for, else on the one that a bench prefers."""
    kind = options.kafka or preferred
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streams-bench-")))
        bootstrap, pid = _broker(kind, stack)
        place = Lab(bootstrap, kind if kind in (EMBEDDED, REAL) else "given", directory, options)
        if pid:
            place.others["broker"] = pid
        stack.callback(place.close)
        yield place


_TICK_S = 0.01
"""What the system's accounting can tell apart."""


def reading(said: Mapping[str, Any], unit_per_cpu: bool = True) -> Reading:
    """A meter's words as work per processor second (or, for latencies, as they are)."""
    work, used_s = int(said["work"]), max(_TICK_S, float(said["cpu_s"]))
    value = work / used_s if unit_per_cpu else float(said["value"])
    return Reading(value, work, used_s, float(said["wall_s"]), dict(said["busy"]), dict(said["threads"]))


def say(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)


def _broker(kind: str, stack: ExitStack) -> tuple[str, int]:
    if kind == EMBEDDED:
        from streams.broker import EmbeddedBroker

        bootstrap = stack.enter_context(EmbeddedBroker()).bootstrap
        return bootstrap, child_with(bootstrap)
    if kind == REAL:
        server = stack.enter_context(_apache_kafka())
        return str(server.bootstrap), int(server.pid)
    return kind, 0


def _apache_kafka() -> Any:
    """The server that the tests use too; it comes with the source tree."""
    root = Path(streams.__file__).parent.parent
    if not (root / "tests" / "brokers").is_dir():
        raise BenchFailed("--kafka real needs the source tree; give HOST:PORT of a broker instead")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return import_module("tests.brokers").ApacheKafka({"log.cleaner.enable": "false"}, heap_mb=1024)

"""Rows as processes of their own, some of them at the same time.

Most rows wait more than they work: two of them share the machine. What compares rates has it to itself, at the end.
A row that takes too long is interrupted first, so that it can put away what it has set up, and killed if that does not
help.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.faults.rows import ROOT, Row

Result = dict[str, Any]
_PATIENCE_S = 60
_LINES = 60
"""So many of the last lines of a row that did not hold are shown."""


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs rows of one size and keeps their results in a folder. `jobs`: how many of them at the same time."""

    folder: Path
    short: bool
    fresh: bool
    jobs: int
    _live: set[subprocess.Popen[bytes]] = field(default_factory=set)

    def run(self, rows: Sequence[Row]) -> list[Result]:
        """The results in the order of the rows; what held before is taken from the folder unless `fresh`."""
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; the rows would inherit it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        results = {row.name: kept for row in rows if (kept := self._kept(row)) is not None}
        left = [row for row in rows if row.name not in results]
        shared = [] if self.jobs == 1 else sorted((r for r in left if not r.alone), key=lambda r: -r.limit_s)
        pool = ThreadPoolExecutor(self.jobs)
        try:
            results |= zip((row.name for row in shared), pool.map(self._run, shared), strict=True)
        except BaseException:
            for process in list(self._live):
                process.send_signal(signal.SIGINT)
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        results |= {row.name: self._run(row) for row in left if row not in shared}
        return [results[row.name] for row in rows]

    def _kept(self, row: Row) -> Result | None:
        """The result of an earlier run that held."""
        try:
            result: Result = json.loads((self.folder / f"{row.name}.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if self.fresh or not result["holds"]:
            return None
        print(f"== {row.name}: held at {result['at']}; --fresh runs it again", flush=True)
        return result

    def _run(self, row: Row) -> Result:
        print(f"== {row.name}: {row.fault} (at most {row.limit_s} s)", flush=True)
        figures, log = self.folder / row.name, self.folder / f"{row.name}.log"
        figures.mkdir(parents=True, exist_ok=True)
        for old in figures.glob("*.json"):
            old.unlink()
        begin = time.monotonic()
        with log.open("w") as output:
            ended = self._ended(row, figures, output)
        result = {
            "row": row.name,
            "fault": row.fault,
            "holds": ended == "held",
            "ended": ended,
            "seconds": round(time.monotonic() - begin, 1),
            "at": time.strftime("%Y-%m-%d %H:%M:%S"),
            "tests": [json.loads(path.read_text(encoding="utf-8")) for path in sorted(figures.glob("*.json"))],
        }
        (self.folder / f"{row.name}.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        shown = lines if result["holds"] else [*lines[-_LINES:], f"all of it: {log}"]
        print("\n".join([f"== {row.name}: {ended}, {result['seconds']} s", *shown]), flush=True)
        return result

    def _ended(self, row: Row, figures: Path, output: IO[str]) -> str:
        env = {
            **os.environ,
            "STREAMS_FAULTS": "short" if self.short else "full",
            "STREAMS_FAULTS_RESULTS": str(figures),
        }
        marks = "faults and not long" if self.short else "faults"
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", "-m", marks, str(row.module)]
        process = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT)
        self._live.add(process)
        try:
            code = process.wait(row.limit_s)
        except subprocess.TimeoutExpired:
            _end(process)
            return f"not within {row.limit_s} s"
        finally:
            self._live.discard(process)
        return {0: "held", 5: "no test ran"}.get(code, "did not hold")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

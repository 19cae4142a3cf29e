"""Run the rows of the fault bench, one after the other, and say what held.

Results are kept for the state of the sources: a row that has held is not run again unless `--fresh` asks for it, so a
run that was broken off is resumed by the same command. Exit code 0: every row asked for holds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.faults.report import page, summary
from tests.faults.rows import ROWS, Row, find

ROOT = Path(__file__).parents[2]
_KEPT = ROOT / ".cache" / "faults"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        rows = [find(name) for name in options.rows] or [row for row in ROWS if row.usual]
    except KeyError as exc:
        print(exc.args[0], file=sys.stderr)
        return 2
    if options.list:
        print(*(_described(row) for row in rows), sep="\n")
        return 0
    folder = _KEPT / f"{_sources()}{'-short' if options.short else ''}"
    results = [_kept(folder, row, options) or _run(folder, row, short=options.short) for row in rows]
    print("\n" + summary(results), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(page(results, folder.name), encoding="utf-8")
    return 0 if all(result["holds"] for result in results) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows to run; without any all but the soak")
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    parser.add_argument("--fresh", action="store_true", help="run rows again that have held already")
    parser.add_argument("--short", action="store_true", help="the sizes of `make test-kafka`")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results with all figures to this file")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write them as a page of the documentation")
    return parser


def _described(row: Row) -> str:
    needs = ("  (needs root)" if row.root else "") + ("" if row.usual else "  (only if named)")
    return f"{row.name:<16}{row.fault}; at most {row.limit_s} s{needs}"


def _sources() -> str:
    """Names the state of the sources: the commit, and what differs from it."""

    def git(*command: str) -> str:
        return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=False).stdout

    changed = git("diff", "HEAD", "--", "streams", "schemas", "tests")
    commit = git("rev-parse", "--short", "HEAD").strip() or "tree"
    return commit + (f"-{hashlib.sha256(changed.encode()).hexdigest()[:8]}" if changed else "")


def _kept(folder: Path, row: Row, options: argparse.Namespace) -> dict[str, Any] | None:
    """The result of an earlier run that held."""
    try:
        result: dict[str, Any] = json.loads((folder / f"{row.name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if options.fresh or not result["holds"]:
        return None
    print(f"== {row.name}: held at {result['at']}; --fresh runs it again", flush=True)
    return result


def _run(folder: Path, row: Row, *, short: bool) -> dict[str, Any]:
    print(f"== {row.name}: {row.fault} (at most {row.limit_s} s)", flush=True)
    figures = folder / row.name
    for old in figures.glob("*.json"):
        old.unlink()
    env = {**os.environ, "STREAMS_FAULTS": "short" if short else "full", "STREAMS_FAULTS_RESULTS": str(figures)}
    marks = "faults and not long" if short else "faults"
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", "-m", marks, str(row.module)]
    begin = time.monotonic()
    try:
        code = subprocess.run(argv, cwd=ROOT, env=env, timeout=row.limit_s, check=False).returncode
    except subprocess.TimeoutExpired:
        code = -1
    result = {
        "row": row.name,
        "fault": row.fault,
        "holds": code == 0,
        "ended": {0: "held", -1: f"not within {row.limit_s} s", 5: "no test ran"}.get(code, "did not hold"),
        "seconds": round(time.monotonic() - begin, 1),
        "at": time.strftime("%Y-%m-%d %H:%M:%S"),
        "tests": [json.loads(path.read_text(encoding="utf-8")) for path in sorted(figures.glob("*.json"))],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{row.name}.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


if __name__ == "__main__":
    sys.exit(main())

"""Run the rows of the fault bench and say what held.

Results are kept for the state of the sources: a row that has held is not run again unless `--fresh` asks for it, so a
run that was broken off is resumed by the same command. Exit code 0: every row asked for holds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults.report import page, summary
from tests.faults.rows import ROOT, ROWS, Row, find
from tests.faults.running import Runner

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
    begin = time.monotonic()
    results = Runner(folder, options.short, options.fresh, options.jobs).run(rows)
    print(f"\n{summary(results)}, {time.monotonic() - begin:.0f} s now", flush=True)
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
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="so many rows at a time, default 2")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results with all figures to this file")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write them as a page of the documentation")
    return parser


def _described(row: Row) -> str:
    notes = {"needs root": row.root, "by itself": row.alone, "only if named": not row.usual}
    told = ", ".join(note for note, holds in notes.items() if holds)
    return f"{row.name:<16}{row.fault}; at most {row.limit_s} s" + (f" ({told})" if told else "")


def _sources() -> str:
    """Names the state of the sources: the commit, and what differs from it."""

    def git(*command: str) -> str:
        return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=False).stdout

    changed = git("diff", "HEAD", "--", "streams", "schemas", "tests")
    commit = git("rev-parse", "--short", "HEAD").strip() or "tree"
    return commit + (f"-{hashlib.sha256(changed.encode()).hexdigest()[:8]}" if changed else "")


if __name__ == "__main__":
    sys.exit(main())

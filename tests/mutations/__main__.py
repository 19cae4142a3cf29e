"""Apply the mutations to a copy of the tree, run what they name, and say what caught them. Exit code 0: all caught."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutations.list import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]
_COPIED = ("streams", "tests", "schemas", "docs", "pyproject.toml", "README.md")
_LIMIT_S = 180


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", help="mutations to try; all without any")
    parser.add_argument("--list", action="store_true", help="say what they are and end")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - {mutation.name for mutation in MUTATIONS}
    if unknown:
        print(f"no mutation {', '.join(sorted(unknown))}; --list names them", file=sys.stderr)
        return 2
    chosen = [mutation for mutation in MUTATIONS if not options.names or mutation.name in options.names]
    if options.list:
        print(*(f"{mutation.name:<28}{mutation.what}" for mutation in chosen), sep="\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="streams-mutations-") as folder:
        tree = Path(folder)
        _copy(tree)
        healthy = sorted({name for mutation in chosen for name in mutation.tests})
        failed, said = _failures(healthy, tree)
        if failed:
            print(f"these fail without any mutation: {', '.join(failed)}\n{said[-1500:]}", file=sys.stderr)
            return 1
        survived = [mutation.name for mutation in chosen if not _is_caught(mutation, tree)]
    print(
        f"{len(chosen) - len(survived)} of {len(chosen)} mutations caught" + (f"; not: {survived}" if survived else "")
    )
    return 1 if survived else 0


def _copy(tree: Path) -> None:
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)


def _is_caught(mutation: Mutation, tree: Path) -> bool:
    """Whether one of the named tests fails in the mutated tree; prints which."""
    file = tree / mutation.file
    original = file.read_text(encoding="utf-8")
    file.write_text(mutation.apply(original), encoding="utf-8")
    began_s = time.monotonic()
    try:
        failed, said = _failures(mutation.tests, tree)
    finally:
        file.write_text(original, encoding="utf-8")
    took = f"{time.monotonic() - began_s:.0f} s"
    print(f"{'caught' if failed else 'SURVIVED':<10}{mutation.name:<28}{mutation.what} ({took})", flush=True)
    print(*(f"{'':<12}{name}" for name in failed[:3]), sep="\n", flush=True)
    if not failed:
        print(said[-1500:], flush=True)
    return bool(failed)


def _failures(tests: Sequence[str], tree: Path) -> tuple[list[str], str]:
    """Which of these tests fail there, and what pytest said."""
    argv = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "--no-header", "-rf", "--tb=no"]
    env = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [*argv, *tests], cwd=tree, env=env, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return [f"not within {_LIMIT_S} s"], ""
    failed = [
        line.removeprefix("FAILED ").partition(" - ")[0]
        for line in done.stdout.splitlines()
        if line.startswith("FAILED ")
    ]
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest did not run: {done.stdout}{done.stderr}")
    return failed, done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main())

"""Profiles as people read them: how the time divides over packages, and the functions that take most of it.

The profiler makes calls dearer than they are, so many small functions look larger than they are; the order is right.
"""

from __future__ import annotations

import pstats
import sys
from collections import Counter
from pathlib import Path

_TOP = 25
_PACKAGES = ("aiokafka", "faust", "mode", "aiohttp", "httpx", "httpx_aiohttp", "fastavro", "msgspec", "uvloop",
             "jinja2", "multidict", "yarl", "botocore", "confluent_kafka")  # fmt: skip


def show_profile(what: str, path: Path) -> None:
    """Print to standard error."""
    if not path.exists():
        print(f"no profile of {what} was written", file=sys.stderr)
        return
    stats = pstats.Stats(str(path)).stats  # type: ignore[attr-defined]
    own: dict[tuple[str, int, str], tuple[float, int]] = {f: (row[2], row[1]) for f, row in stats.items()}
    total_s = sum(seconds for seconds, _ in own.values()) or 1.0
    groups: Counter[str] = Counter()
    for (file, _, name), (seconds, _) in own.items():
        groups[group_of(file, name)] += seconds  # type: ignore[assignment]
    print(f"\nprofile of {what}: {total_s:.2f} s in the main thread, waiting included", file=sys.stderr)
    for group, seconds in groups.most_common(14):
        print(f"  {seconds / total_s:6.1%}  {group}", file=sys.stderr)
    print("  own time by function:", file=sys.stderr)
    for (file, line, name), (seconds, calls) in sorted(own.items(), key=lambda item: -item[1][0])[:_TOP]:
        print(f"  {seconds / total_s:6.1%}  {calls:>9,} calls  {_place(file, line)} {name}", file=sys.stderr)


def group_of(file: str, name: str) -> str:
    """The package that a function belongs to; of ours, the part."""
    parts = Path(file).parts
    if "streams" in parts:
        at = len(parts) - 1 - parts[::-1].index("streams")
        return ".".join(("streams", *parts[at + 1 : at + 2])).removesuffix(".py")
    for package in _PACKAGES:
        if package in parts or f"{package}." in name:
            return package
    return "built in" if file == "~" else "standard library" if "site-packages" not in parts else "other packages"


def _place(file: str, line: int) -> str:
    return "" if file == "~" else f"{'/'.join(Path(file).parts[-3:])}:{line}"

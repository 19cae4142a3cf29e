"""The example units, read as systemd reads them together with the drop-ins of their common prefix."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "examples" / "systemd"
UNITS = ("streams-worker@.service", "streams-ingress.service", "streams-poll.service")
DROP_INS = sorted((FOLDER / "streams-.service.d").glob("*.conf"))

Directives = dict[str, list[str]]


def directives(unit: str) -> Directives:
    """Key → values in their order, over the unit and the drop-ins. Sections are left out: no key is in two."""
    found: Directives = {}
    for path in (FOLDER / unit, *DROP_INS):
        for line in path.read_text(encoding="utf-8").splitlines():
            if (setting := re.match(r"([A-Za-z]+)=(.*)", line)) is not None:
                found.setdefault(setting[1], []).append(setting[2].strip())
    return found


def environment(unit: Directives, specifiers: Mapping[str, str]) -> dict[str, str]:
    """The variables that the unit sets, with `%d` and the like replaced."""
    pairs = (pair.partition("=") for line in unit["Environment"] for pair in line.split())
    replaced = {name: value for name, _, value in pairs}
    for specifier, text in specifiers.items():
        replaced = {name: value.replace(specifier, text) for name, value in replaced.items()}
    return replaced


def seconds(value: str) -> float:
    """A systemd time of one part: `30` or `30s`."""
    return float(value.removesuffix("s"))


def size(value: str) -> int:
    """A systemd size in bytes: `512M`, `2G`."""
    return int(value[:-1]) * {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[value[-1]]


def allowed_calls(unit: Directives) -> set[str]:
    """The names of the system calls that `SystemCallFilter=` leaves, as the installed systemd has its groups."""
    allowed: set[str] = set()
    for line in unit["SystemCallFilter"]:
        names = {name for entry in line.lstrip("~").split() for name in _expanded(entry)}
        allowed = allowed - names if line.startswith("~") else allowed | names
    return allowed


def _expanded(entry: str) -> set[str]:
    if not entry.startswith("@"):
        return {entry}
    listing = subprocess.run(
        ["systemd-analyze", "--no-pager", "syscall-filter", entry],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    ).stdout
    lines = (line.strip() for line in listing.splitlines()[1:])
    return {name for line in lines if line and not line.startswith("#") for name in _expanded(line)}

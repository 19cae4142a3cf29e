"""Lock files: one release per line, with the hashes of its files, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

_HASH = re.compile(r"\s--hash=sha256:([0-9a-f]{64})(?=\s|$)")
_INSTALLS = re.compile(r"\bpip\S*\s+install\b[^&|;\n]*")


@dataclass(frozen=True, slots=True)
class Pin:
    """One release as a lock names it: canonical name, exact version, marker, sha256 of the files that may be it."""

    name: str
    version: str
    marker: Marker | None
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def applies_here(self) -> bool:
        """Is it installed on this system and Python?"""
        return self.marker is None or self.marker.evaluate()


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock file: its releases, and the complaints about its other lines."""

    name: str
    pins: tuple[Pin, ...]
    findings: tuple[str, ...]


def read_lock(path: Path) -> Lock:
    """Every line must be `name==version [; marker] --hash=sha256:… …`; any other is a finding, never skipped."""
    pins: list[Pin] = []
    findings: list[str] = []
    for line in _lines(path.read_text(encoding="utf-8")):
        pin = _read_pin(line)
        if isinstance(pin, Pin):
            pins.append(pin)
        else:
            findings.append(f"{path.name}: {pin}: {line[:80]}")
    if not pins:
        findings.append(f"{path.name}: no release in it")
    return Lock(path.name, tuple(pins), tuple(findings))


def _lines(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def _read_pin(line: str) -> Pin | str:
    """The release, or what is wrong with the line."""
    hashes = tuple(_HASH.findall(line))
    try:
        wanted = Requirement(_HASH.sub("", line).strip())
    except InvalidRequirement:
        return "not a pinned release with sha256 hashes"
    if wanted.url is not None:
        return "from an address of its own, not from the package index"
    (*others, exact) = wanted.specifier or [None]
    if others or exact is None or exact.operator != "==" or exact.version.endswith(".*"):
        return "not pinned to one version"
    if not hashes:
        return "no sha256 hash"
    return Pin(canonicalize_name(wanted.name), exact.version, wanted.marker, hashes)


def disagreements(shipped: Lock, tested: Lock) -> list[str]:
    """What is shipped but was not tested: releases of one lock that the other has not, or with other hashes."""
    known = {(pin.name, pin.version): pin for pin in tested.pins}
    findings = []
    for pin in shipped.pins:
        twin = known.get((pin.name, pin.version))
        if twin is None or set(twin.hashes) != set(pin.hashes):
            findings.append(f"{pin} of {shipped.name} is not the one of {tested.name}")
    return findings


def unlocked_installs(dockerfile: str) -> list[str]:
    """Ways into the image past the lock: each `pip install` must demand hashes and ready-made wheels, from a lock
    alone; a source package would fetch what builds it without any hash.
    """
    installs = _INSTALLS.findall(dockerfile.replace("\\\n", " "))
    findings = [] if installs else ["Dockerfile: no `pip install`"]
    for command in installs:
        wanted = ("--require-hashes", "--only-binary :all:", "requirements.lock")
        findings += [f"Dockerfile: without {part}: {command.strip()}" for part in wanted if part not in command]
    return findings

"""Known holes in the locked releases, as pip-audit finds them at the public lists.

pip-audit takes "not found" for good and ends with success, so its exit code says nothing here: a release counts as looked
up only when the answer names it without a reason for skipping it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name, canonicalize_version

from tests.supply.locks import Pin
from tests.supply.policy import Policy

_LISTS = ("osv", "pypi")  # PIP_AUDIT_VULNERABILITY_SERVICE names one instead, PIP_AUDIT_OSV_URL a copy of the first
_CONNECT_S = 5  # how long pip-audit waits for a list's answer
_LIMIT_S = 240.0  # the lists are asked release by release


@dataclass(frozen=True, slots=True)
class Hole:
    """One hole that is known in a locked release; `names` are all its numbers."""

    pin: str
    package: str
    names: tuple[str, ...]
    fixed_in: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HolesAnswer:
    """The holes, how many releases were looked up, and those that no list answered for."""

    holes: tuple[Hole, ...]
    looked_up: int
    unanswered: tuple[str, ...]


def ask_lists(pins: Sequence[Pin]) -> HolesAnswer:
    """Ask one list after the other for what is still unanswered. Never raises for what the network does."""
    waiting = {_key(pin.name, pin.version): pin for pin in pins}
    asked = len(waiting)
    holes: list[Hole] = []
    chosen = os.environ.get("PIP_AUDIT_VULNERABILITY_SERVICE")
    for service in [chosen] if chosen else _LISTS:
        left = list(waiting.values())
        for some in (left[:1], left[1:]):  # one release shows whether the list can be reached at all
            answers = _ask(service, some)
            for answer in answers:
                pin = waiting.pop(_key(answer["name"], answer["version"]))
                holes += [_hole(pin, vulnerability) for vulnerability in answer["vulns"]]
            if not answers:
                break
    return HolesAnswer(tuple(holes), asked - len(waiting), tuple(map(str, waiting.values())))


def _key(name: str, version: str) -> tuple[str, str]:
    return canonicalize_name(name), canonicalize_version(version)


def _ask(service: str, pins: Iterable[Pin]) -> list[dict[str, Any]]:
    """pip-audit's answers for the releases that the list knows; empty when it cannot be reached."""
    answers: list[dict[str, Any]] = []
    for batch in _batches(pins):
        with tempfile.TemporaryDirectory() as folder:
            wanted = Path(folder) / "requirements.txt"
            wanted.write_text("".join(f"{pin.name}=={pin.version}\n" for pin in batch), encoding="utf-8")
            answers += _run(service, wanted)
    return answers


def _batches(pins: Iterable[Pin]) -> Iterable[list[Pin]]:
    """A package is once in a file of requirements; a second version of it, for other systems, goes into the next."""
    batches: list[dict[str, Pin]] = []
    for pin in pins:
        room = next((batch for batch in batches if pin.name not in batch), None)
        if room is None:
            batches.append(room := {})
        room[pin.name] = pin
    return [list(batch.values()) for batch in batches]


def _run(service: str, wanted: Path) -> list[dict[str, Any]]:
    command = [
        sys.executable, "-m", "pip_audit", "--requirement", str(wanted), "--no-deps", "--disable-pip",
        "--vulnerability-service", service, "--timeout", str(_CONNECT_S),
        "--format", "json", "--desc", "off", "--aliases", "on", "--progress-spinner", "off",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        return []
    return read_answers(done.stdout)


def read_answers(output: str) -> list[dict[str, Any]]:
    """The releases that a list knows, out of what pip-audit printed; a release "not found" is none of them."""
    try:
        answers = json.loads(output)["dependencies"]
    except json.JSONDecodeError:
        return []  # it ended before it had any
    return [answer for answer in answers if "skip_reason" not in answer]


def _hole(pin: Pin, vulnerability: dict[str, Any]) -> Hole:
    names = tuple(dict.fromkeys([vulnerability["id"], *vulnerability.get("aliases", [])]))
    return Hole(str(pin), pin.name, names, tuple(vulnerability.get("fix_versions", [])))


def hole_findings(holes: Iterable[Hole], policy: Policy, today: date) -> list[str]:
    """One line per hole that is not let through, or no longer."""
    findings = []
    for hole in holes:
        entries = [one for one in policy.let_through if one.hole in hole.names and one.package == hole.package]
        if any(today <= one.until for one in entries):
            continue
        fixed = f"fixed in {', '.join(hole.fixed_in)}" if hole.fixed_in else "no fixed release"
        ended = "".join(f"; let through until {one.until}" for one in entries)
        findings.append(f"{hole.pin} has a known hole: {', '.join(hole.names)}; {fixed}{ended}")
    return findings


def needless(holes: Iterable[Hole], policy: Policy) -> list[str]:
    """Holes that are let through and that nothing has any more."""
    found = {(hole.package, name) for hole in holes for name in hole.names}
    return [one.hole for one in policy.let_through if (one.package, one.hole) not in found]

"""The audit: first what can be judged from the files, then what has to be asked."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from tests.supply.holes import HolesAnswer, ask_lists, hole_findings, needless
from tests.supply.index import IndexAnswer, ask_index
from tests.supply.licences import licence_findings
from tests.supply.locks import Lock, Pin, disagreements, unlocked_installs
from tests.supply.policy import Policy


@dataclass(slots=True)
class Report:
    """What is wrong, what could not be looked up, and what was looked at."""

    findings: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def audit(shipped: Lock, tested: Lock, dockerfile: Path, policy: Policy, today: date) -> Report:
    """Judge both locks and the image's recipe, and ask the index and the lists of holes for every release."""
    report = Report()
    pins = _once([*shipped.pins, *tested.pins])
    files = [
        *shipped.findings,
        *tested.findings,
        *disagreements(shipped, tested),
        *unlocked_installs(dockerfile.read_text(encoding="utf-8")),
    ]
    licences = licence_findings(pins, policy)
    report.findings += [*files, *licences]
    report.notes.append(f"hashes, origins and agreement of {len(pins)} locked releases: {_told(files)}")
    report.notes.append(f"their licences: {_told(licences)}")
    with ThreadPoolExecutor(1) as beside:  # the lists are asked by a process of its own
        holes = beside.submit(ask_lists, pins)
        _at_the_index(report, ask_index(pins))
        _known_holes(report, holes.result(), policy, today)
    return report


def _at_the_index(report: Report, answer: IndexAnswer) -> None:
    report.findings += answer.findings
    if answer.looked_up:
        told = _told(answer.findings)
        report.notes.append(f"{answer.looked_up} releases at the package index (yanked, quarantined, gone): {told}")
    if answer.unchecked:
        (first, *rest) = answer.unchecked
        more = f" and {len(rest)} more" if rest else ""
        report.unchecked.append(f"releases could not be looked up at the package index: {first}{more}")


def _known_holes(report: Report, answer: HolesAnswer, policy: Policy, today: date) -> None:
    findings = hole_findings(answer.holes, policy, today)
    report.findings += findings
    if answer.looked_up:
        report.notes.append(f"{answer.looked_up} releases in the list of known holes: {_told(findings)}")
    if not answer.looked_up:
        report.unchecked.append("the list of known holes cannot be reached, not audited")
    elif answer.unanswered:
        first = ", ".join(answer.unanswered[:3])
        report.unchecked.append(
            f"{len(answer.unanswered)} releases are in no list of known holes, not audited: {first}"
        )
    else:
        report.notes += [f"{name} is let through for nothing: remove it" for name in needless(answer.holes, policy)]


def _once(pins: Iterable[Pin]) -> list[Pin]:
    return list({(pin.name, pin.version): pin for pin in pins}.values())


def _told(findings: Iterable[str]) -> str:
    count = len(list(findings))
    return f"{count} wrong" if count else "nothing wrong"

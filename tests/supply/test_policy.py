"""A hole is let through for a reason and for a time."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.supply.__main__ import POLICY
from tests.supply.holes import Hole, hole_findings, needless
from tests.supply.policy import Policy, read_policy

TODAY = date(2026, 3, 1)
HOLE = Hole("h11 0.15.0", "h11", ("PYSEC-2025-1", "CVE-2025-43859"), ("0.16.0",))


def with_entry(folder: Path, **entry: str) -> Policy:
    lines = "\n".join(f"{name} = {value}" for name, value in entry.items())
    path = folder / "policy.toml"
    path.write_text(f"{POLICY.read_text()}\n[[let_through]]\n{lines}\n")
    return read_policy(path, TODAY)


def entry(until: date, hole: str = "CVE-2025-43859", package: str = "h11", reason: str = "no chunks") -> dict[str, str]:
    return {"hole": f'"{hole}"', "package": f'"{package}"', "reason": f'"{reason}"', "until": until.isoformat()}


def test_a_hole_that_nobody_let_through_is_a_finding() -> None:
    assert hole_findings([HOLE], read_policy(POLICY, TODAY), TODAY) == [
        "h11 0.15.0 has a known hole: PYSEC-2025-1, CVE-2025-43859; fixed in 0.16.0"
    ]


def test_it_is_let_through_to_the_end_of_its_last_day_by_any_of_its_numbers(tmp_path: Path) -> None:
    policy = with_entry(tmp_path, **entry(TODAY))
    assert hole_findings([HOLE], policy, TODAY) == []
    (finding,) = hole_findings([HOLE], policy, TODAY + timedelta(days=1))
    assert finding.endswith("let through until 2026-03-01")


@pytest.mark.parametrize("other", [{"hole": "CVE-2025-43860"}, {"package": "httpcore"}])
def test_another_hole_or_package_is_not_let_through_with_it(tmp_path: Path, other: dict[str, str]) -> None:
    policy = with_entry(tmp_path, **entry(TODAY, **other))
    assert len(hole_findings([HOLE], policy, TODAY)) == 1
    assert len(needless([HOLE], policy)) == 1


def test_nothing_is_let_through_without_reason_or_for_longer_than_a_quarter(tmp_path: Path) -> None:
    with_entry(tmp_path, **entry(TODAY + timedelta(days=90)))
    with pytest.raises(ValueError, match="at most 90 days"):
        with_entry(tmp_path, **entry(TODAY + timedelta(days=91)))
    with pytest.raises(ValueError, match="CVE-2025-43859 is let through without a reason"):
        with_entry(tmp_path, **entry(TODAY, reason=" "))

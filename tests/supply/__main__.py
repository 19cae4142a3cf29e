"""Look at the locked packages, or write their bill of materials; see the package."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.supply.audit import Report, audit
from tests.supply.licences import LicenceNotKnown
from tests.supply.locks import read_lock
from tests.supply.policy import Policy, read_policy

ROOT = Path(__file__).parent.parent.parent
BILL = ROOT / "build" / "sbom.cdx.json"
SHIPPED, TESTED = "requirements.lock", "requirements-dev.lock"
SHIPPED_EXTRAS = ("embedded", "rocksdb", "sandbox")  # those of `make lock`
POLICY = Path(__file__).parent / "policy.toml"


def main(arguments: Sequence[str]) -> int:
    """`audit`, `sbom` or both. Returns 0, 1 when something is wrong, 2 for wrong usage.

    With AUDIT=required in the environment, what could not be looked up is wrong as well.
    """
    required = os.environ.get("AUDIT", "")
    if not arguments or set(arguments) - {"audit", "sbom"} or required not in ("", "required"):
        print("usage: [AUDIT=required] python -m tests.supply [audit] [sbom]", file=sys.stderr)
        return 2
    today = datetime.now(UTC).date()
    policy = read_policy(POLICY, today)
    code = 0
    if "audit" in arguments:
        report = audit(read_lock(ROOT / SHIPPED), read_lock(ROOT / TESTED), ROOT / "Dockerfile", policy, today)
        code = say(report, required=bool(required))
    if "sbom" in arguments and code == 0:
        code = _write_bill(policy)
    return code


def say(report: Report, *, required: bool) -> int:
    """Print what was found; 0 when it may go on."""
    for note in report.notes:
        print(f"audit: {note}")
    for gap in report.unchecked:
        print(f"audit: {gap}{' (AUDIT=required)' if required else ''}", file=sys.stderr if required else sys.stdout)
    for finding in report.findings:
        print(f"audit: {finding}", file=sys.stderr)
    sys.stdout.flush()
    return 1 if report.findings or (required and report.unchecked) else 0


def _write_bill(policy: Policy) -> int:
    from tests.supply.sbom import write_sbom  # takes two seconds to load, which an audit need not wait for

    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    try:
        components = write_sbom(read_lock(ROOT / SHIPPED), project, SHIPPED_EXTRAS, policy, BILL)
    except LicenceNotKnown as exc:
        print(f"sbom: {exc}", file=sys.stderr)
        return 1
    print(f"sbom: {components} components in {BILL.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The command: what cannot be asked is said; it fails only where that is demanded, or where something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.supply.__main__ import ROOT, main, say
from tests.supply.audit import Report
from tests.supply.stand_in import served

NOT_AUDITED = "audit: the list of known holes cannot be reached, not audited"


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.supply", "audit"],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("demanded", "code"), [("", 0), ("required", 1)])
def test_without_network_it_says_what_it_did_not_look_up(demanded: str, code: int) -> None:
    with served(lambda *_: (200, "text/plain", "")) as gone:
        pass
    done = run(
        AUDIT=demanded, PIP_INDEX_URL=f"{gone}/simple", PIP_NO_PROXY="*", NO_PROXY="*",
        PIP_AUDIT_VULNERABILITY_SERVICE="osv", PIP_AUDIT_OSV_URL=f"{gone}/v1/query",
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    said = done.stderr if demanded else done.stdout
    assert NOT_AUDITED in said
    assert "audit: releases could not be looked up at the package index: " in said
    assert "locked releases: nothing wrong" in done.stdout
    assert gone not in done.stdout + done.stderr


@pytest.mark.parametrize("required", [False, True])
def test_a_finding_always_fails(required: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert say(Report(notes=["all looked up"]), required=required) == 0
    assert say(Report(findings=["h11 has a known hole"]), required=required) == 1
    assert capsys.readouterr().err == "audit: h11 has a known hole\n"


def test_a_setting_that_is_none_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT", "require")
    assert main(["audit"]) == 2
    monkeypatch.setenv("AUDIT", "")
    assert main(["audits"]) == 2

"""pip-audit is asked for every release; only an answer about a release counts as one. The list is on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.supply.holes import ask_lists, read_answers
from tests.supply.locks import Pin
from tests.supply.stand_in import Answer, served

PINS = [Pin("h11", "0.15.0", None, ()), Pin("idna", "3.10", None, ()), Pin("idna", "3.11", None, ())]
ADVISORY = {
    "id": "GHSA-vqfr-h8mv-ghfj",
    "aliases": ["CVE-2025-43859"],
    "summary": "h11 accepts some malformed Chunked-Encoding bodies",
    "affected": [
        {
            "package": {"name": "h11", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "0.16.0"}]}],
        }
    ],
}


@contextmanager
def osv(monkeypatch: pytest.MonkeyPatch, status: int = 200) -> Iterator[list[tuple[str, str]]]:
    """A list that speaks as OSV does; yields what it was asked."""
    asked: list[tuple[str, str]] = []

    def answer(_: str, body: bytes) -> Answer:
        query: dict[str, Any] = json.loads(body)
        release = (query["package"]["name"], query["version"])
        asked.append(release)
        return status, "application/json", {"vulns": [ADVISORY]} if release == ("h11", "0.15.0") else {}

    with served(answer) as address:
        monkeypatch.setenv("PIP_AUDIT_VULNERABILITY_SERVICE", "osv")
        monkeypatch.setenv("PIP_AUDIT_OSV_URL", f"{address}/v1/query")
        yield asked


def test_every_release_is_asked_for_also_two_versions_of_one_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with osv(monkeypatch) as asked:
        answer = ask_lists(PINS)
    assert sorted(asked) == [("h11", "0.15.0"), ("idna", "3.10"), ("idna", "3.11")]
    assert (answer.looked_up, answer.unanswered) == (3, ())
    (hole,) = answer.holes
    assert (hole.pin, set(hole.names)) == ("h11 0.15.0", {"GHSA-vqfr-h8mv-ghfj", "CVE-2025-43859"})
    assert hole.fixed_in == ("0.16.0",)


def test_a_list_that_fails_has_answered_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with osv(monkeypatch, status=503) as asked:
        answer = ask_lists(PINS)
    assert len(asked) == 1  # then nobody waits for the others
    assert (answer.holes, answer.looked_up) == ((), 0)
    assert answer.unanswered == ("h11 0.15.0", "idna 3.10", "idna 3.11")


def test_not_found_is_no_answer_although_pip_audit_calls_it_success() -> None:
    printed = {
        "dependencies": [
            {"name": "h11", "skip_reason": "Dependency not found on PyPI and could not be audited: h11 (0.15.0)"},
            {"name": "idna", "version": "3.10", "vulns": []},
        ],
        "fixes": [],
    }
    assert [answer["name"] for answer in read_answers(json.dumps(printed))] == ["idna"]
    assert read_answers("") == []

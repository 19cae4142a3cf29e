"""Every failure has words."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.core.causes import CAUSES, cause_of
from streams.core.event import ReasonKind, Status


def test_every_reason_says_what_happened_and_what_to_do() -> None:
    assert set(CAUSES) == set(ReasonKind)
    for kind, cause in CAUSES.items():
        assert cause.happened and cause.advice, kind
        assert not cause.happened.endswith(".") and not cause.advice.endswith("."), kind


@pytest.mark.parametrize(
    ("status", "kind", "word"),
    [
        (Status.FAILED, ReasonKind.CREDENTIALS, "password"),
        (Status.UNCERTAIN, ReasonKind.NETWORK, "nobody can tell"),
        (Status.EXPIRED, ReasonKind.EXPIRED, "its time had passed"),
        (Status.BOUNCED, ReasonKind.EXPIRED, "the provider has given up"),
        (Status.FAILED, None, "no reason was given"),
    ],
)
def test_the_status_goes_over_the_reason_where_it_says_more(status: Status, kind: ReasonKind | None, word: str) -> None:
    assert word in cause_of(status, kind).happened


def test_the_page_says_the_same_words() -> None:
    page = (Path(__file__).parents[2] / "docs" / "failures.md").read_text(encoding="utf-8")
    for kind, cause in CAUSES.items():
        again = "yes" if cause.again else "no"
        assert f"| `{kind.value}` | {cause.happened} | {cause.advice} | {again} |" in page, kind

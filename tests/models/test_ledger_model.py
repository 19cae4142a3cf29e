"""No order of crash, change of owners, lost answer, report and retry loses a message or sends it twice in silence."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator

import pytest

from tests.models import mutations
from tests.models.scenario import AGAIN, CRASH, CUT, LATE_ROW, LOST, TIMEOUT, Scenario
from tests.models.suites import LEDGER, LEDGER_DEEP, walk

DEEP_S = float(os.environ.get("STREAMS_MODEL_SECONDS", "0"))
"""CPU seconds for each world of the deep search; 0 leaves it out."""


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    """Millions of crashes are nothing to write home about."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def one(**fields: object) -> Scenario:
    return Scenario("one fault", **fields)  # type: ignore[arg-type]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", LEDGER, ids=lambda one: one.name)
def test_nothing_is_lost_and_nothing_sent_twice_in_silence(scenario: Scenario) -> None:
    report = walk(scenario)
    print(report)
    assert report.violation is None, str(report)
    assert report.complete
    assert report.ends > 1


@pytest.mark.skipif(not DEEP_S, reason="set STREAMS_MODEL_SECONDS, e.g. to 120")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("scenario", LEDGER_DEEP, ids=lambda one: one.name)
def test_nor_with_more_faults(scenario: Scenario) -> None:
    report = walk(scenario, seconds=DEEP_S)
    print(report)
    assert report.violation is None, str(report)


@pytest.mark.parametrize(
    ("mutation", "scenario", "seen"),
    [
        (mutations.without_write_ahead, one(faults=0), "the ledger does not say so"),
        (mutations.without_waiting_for_the_row, one(faults=0), "the ledger does not say so"),
        (mutations.ahead_without_its_record, one(faults=0, ahead=True), "a message that Kafka does not have"),
        (mutations.sending_means_never_sent, one(kinds=frozenset({CRASH})), "in silence"),
        (mutations.what_was_not_proven_is_sent_at_once, one(kinds=frozenset({LOST})), "in silence"),
        (mutations.a_redelivery_is_new, one(kinds=frozenset({AGAIN})), ""),
        (mutations.the_offset_first, one(faults=0), "the ledger has no row"),
        (mutations.the_receipt_first, one(faults=0), "still says sending"),
        (mutations.the_lease_ignored, one(kinds=frozenset({CRASH})), "which may still be taken"),
        (mutations.no_lease_before_the_call, one(kinds=frozenset({CUT})), "beyond its lease"),
        (mutations.no_owner_before_the_call, one(faults=2, kinds=frozenset({CUT, LATE_ROW})), "no longer its own"),
        (mutations.commands_owe_nothing, one(kinds=frozenset({CRASH}), reports=("bounced", "delivered")), "not told"),
        (mutations.calls_nobody_cares_for, one(kinds=frozenset({TIMEOUT})), "nothing leads to an end"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_product_that_is_broken_is_seen_to_be(
    mutation: Callable[[pytest.MonkeyPatch], None],
    scenario: Scenario,
    seen: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutation(monkeypatch)
    report = walk(scenario, seconds=20)
    print(report)
    assert report.violation is not None, str(report)
    assert seen in report.violation.what
    assert report.violation.trace


def test_the_same_moves_lead_to_the_same_state() -> None:
    """What the search stands on: a state may be reached again by repeating the moves that led there."""
    first, again = walk(LEDGER[2]), walk(LEDGER[2])
    assert (first.states, first.transitions, first.depth) == (again.states, again.transitions, again.depth)

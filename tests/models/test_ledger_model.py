"""No order of crash, change of owners, lost answer, report and retry loses a message or sends it twice in silence."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.models import mutations
from tests.models.scenario import AGAIN, CRASH, CUT, LATE_ROW, LOST, TIMEOUT, Scenario
from tests.models.suites import LEDGER, LEDGER_DEEP, walk
from tests.models.verdicts import deep, holds, holds_so_far, is_seen

pytestmark = pytest.mark.usefixtures("silence")


def one(**fields: object) -> Scenario:
    return Scenario("one fault", **fields)  # type: ignore[arg-type]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", LEDGER, ids=lambda one: one.name)
def test_nothing_is_lost_and_nothing_sent_twice_in_silence(scenario: Scenario) -> None:
    assert holds(scenario).ends > 1


@deep
@pytest.mark.timeout(0)
@pytest.mark.parametrize("scenario", LEDGER_DEEP, ids=lambda one: one.name)
def test_nor_with_more_faults(scenario: Scenario) -> None:
    holds_so_far(scenario)


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
    is_seen(scenario, seen)


def test_the_same_moves_lead_to_the_same_state() -> None:
    """What the search stands on: a state may be reached again by repeating the moves that led there."""
    first, again = walk(LEDGER[2]), walk(LEDGER[2])
    assert (first.states, first.transitions, first.depth) == (again.states, again.transitions, again.depth)

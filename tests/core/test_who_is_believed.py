"""A provider's report counts for attempts that this provider has, whichever of the two becomes known first."""

from __future__ import annotations

from itertools import permutations

import pytest

from streams.core.command import Retry, Settle
from streams.core.event import BounceType, Status
from streams.core.lifecycle import advance
from streams.core.receipt import ReceiptKind
from tests.core.receipts import (
    MESSAGE_ID,
    NOW_MS,
    event_ids,
    event_types,
    facts,
    receipt,
    run,
    state_after,
    suppressions,
)

K = ReceiptKind
EXPECTED = ["accepted", "sent"]


@pytest.mark.parametrize("kind", [K.DELIVERED, K.BOUNCED, K.COMPLAINED, K.OPENED, K.UNSUBSCRIBED, K.PROVIDER_REJECTED])
@pytest.mark.parametrize("attempt", [0, 1])
def test_a_report_of_a_provider_that_does_not_have_the_attempt_changes_and_tells_nothing(
    kind: ReceiptKind, attempt: int
) -> None:
    sent = receipt(K.SENT, 1)
    forged = receipt(kind, attempt, provider="other", provider_message_id="theirs-1", suppress=True)
    for order in permutations([receipt(K.ACCEPTED), sent, forged]):
        state, steps = run(order)
        assert state is not None
        assert (state.status, state.opens, state.terminal) == (Status.SENT, 0, False)
        assert event_types(steps) == EXPECTED
        assert suppressions(steps) is None
    assert run([sent, forged])[1][1].foreign
    assert not advance(state_after(sent, forged), forged, NOW_MS).suppressions, "nor when it comes again"


def test_a_report_that_comes_before_dispatch_says_who_has_the_attempt_waits_although_the_message_is_known() -> None:
    complaint = receipt(K.COMPLAINED, 1, at_s=9, suppress=True)
    _, steps = run([receipt(K.SCHEDULED), complaint, receipt(K.SENT, 1)])
    assert [[e.type.value.removeprefix("message.") for e in step.events] for step in steps] == [
        ["accepted", "scheduled"],
        [],
        ["sent", "complained"],
    ]
    assert [bool(step.suppressions) for step in steps] == [False, False, True]


def test_opens_that_waited_are_counted_once() -> None:
    opened = [receipt(K.OPENED, 1, at_s=n, receipt_id=f"open-{n}") for n in range(3)]
    for order in permutations([*opened, receipt(K.SENT, 1)]):
        assert state_after(*order).opens == 3


def test_the_next_attempt_goes_another_way_and_each_provider_speaks_of_its_own() -> None:
    history = [
        receipt(K.RETRY, 1),
        receipt(K.SENT, 2, provider="ses", provider_message_id="s"),
        receipt(K.DELIVERED, 2, provider="ses", provider_message_id="s"),
        receipt(K.BOUNCED, 2, receipt_id="forged", bounce_type=BounceType.HARD, suppress=True),
    ]
    for order in permutations(history):
        state, steps = run(order)
        assert state is not None
        assert state.status is Status.DELIVERED
        assert suppressions(steps) is None


@pytest.mark.parametrize("vouches", [("*",), ("mailgun-eu", "mailgun-us")])
def test_our_own_mailbox_and_providers_with_the_same_proof_are_believed(vouches: tuple[str, ...]) -> None:
    bounce = receipt(K.BOUNCED, 1, provider="bounces", vouches=vouches, bounce_type=BounceType.HARD)
    for order in permutations([receipt(K.SENT, 1), bounce]):
        assert state_after(*order).status is Status.BOUNCED


def test_a_provider_speaks_for_the_accounts_that_tenants_have_there_and_no_account_for_it() -> None:
    of_account = receipt(K.SENT, 1, provider="mailgun-eu/shop")
    assert state_after(of_account, receipt(K.DELIVERED, 1)).status is Status.DELIVERED
    of_provider = receipt(K.DELIVERED, 1, provider="mailgun-eu/shop")
    assert state_after(receipt(K.SENT, 1), of_provider).status is Status.SENT


OWN_LANE = ("mailgun-eu/@acme-1f3a5c7e",)
"""What dispatch says of an attempt that went through an account which the tenant has brought."""


def test_the_keys_of_a_tenants_own_account_speak_of_its_attempts_there_and_of_no_others() -> None:
    key_of_acme = receipt(K.BOUNCED, 1, vouches=("mailgun-eu/@acme",), bounce_type=BounceType.HARD, suppress=True)
    for sent, believed in (
        (receipt(K.SENT, 1, vouches=OWN_LANE), True),
        (receipt(K.SENT, 1, vouches=("mailgun-eu/@acme-00000000",)), True),
        (receipt(K.SENT, 1), False),
        (receipt(K.SENT, 1, vouches=("mailgun-eu/@acme-two-1f3a5c7e",)), False),
        (receipt(K.SENT, 1, vouches=("mailgun-eu/@other-1f3a5c7e",)), False),
        (receipt(K.SENT, 1, provider="mailgun-us", vouches=("mailgun-us/@acme-1f3a5c7e",)), False),
    ):
        for order in permutations([sent, key_of_acme]):
            state, steps = run(order)
            assert state is not None
            assert (state.status is Status.BOUNCED) is believed
            assert (suppressions(steps) is not None) is believed
    assert run([receipt(K.SENT, 1), key_of_acme])[1][1].foreign


def test_our_own_keys_of_a_provider_speak_of_tenants_accounts_there_too_and_events_name_the_provider() -> None:
    for order in permutations([receipt(K.SENT, 1, vouches=OWN_LANE), receipt(K.DELIVERED, 1)]):
        state, steps = run(order)
        assert state is not None
        assert state.status is Status.DELIVERED
        told = {event.provider for step in steps for event in step.events if event.type.value != "message.accepted"}
        assert told == {"mailgun-eu"}


def test_a_forged_proof_settles_no_doubt() -> None:
    forged = receipt(K.DELIVERED, 1, provider="other")
    _, steps = run([receipt(K.UNCERTAIN, 1), forged])
    assert not any(step.commands for step in steps)
    _, steps = run([receipt(K.UNCERTAIN, 1), receipt(K.DELIVERED, 1)])
    assert isinstance(steps[1].commands[0], Settle)


def test_a_stored_message_that_was_sent_again_is_told_from_the_first_by_the_providers_id() -> None:
    """Its events still name the attempt that it was made for."""
    history = [
        receipt(K.SENT, 1, at_s=1, facts=facts(retry_final=True)),
        receipt(K.BOUNCED, 1, at_s=2, bounce_type=BounceType.SOFT),
        receipt(K.RETRY, 1, at_s=3, facts=facts(retry_final=True)),
        receipt(K.SENT, 2, at_s=9, facts=facts(retry_final=True)),
        receipt(K.DELIVERED, 1, at_s=10, provider_message_id="theirs-2"),
    ]
    told = [event_ids(run(order)[1]) for order in permutations(history)]
    assert {state_after(*order).status for order in permutations(history)} == {Status.DELIVERED}
    assert all(ids == told[0] for ids in told)
    assert state_after(*history).double_sends == 0


def test_its_next_soft_failure_asks_for_the_attempt_after_it() -> None:
    told = facts(retry_final=True)
    _, steps = run(
        [
            receipt(K.SENT, 1, facts=told),
            receipt(K.BOUNCED, 1, at_s=2, bounce_type=BounceType.SOFT),
            receipt(K.RETRY, 1, at_s=3, facts=told),
            receipt(K.SENT, 2, at_s=9, facts=told),
            receipt(K.BOUNCED, 1, at_s=10, receipt_id="again", provider_message_id="theirs-2",
                    bounce_type=BounceType.SOFT),
        ]
    )  # fmt: skip
    assert [c for step in steps for c in step.commands] == [
        Retry(MESSAGE_ID, 1, final_soft=True),
        Retry(MESSAGE_ID, 2, final_soft=True),
    ]


def test_reports_of_foreign_providers_cannot_crowd_out_what_dispatch_says() -> None:
    noise = [
        receipt(K.DELIVERED, 1, receipt_id=f"f{n}", provider="other", provider_message_id=f"x{n}") for n in range(200)
    ]
    assert state_after(*noise, receipt(K.SENT, 1), receipt(K.DELIVERED, 1)).status is Status.DELIVERED


def test_a_flood_of_foreign_reports_is_never_told_not_even_those_that_there_is_no_room_to_keep() -> None:
    flood = [receipt(K.OPENED, 1, at_s=n, receipt_id=f"f{n}", provider="other") for n in range(200)]
    state, steps = run([receipt(K.SENT, 1), *flood])
    assert state is not None
    assert event_types(steps) == EXPECTED
    assert state.opens == 0
    assert len(state.early) <= 64

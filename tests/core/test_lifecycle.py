from __future__ import annotations

import pytest

from streams.core import lifecycle
from streams.core.command import NoProof, Retry, Settle
from streams.core.event import BounceType, EventType, Reason, ReasonKind, Status
from streams.core.ids import recipient_key_of
from streams.core.lifecycle import PRECEDENCE, TRANSITIONS, advance, expired
from streams.core.message_state import MAX_SEEN
from streams.core.receipt import Receipt, ReceiptKind
from streams.core.suppression import SuppressionKind
from tests.core.receipts import MESSAGE_ID, NOW_MS, event_ids, event_types, facts, receipt, run, state_after

K = ReceiptKind
SOFT = BounceType.SOFT

HISTORIES: dict[Status | None, tuple[tuple[tuple[ReceiptKind, int], ...], ...]] = {
    None: ((),),
    Status.ACCEPTED: (((K.ACCEPTED, 0),),),
    Status.SCHEDULED: (((K.SCHEDULED, 0),),),
    Status.UNCERTAIN: (((K.UNCERTAIN, 1),),),
    Status.SENT: (((K.SENT, 1),),),
    Status.DEFERRED: (((K.SENT, 1), (K.DEFERRED, 1)), ((K.RETRY, 1),)),
    Status.DELIVERED: (((K.SENT, 1), (K.DELIVERED, 1)),),
    Status.BOUNCED: (((K.SENT, 1), (K.BOUNCED, 1)),),
    Status.COMPLAINED: (((K.SENT, 1), (K.COMPLAINED, 1)),),
    Status.SUPPRESSED: (((K.SUPPRESSED, 0),), ((K.SENT, 1), (K.PROVIDER_SUPPRESSED, 1))),
    Status.REJECTED: (((K.REJECTED, 1),), ((K.SENT, 1), (K.PROVIDER_REJECTED, 1))),
    Status.FAILED: (((K.FAILED, 1),),),
    Status.EXPIRED: (((K.EXPIRED, 1),),),
    Status.CANCELLED: (((K.CANCELLED, 1),),),
}
"""Ways in which a message gets into each status."""

HAND_OVER = frozenset({K.SENT, K.RETRY, K.UNCERTAIN, K.REJECTED, K.FAILED})
NOT_YET_SENT = frozenset({None, Status.ACCEPTED, Status.SCHEDULED})

EDGES = [(a, kind, b) for a, leads in TRANSITIONS.items() for kind, b in leads.items()]


@pytest.mark.parametrize(("before", "kind", "after"), EDGES, ids=lambda v: str(v))
def test_every_transition_agrees_with_the_precedence_of_facts(
    before: Status | None, kind: ReceiptKind, after: Status
) -> None:
    ends = set()
    for history in HISTORIES[before]:
        done = [receipt(k, n, at_s=i) for i, (k, n) in enumerate(history)]
        if done:
            assert state_after(*done).status is before
        begun = max((n for _, n in history), default=0)
        attempt = begun + 1 if kind in HAND_OVER or (begun == 0 and kind not in {K.ACCEPTED, K.SCHEDULED}) else begun
        ends.add(state_after(*done, receipt(kind, attempt, at_s=9)).status)
    assert after in ends


def test_every_status_and_every_kind_with_a_status_occurs_in_the_tables() -> None:
    assert set(TRANSITIONS) == {None, *Status}
    assert {status for _, _, status in EDGES} == set(Status)
    assert {kind for _, kind, _ in EDGES} == {kind for kind, _ in PRECEDENCE}


def test_a_send_result_alone_publishes_accepted_and_sent() -> None:
    state, (step,) = run([receipt(K.SENT, 1)])
    accepted, sent = step.events
    assert (accepted.type, accepted.occurred_ms, accepted.status) == (EventType.ACCEPTED, NOW_MS, Status.ACCEPTED)
    assert (sent.type, sent.occurred_ms, sent.status) == (EventType.SENT, NOW_MS + 1000, Status.SENT)
    assert (sent.provider, sent.provider_message_id, sent.attempt) == ("mailgun-eu", "theirs-1", 1)
    assert (sent.tenant, sent.recipient, sent.tags, sent.metadata) == (
        "acme",
        "ann@example.com",
        ("news",),
        {"order": "1"},
    )
    assert state is not None
    assert not state.terminal


def test_a_message_that_intake_refused_was_never_accepted() -> None:
    _, steps = run([receipt(K.REJECTED, 0, facts=facts(accepted_ms=0))])
    assert event_types(steps) == ["rejected"]


def test_a_repeated_receipt_changes_nothing() -> None:
    state = state_after(receipt(K.SENT, 1))
    step = advance(state, receipt(K.SENT, 1), NOW_MS + 5)
    assert step.duplicate
    assert step.state is state
    assert not step.events


def test_events_that_come_before_the_facts_are_told_oldest_first_when_these_come() -> None:
    late = [receipt(K.OPENED, 1, at_s=30), receipt(K.DELIVERED, 1, at_s=20), receipt(K.SENT, 1, at_s=10)]
    _, steps = run(late)
    assert [s.early for s in steps] == [True, True, False]
    assert event_types(steps) == ["accepted", "sent", "delivered", "opened"]


def test_a_report_out_of_order_is_counted_and_one_in_order_is_not() -> None:
    _, steps = run(
        [
            receipt(K.SENT, 1),
            receipt(K.DELIVERED, 1, at_s=3),
            receipt(K.DEFERRED, 1, at_s=2),
            receipt(K.OPENED, 1),
        ]
    )
    assert [s.out_of_order for s in steps] == [False, False, True, False]


def test_an_unechoed_report_belongs_to_the_attempt_with_its_provider_id() -> None:
    first, second = receipt(K.RETRY, 1, provider_message_id=""), receipt(K.SENT, 2)
    stray = receipt(K.DELIVERED, 0, provider="mailgun-eu", provider_message_id="theirs-2")
    assert state_after(first, second, stray).status is Status.DELIVERED


def test_an_unechoed_report_belongs_to_the_only_attempt() -> None:
    bounce = receipt(K.BOUNCED, 0, provider="mailgun-eu", provider_message_id="other")
    assert state_after(receipt(K.SENT, 1), bounce).status is Status.BOUNCED


def test_a_delayed_bounce_overrides_a_delivery_and_a_complaint_overrides_both() -> None:
    assert state_after(receipt(K.SENT, 1), receipt(K.DELIVERED, 1), receipt(K.BOUNCED, 1)).status is Status.BOUNCED
    assert state_after(receipt(K.SENT, 1), receipt(K.COMPLAINED, 1), receipt(K.DELIVERED, 1)).status is (
        Status.COMPLAINED
    )


def test_an_open_or_click_is_counted_and_changes_no_status() -> None:
    state = state_after(
        receipt(K.SENT, 1),
        receipt(K.DELIVERED, 1),
        receipt(K.OPENED, 1, receipt_id="o1"),
        receipt(K.OPENED, 1, receipt_id="o2"),
        receipt(K.CLICKED, 1),
    )
    assert (state.status, state.opens, state.clicks) == (Status.DELIVERED, 2, 1)


def test_what_is_remembered_of_a_message_is_bounded_and_deliveries_outlive_opens() -> None:
    state = state_after(receipt(K.SENT, 1), receipt(K.DELIVERED, 1))
    for n in range(3 * MAX_SEEN):
        state = advance(state, receipt(K.OPENED, 1, at_s=n, receipt_id=f"open-{n}"), NOW_MS).state or state
    assert len(state.timeline) == MAX_SEEN
    assert {K.SENT, K.DELIVERED} <= {entry.kind for entry in state.timeline}
    assert state.opens == 3 * MAX_SEEN


def test_early_receipts_are_bounded() -> None:
    state, _ = run(receipt(K.OPENED, 1, at_s=n, receipt_id=f"open-{n}") for n in range(2 * MAX_SEEN))
    assert state is not None
    assert len(state.early) == MAX_SEEN


def test_a_message_ends_once() -> None:
    _, steps = run([receipt(K.SENT, 1), receipt(K.DELIVERED, 1), receipt(K.COMPLAINED, 1)])
    assert [s.ended for s in steps] == [False, True, False]


# ------------------------------------------------------------------------------- the rules with failing interleavings


@pytest.mark.parametrize("kinds", [[K.SENT, K.DEFERRED], [K.DEFERRED, K.SENT]])
def test_rule_01_a_deferral_reported_by_a_provider_starts_nothing(kinds: list[ReceiptKind]) -> None:
    willing = facts(retry_final=True)
    _, steps = run(receipt(k, 1, facts=willing if k is K.SENT else None, bounce_type=SOFT) for k in kinds)
    assert all(not step.commands for step in steps)


def test_rule_01_a_final_soft_failure_of_the_latest_attempt_asks_for_a_retry_once() -> None:
    willing = facts(retry_final=True)
    sent, bounce = receipt(K.SENT, 1, facts=willing), receipt(K.BOUNCED, 1, bounce_type=SOFT)
    for order in ([sent, bounce, bounce], [bounce, sent, bounce], [bounce, bounce, sent, sent]):
        state, steps = run(order)
        assert [c for s in steps for c in s.commands] == [Retry(MESSAGE_ID, 1, final_soft=True)]
        assert state is not None
        assert not state.terminal


@pytest.mark.parametrize(
    ("more", "willing"),
    [
        pytest.param([(K.BOUNCED, 1, SOFT)], False, id="no policy answers it"),
        pytest.param([(K.BOUNCED, 1, BounceType.HARD)], True, id="hard"),
        pytest.param([(K.SENT, 2, None), (K.BOUNCED, 1, SOFT)], True, id="not the latest attempt"),
        pytest.param([(K.DELIVERED, 1, None), (K.BOUNCED, 1, SOFT)], True, id="it was delivered"),
    ],
)
def test_rule_01_no_other_bounce_asks_for_a_retry(
    more: list[tuple[ReceiptKind, int, BounceType | None]], willing: bool
) -> None:
    receipts = [receipt(k, n, bounce_type=b, facts=facts(willing) if k is K.SENT else None) for k, n, b in more]
    _, steps = run([receipt(K.SENT, 1, facts=facts(willing)), *receipts])
    assert all(not step.commands for step in steps)


def test_rule_05_a_probe_is_answered_by_proof_or_by_its_absence_each_time_it_is_asked() -> None:
    probe = receipt(K.PROBE, 1)
    state, steps = run([receipt(K.UNCERTAIN, 1), probe, probe])
    assert [s.commands for s in steps] == [(), (NoProof(MESSAGE_ID, 1),), (NoProof(MESSAGE_ID, 1),)]
    state, steps = run([receipt(K.PROVIDER_SENT, 1, at_s=4), probe, probe], state)
    settle = Settle(MESSAGE_ID, 1, "theirs-1", NOW_MS + 4000)
    assert [s.commands for s in steps] == [(settle,), (settle,), (settle,)]


def test_rule_05_an_early_report_answers_the_probe_of_a_worker_that_crashed_after_the_call() -> None:
    _, steps = run([receipt(K.DELIVERED, 1, at_s=4), receipt(K.PROBE, 1)])
    assert steps[-1].commands == (Settle(MESSAGE_ID, 1, "theirs-1", NOW_MS + 4000),)
    assert event_types(steps) == ["accepted", "sent", "delivered"]


@pytest.mark.parametrize("proof", [K.PROVIDER_SENT, K.DELIVERED, K.BOUNCED, K.OPENED])
def test_rule_05_doubt_is_settled_by_any_proof_whichever_comes_first(proof: ReceiptKind) -> None:
    settle = Settle(MESSAGE_ID, 1, "theirs-1", NOW_MS + 4000)
    for order in ([K.UNCERTAIN, proof], [proof, K.UNCERTAIN], [K.UNCERTAIN, K.UNCERTAIN_FINAL, proof]):
        _, steps = run(receipt(k, 1, at_s=4) for k in order)
        assert [c for s in steps for c in s.commands] == [settle]


def test_rule_05_nothing_is_settled_that_dispatch_has_on_record() -> None:
    for order in ([K.UNCERTAIN, K.SENT, K.DELIVERED], [K.SENT, K.DELIVERED, K.UNCERTAIN]):
        _, steps = run(receipt(k, 1) for k in order)
        assert all(not step.commands for step in steps)


def test_rule_06_advance_is_deterministic() -> None:
    order = [receipt(k, 1) for k in (K.DELIVERED, K.SENT, K.OPENED)]
    assert run(order) == run(order)


def test_rule_07_receipts_fold_per_attempt_and_the_latest_speaks() -> None:
    refused, sent = receipt(K.RETRY, 1), receipt(K.SENT, 2)
    for order in ([refused, sent], [sent, refused]):
        state = state_after(*order)
        assert state.status is Status.SENT
        assert [a.number for a in state.attempts] == [1, 2]


def test_rule_07_a_delivery_speaks_over_a_later_attempt_that_was_refused() -> None:
    order = [receipt(K.UNCERTAIN, 1), receipt(K.RETRY, 1), receipt(K.REJECTED, 2), receipt(K.DELIVERED, 1)]
    assert state_after(*order).status is Status.DELIVERED
    assert state_after(*reversed(order)).status is Status.DELIVERED


def test_rule_07_a_late_proof_of_an_attempt_that_was_resent_is_a_double_send() -> None:
    order = [
        receipt(K.UNCERTAIN, 1),
        receipt(K.RETRY, 1),
        receipt(K.SENT, 2, at_s=60),
        receipt(K.PROVIDER_SENT, 1, at_s=1),
    ]
    state, steps = run(order)
    assert [s.double_send for s in steps] == [False, False, False, True]
    assert state is not None
    assert state.double_sends == 1
    assert state_after(*reversed(order)) == state


def test_rule_07_a_retry_after_the_provider_gave_up_is_no_double_send() -> None:
    state, steps = run(
        [
            receipt(K.SENT, 1, at_s=1),
            receipt(K.BOUNCED, 1, at_s=50, bounce_type=SOFT),
            receipt(K.RETRY, 1, at_s=51),
            receipt(K.SENT, 2, at_s=60),
        ]
    )
    assert not any(step.double_send for step in steps)
    assert state is not None
    assert (state.double_sends, state.status) == (0, Status.SENT)


@pytest.mark.parametrize("first", [K.SENT, K.PROVIDER_SENT, K.DELIVERED, K.CLICKED])
def test_rule_07_sent_is_published_once_per_attempt_with_one_id_whoever_proves_it(first: ReceiptKind) -> None:
    kinds = [first, *({K.SENT, K.PROVIDER_SENT, K.DELIVERED, K.CLICKED} - {first})]
    _, steps = run([receipt(K.ACCEPTED), *(receipt(k, 1) for k in kinds)])
    sent = [event for step in steps for event in step.events if event.type is EventType.SENT]
    _, (alone,) = run([receipt(K.SENT, 1)])
    assert [event.event_id for event in sent] == [alone.events[1].event_id]


def test_rule_09_and_13_a_conflict_is_told_and_leaves_the_original_alone() -> None:
    conflict = receipt(
        K.CONFLICT,
        receipt_id="conflict:abc",
        at_s=99,
        reason=Reason(ReasonKind.IDEMPOTENCY_CONFLICT),
    )
    before = state_after(receipt(K.SENT, 1))
    step = advance(before, conflict, NOW_MS)
    assert step.state is not None
    assert (step.state.status, step.state.attempts, step.state.facts) == (before.status, before.attempts, before.facts)
    (event,) = step.events
    assert event.type is EventType.REJECTED
    assert event.reason == Reason(ReasonKind.IDEMPOTENCY_CONFLICT)
    assert event.status is Status.SENT


def test_rule_13_a_conflict_before_its_original_is_told_at_once_and_has_the_same_id() -> None:
    conflict, sent = receipt(K.CONFLICT, receipt_id="conflict:abc"), receipt(K.SENT, 1)
    state, steps = run([conflict, sent])
    other, others = run([sent, conflict])
    assert event_types(steps) == ["rejected", "accepted", "sent"]
    assert event_ids(steps) == event_ids(others)
    assert state == other


def test_rule_13_suppression_receipts_concern_no_message() -> None:
    key = recipient_key_of(MESSAGE_ID)
    step = advance(None, receipt(K.SUPPRESS, message_id=key, actor="ann"), NOW_MS)
    assert step.state is None
    assert not step.events
    assert [(c.recipient_key, c.kind, c.actor) for c in step.suppressions] == [(key, SuppressionKind.MANUAL, "ann")]
    lifted = advance(None, receipt(K.UNSUPPRESS, message_id=key, actor="ann"), NOW_MS)
    assert [c.kind for c in lifted.suppressions] == [None]


@pytest.mark.parametrize(
    ("kind", "why"),
    [(K.BOUNCED, SuppressionKind.BOUNCE), (K.COMPLAINED, SuppressionKind.COMPLAINT)],
)
def test_a_hard_bounce_or_complaint_suppresses_the_address_if_the_receipt_says_so(
    kind: ReceiptKind, why: SuppressionKind
) -> None:
    state = state_after(receipt(K.SENT, 1))
    step = advance(state, receipt(kind, 1, suppress=True), NOW_MS)
    (change,) = step.suppressions
    assert (change.kind, change.changed_ms, change.recipient, change.tenant) == (
        why,
        NOW_MS + 1000,
        "ann@example.com",
        "acme",
    )
    assert not advance(state, receipt(kind, 1), NOW_MS).suppressions


def test_rule_22_a_repeated_bounce_gives_its_suppression_again_because_a_crash_may_have_lost_it() -> None:
    bounce = receipt(K.BOUNCED, 1, suppress=True)
    _, steps = run([receipt(K.SENT, 1), bounce, bounce])
    assert steps[2].duplicate
    assert steps[2].suppressions == steps[1].suppressions


def test_rule_18_early_receipts_keep_their_suppression_and_name_the_address_later() -> None:
    _, steps = run([receipt(K.BOUNCED, 1, suppress=True), receipt(K.SENT, 1)])
    assert [c.recipient for s in steps for c in s.suppressions] == ["ann@example.com"]


def test_rule_18_a_row_that_no_message_claims_is_forgotten_after_its_time() -> None:
    orphan = state_after(receipt(K.DELIVERED, 1, at_s=0))
    assert not expired(orphan, NOW_MS + 1000, retention_ms=1000)
    assert expired(orphan, NOW_MS + 1001, retention_ms=1000)


def test_rule_12_rows_that_wait_for_us_never_expire() -> None:
    far_ms = NOW_MS * 2
    for kind in (K.ACCEPTED, K.SCHEDULED, K.UNCERTAIN, K.RETRY):
        assert not expired(state_after(receipt(kind, 1)), far_ms, retention_ms=1)
    assert expired(state_after(receipt(K.SENT, 1)), far_ms, retention_ms=1)
    assert expired(state_after(receipt(K.SENT, 1), receipt(K.DELIVERED, 1)), far_ms, retention_ms=1)


def test_rule_23_uncertain_is_open_until_final_and_settled_by_proof_even_then() -> None:
    uncertain = receipt(K.UNCERTAIN, 1)
    final = receipt(K.UNCERTAIN_FINAL, 1)
    assert not state_after(uncertain).terminal
    held = state_after(uncertain, final)
    assert (held.status, held.terminal) == (Status.UNCERTAIN, True)
    assert state_after(final, uncertain).terminal
    proven = state_after(uncertain, final, receipt(K.PROVIDER_SENT, 1))
    assert (proven.status, proven.terminal) == (Status.SENT, False)
    _, steps = run([uncertain, final])
    assert event_types(steps) == ["accepted", "uncertain", "uncertain"]


@pytest.mark.parametrize(
    "first",
    [
        receipt(K.SENT, 1),
        receipt(K.SENT, 3, reason=Reason(ReasonKind.STAGING, detail="redirected")),
        receipt(K.SENT, 1, provider_message_id="<id@x>"),
        receipt(K.SENT, 1, facts=facts(retry_final=True)),
        receipt(K.SENT, 1, facts=facts(accepted_ms=0)),
        receipt(K.SENT, 0),
        receipt(K.SENT, 1, facts=None),
        receipt(K.SENT, 1, provider=""),
        receipt(K.SENT, 1, suppress=True),
    ],
)
def test_the_short_way_of_a_first_acceptance_leads_where_the_long_one_does(first: Receipt) -> None:
    assert advance(None, first, NOW_MS) == lifecycle._step(None, first, NOW_MS)

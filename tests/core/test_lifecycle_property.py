"""Order independence: receipts that are repeated, shuffled and early lead to the same states and the same events.

"The same events" means the same set of event ids; "the same states" compares whole rows, and the suppressions.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.core.event import BounceType
from streams.core.ids import message_id, recipient_key
from streams.core.lifecycle import TRANSITIONS, advance
from streams.core.message_state import MAX_SEEN, MessageState
from streams.core.receipt import Receipt, ReceiptKind
from streams.core.suppression import Suppression, fold
from tests.core.receipts import BY_DISPATCH, NOW_MS, facts, receipt, run

K = ReceiptKind
REPORTS = frozenset(K) - BY_DISPATCH - {K.CONFLICT, K.SUPPRESS, K.UNSUPPRESS}
HAND_OVER = frozenset({K.SENT, K.RETRY, K.UNCERTAIN, K.REJECTED, K.FAILED})

World = tuple[dict[str, MessageState], set[str], dict[str, Suppression]]
"""What a run leaves behind: a row per message, the ids of all events, a row per suppressed address."""


def world_after(receipts: Iterable[Receipt]) -> World:
    states: dict[str, MessageState] = {}
    ids: set[str] = set()
    suppressed: dict[str, Suppression] = {}
    published: dict[str, int] = defaultdict(int)
    for one in receipts:
        step = advance(states.get(one.message_id), one, NOW_MS)
        if step.state is not None:
            states[one.message_id] = step.state
        for event in step.events:
            published[event.event_id] += 1
            ids.add(event.event_id)
        for change in step.suppressions:
            suppressed[change.recipient_key] = fold(suppressed.get(change.recipient_key), change)
    assert all(times == 1 for times in published.values()), "an event was published twice"
    return states, ids, suppressed


def disordered(receipts: list[Receipt], chance: random.Random, copies: int) -> list[Receipt]:
    """Every receipt 1 to ``copies`` times, in any order: so a provider's word often precedes dispatch's own."""
    arrived = [one for one in receipts for _ in range(chance.randint(1, copies))]
    chance.shuffle(arrived)
    return arrived


# ----------------------------------------------------------------------------------- 5,000 receipts of real lives


def life(number: int, chance: random.Random) -> list[Receipt]:
    """One message's receipts in order: a walk along the transitions, with opens, doubts and conflicts on the way."""
    mid = message_id("acme", f"order-{number}", recipient_key("acme", f"user{number}@example.com"))
    told = facts(retry_final=chance.random() < 0.5)
    status, attempt, receipts = None, 0, []
    seen: set[tuple[ReceiptKind, int]] = set()
    for step in range(chance.randint(1, 14)):
        kind = chance.choice(sorted(TRANSITIONS[status]) or [K.OPENED])
        aside = chance.random()
        if attempt and aside < 0.3:
            kind = chance.choice([K.OPENED, K.CLICKED, K.UNSUBSCRIBED, K.PROVIDER_SENT, K.PROBE, K.CONFLICT])
        elif kind in HAND_OVER:
            attempt += 1
        once = kind in (K.OPENED, K.CLICKED)
        if not once and (kind, attempt) in seen:
            continue
        seen.add((kind, attempt))
        receipts.append(
            receipt(
                kind,
                attempt if chance.random() < 0.95 or kind in BY_DISPATCH else 0,
                at_s=step * 10,
                message_id=mid,
                receipt_id=f"{kind}:{attempt}:{step if once else ''}",
                facts=told if kind in BY_DISPATCH | {K.CONFLICT} else None,
                suppress=kind in (K.BOUNCED, K.COMPLAINED, K.UNSUBSCRIBED),
                bounce_type=chance.choice(list(BounceType)) if kind is K.BOUNCED else None,
            )
        )
        status = TRANSITIONS[status].get(kind, status)
    return receipts


def lives(seed: int, least: int) -> list[Receipt]:
    chance = random.Random(seed)
    receipts: list[Receipt] = []
    number = 0
    while len(receipts) < least:
        receipts += life(number, chance)
        number += 1
    return receipts


@pytest.mark.timeout(180)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_5000_receipts_repeated_shuffled_and_early_give_the_same_states_and_events_as_in_order(seed: int) -> None:
    in_order = lives(seed, least=5_000)
    assert len(in_order) >= 5_000
    expected = world_after(in_order)
    arrived = disordered(in_order, random.Random(seed + 1), copies=5)
    first_kind = {one.message_id: one.kind for one in reversed(arrived)}
    assert any(kind in REPORTS for kind in first_kind.values()), "some must be early"
    assert world_after(arrived) == expected
    assert world_after(reversed(in_order)) == expected


def test_the_lives_above_see_every_status_double_sends_and_suppressions() -> None:
    states, ids, suppressed = world_after(lives(1, least=20_000))
    assert {state.status for state in states.values()} == {s for s in TRANSITIONS if s is not None}
    assert any(state.double_sends for state in states.values())
    assert suppressed
    assert len(ids) > len(states)


# --------------------------------------------------------------------------------------- any receipts whatsoever

MESSAGE_KINDS = [k for k in K if k not in (K.SUPPRESS, K.UNSUPPRESS)]


@st.composite
def any_receipt(draw: st.DrawFn) -> Receipt:
    kind = draw(st.sampled_from(MESSAGE_KINDS))
    attempt = draw(st.integers(0, 3))
    theirs = draw(st.sampled_from(["", "a", "b"]))
    at_s = draw(st.integers(0, 5))
    given_facts = draw(
        st.sampled_from([None, facts(), facts(True), facts(accepted_ms=0), facts(accepted_ms=NOW_MS + 1)])
    )
    return receipt(
        kind,
        attempt,
        at_s,
        provider=draw(st.sampled_from(["", "mailgun", "ses"])),
        provider_message_id=theirs,
        receipt_id=f"{kind}:{attempt}:{theirs}:{at_s}:{draw(st.integers(0, 1))}",
        facts=given_facts if kind in BY_DISPATCH | {K.CONFLICT} else None,
        bounce_type=draw(st.sampled_from([None, *BounceType])) if kind is K.BOUNCED else None,
        suppress=kind in REPORTS and draw(st.booleans()),
    )


@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_any_set_of_receipts_gives_the_same_state_and_events_in_any_order(data: st.DataObject) -> None:
    receipts = data.draw(st.lists(any_receipt(), max_size=MAX_SEEN // 2, unique_by=lambda r: r.receipt_id))
    repeated = data.draw(st.lists(st.sampled_from(receipts))) if receipts else []
    shuffled = data.draw(st.permutations(receipts + repeated))
    assert world_after(shuffled) == world_after(receipts)


@settings(max_examples=300, deadline=None)
@given(receipts=st.lists(any_receipt(), max_size=20, unique_by=lambda r: r.receipt_id), cut=st.integers(0, 20))
def test_a_crash_after_the_events_but_before_the_state_repeats_the_same_events(
    receipts: list[Receipt], cut: int
) -> None:
    kept, _ = run(receipts[:cut])
    _, first = run(receipts[cut:], kept)
    _, again = run(receipts[cut:], kept)
    assert [e.event_id for s in first for e in s.events] == [e.event_id for s in again for e in s.events]

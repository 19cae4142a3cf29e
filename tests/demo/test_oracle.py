"""The demo's oracle finds whatever differs between plan, ledger and events."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams.core.event import EventType
from streams.demo.oracle import Accepted, Event, Reported, Verdict, judge
from streams.demo.plan import Plan

PLAN = Plan(
    ends={"one": (EventType.DELIVERED,), "two": (EventType.BOUNCED,), "none": (EventType.SUPPRESSED,)},
    sent=frozenset({"one", "two"}),
    subjects={"two": "Grüße"},
)
ACCEPTED = [Accepted("mailgun", "one"), Accepted("ses", "two", "Grüße")]
REPORTED = [
    Reported("mailgun", "one", "accepted", "m1", delivered=True),
    Reported("mailgun", "one", "delivered", "m2", delivered=True),
    Reported("ses", "two", "Send", "s1", delivered=True),
    Reported("ses", "two", "Bounce", "s2", delivered=True),
]
EVENTS = [
    Event("e1", "one", "message.accepted", "", "accepted"),
    Event("e2", "one", "message.sent", "mailgun", "sent"),
    Event("e3", "one", "message.delivered", "mailgun", "delivered"),
    Event("e4", "two", "message.accepted", "", "accepted"),
    Event("e5", "two", "message.deferred", "mailgun", "deferred", retry_at_ms=1),
    Event("e6", "two", "message.sent", "ses", "sent"),
    Event("e7", "two", "message.bounced", "ses", "bounced"),
    Event("e8", "none", "message.accepted", "", "accepted"),
    Event("e9", "none", "message.suppressed", "", "suppressed"),
]


def verdict(
    accepted: list[Accepted] = ACCEPTED, reported: list[Reported] = REPORTED, events: list[Event] = EVENTS
) -> Verdict:
    return judge(PLAN, accepted, reported, events)


def test_what_is_equal_is_equal() -> None:
    found = verdict()
    assert found.equal, found.differences
    assert found.by_provider == {"mailgun": 1, "ses": 1}
    assert found.events["message.accepted"] == 3


@pytest.mark.parametrize(
    "missing", [1, 2, 5, 6, 8], ids=lambda index: f"{EVENTS[index].type} {EVENTS[index].message_id}"
)
def test_a_missing_event_is_lost(missing: int) -> None:
    found = verdict(events=[event for index, event in enumerate(EVENTS) if index != missing])
    assert (found.lost, found.duplicated) == (1, 0)
    assert EVENTS[missing].message_id in found.differences[0]


@pytest.mark.parametrize("twice", [1, 2, 6, 8])
def test_an_event_with_another_id_is_duplicated(twice: int) -> None:
    found = verdict(events=[*EVENTS, replace(EVENTS[twice], event_id="other")])
    assert (found.lost, found.duplicated) == (0, 1)


def test_the_same_event_id_twice_is_duplicated() -> None:
    assert verdict(events=[*EVENTS, EVENTS[0]]).duplicated == 1


def test_a_message_that_a_provider_took_twice_is_duplicated() -> None:
    assert verdict(accepted=[*ACCEPTED, Accepted("ses", "one")]).duplicated == 1


def test_a_message_that_no_provider_took_is_lost() -> None:
    assert verdict(accepted=ACCEPTED[:1], reported=REPORTED[:2], events=EVENTS[:4] + EVENTS[7:]).lost == 1


def test_a_message_that_nobody_planned_is_noticed() -> None:
    stranger = Event("e0", "stranger", "message.delivered", "ses", "delivered")
    assert not verdict(events=[*EVENTS, stranger]).equal


def test_a_webhook_posted_twice_counts_once() -> None:
    assert verdict(reported=[*REPORTED, REPORTED[1]]).equal


def test_a_message_in_a_language_that_is_not_its_recipients_is_noticed() -> None:
    found = verdict(accepted=[ACCEPTED[0], Accepted("ses", "two", "Greetings {{ name }}")])
    assert (found.lost, found.duplicated) == (1, 0)
    assert "language" in found.differences[0]


def test_what_a_reader_did_must_be_told_once_however_often_it_was_done() -> None:
    opened = Event("e10", "one", "message.opened", "mailgun", "delivered")
    visits = [Reported("reader", "one", "pixel", "one pixel", delivered=True)] * 2
    plan = replace(PLAN, ends={**PLAN.ends, "one": (EventType.DELIVERED, EventType.OPENED)})
    assert judge(plan, ACCEPTED, [*REPORTED, *visits], [*EVENTS, opened]).equal
    assert judge(plan, ACCEPTED, [*REPORTED, *visits], EVENTS).lost == 1
    again = replace(opened, event_id="e11")
    assert judge(plan, ACCEPTED, [*REPORTED, *visits], [*EVENTS, opened, again]).duplicated == 1

"""The demo's plan: seeded, exact in its counts, and complete in its fates."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.event import EventType
from streams.core.ids import is_message_id
from streams.demo.plan import ENDS, make_plan
from streams.sandbox.outcomes import Outcome, plan
from streams.serde.records import decode, encode


@settings(deadline=None, max_examples=30)
@given(st.integers(40, 3000), st.integers(0, 1000))
def test_a_plan_has_exactly_the_messages_asked_for(messages: int, seed: int) -> None:
    made = make_plan(messages, seed, "run")
    assert made.messages == messages
    assert all(is_message_id(identity) for identity in made.ends)
    asked = {
        identity
        for request in (*made.before, *made.during, *made.afterwards, *made.follow_ups)
        for identity in request.message_ids
    }
    assert asked == set(made.ends)
    assert made.before
    assert made.during
    assert made.afterwards


def test_the_same_seed_gives_the_same_plan() -> None:
    assert make_plan(200, 7, "run") == make_plan(200, 7, "run")
    assert make_plan(200, 7, "run") != make_plan(200, 8, "run")


def test_every_kind_of_end_is_planned() -> None:
    kinds = {kind for ends in make_plan(200, 1, "run").ends.values() for kind in ends}
    assert kinds == {
        EventType.DELIVERED,
        EventType.BOUNCED,
        EventType.DEFERRED,
        EventType.COMPLAINED,
        EventType.OPENED,
        EventType.CLICKED,
        EventType.UNSUBSCRIBED,
        EventType.REJECTED,
        EventType.SUPPRESSED,
    }


def test_every_request_fits_the_public_schema() -> None:
    made = make_plan(300, 1, "run")
    for request in (*made.before, *made.follow_ups):
        assert isinstance(decode("SendRequest", encode("SendRequest", request.body)), dict)


@pytest.mark.parametrize("provider", ["mailgun", "ses"])
@pytest.mark.parametrize("fate", sorted(ENDS))
def test_planned_ends_are_what_the_sandbox_reports(provider: str, fate: str) -> None:
    from streams.demo.oracle import MEANING

    reported = [MEANING[name] for name in plan(provider, Outcome(fate)).events]
    assert tuple(kind for kind in reported if kind is not None) == ENDS[fate]

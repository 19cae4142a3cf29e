"""The demo's plan: seeded, exact in its counts, and complete in its ways and fates."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.event import EventType
from streams.core.ids import is_message_id
from streams.demo.fates import ENDS, UNUSABLE_AFTER, Route, mixture
from streams.demo.mail import LANGUAGES, templates
from streams.demo.oracle import MEANING
from streams.demo.plan import LEAST, make_plan
from streams.sandbox.directmail_config import NoticeForm
from streams.sandbox.directmail_events import plan as directmail_plan
from streams.sandbox.outcomes import Outcome, plan
from streams.sandbox.smtp_reports import smtp_plan
from streams.serde.records import decode, encode


@settings(deadline=None, max_examples=30)
@given(st.integers(LEAST, 4000), st.integers(0, 1000))
def test_a_plan_has_exactly_the_messages_asked_for(messages: int, seed: int) -> None:
    made = make_plan(messages, seed, "run")
    assert made.messages == messages
    assert all(is_message_id(identity) for identity in made.ends)
    assert {identity for request in made.requests() for identity in request.message_ids} == set(made.ends)
    assert all((made.before, made.alone, made.beside, made.campaign, made.during, made.afterwards, made.follow_ups))


def test_the_same_seed_gives_the_same_plan() -> None:
    assert make_plan(200, 7, "run") == make_plan(200, 7, "run")
    assert make_plan(200, 7, "run") != make_plan(200, 8, "run")


def test_the_usual_plan_has_a_campaign_of_a_thousand_in_three_languages() -> None:
    made = make_plan(2500, 1, "run")
    (campaign,) = made.campaign
    assert len(campaign.message_ids) == 1000
    languages = Counter(recipient["data"]["locale"] for recipient in campaign.body["recipients"])
    assert set(languages) == set(LANGUAGES) and min(languages.values()) >= 333
    assert {made.subjects[identity].partition("Reader")[0] for identity in campaign.message_ids} == {
        "October news for ", "Grüße an ", "Olá ",
    }  # fmt: skip


def test_every_way_and_every_kind_of_end_is_planned() -> None:
    made = make_plan(300, 1, "run")
    assert {kind for ends in made.ends.values() for kind in ends} == {
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
    certain = {(route, fate) for route, fates in ENDS.items() for fate in fates}
    assert set(mixture(200, Random(1), unusable=8)) == certain


def test_what_is_sent_during_the_outage_has_another_way_out() -> None:
    made = make_plan(600, 3, "run")
    for request in made.during:
        assert "digest" not in request.body["tags"]
        assert all(person["email"].endswith("@mail.example.net") for person in request.body["recipients"])


def test_follow_ups_go_to_unusable_addresses_of_every_way() -> None:
    made = make_plan(300, 1, "run")
    fates = {request.routing_key.partition("+")[0] for request in made.follow_ups}
    assert fates == {fate for _, fate in UNUSABLE_AFTER}
    assert {made.ends[request.message_ids[0]] for request in made.follow_ups} == {(EventType.SUPPRESSED,)}


def test_every_request_and_template_fits_the_public_schema() -> None:
    for request in make_plan(300, 1, "run").requests():
        assert isinstance(decode("SendRequest", encode("SendRequest", request.body)), dict)
    for template in templates():
        assert isinstance(decode("Template", encode("Template", template)), dict)


VISITS = {"open": ("pixel",), "click": ("pixel", "link"), "unsubscribe": ("one-click",)}


@pytest.mark.parametrize(
    ("provider", "route"),
    [("mailgun", Route.BOTH), ("ses", Route.BOTH), ("smtp", Route.SMTP), ("directmail", Route.DIRECTMAIL)],
)
def test_planned_ends_are_what_the_sandbox_reports_and_the_reader_does(provider: str, route: Route) -> None:
    for fate, ends in ENDS[route].items():
        outcome = Outcome(fate)
        match provider:
            case "smtp":
                names = [*smtp_plan(outcome).events, *VISITS.get(fate, ())]
            case "directmail":
                names = list(directmail_plan(outcome, NoticeForm.CLASSIC).events)
            case _:
                names = list(plan(provider, outcome).events)
        assert tuple(kind for kind in (MEANING[name] for name in names) if kind is not None) == ends, fate

"""From a visit's record to a sighting: who, what, when, told once; and nothing for what nobody sealed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.event import Automated, Reason, ReasonKind
from streams.core.receipt import ReceiptKind
from streams.providers.base import Reading, Sighting, Unreadable
from streams.tracking.automation import Networks
from streams.tracking.facts import Fact, TrackingReader, decode_fact
from streams.tracking.tokens import Purpose, binder_of, seal_link, seal_origin
from tests.tracking.origins import FOREIGN, MESSAGE_ID, NEW, NOW_MS, OLD, origin, ring

URL = "https://shop.example.com/sale?x=1"
CHROME = "Mozilla/5.0 (Windows NT 10.0) Chrome/124.0 Safari/537.36"
DAY = 86_400_000
BINDER = binder_of("campaign")
OPEN = seal_origin(ring(), Purpose.OPEN, origin(attempt=3))
CLICK = f"{seal_origin(ring(), Purpose.CLICK, origin(content=BINDER))}.{seal_link(ring(), URL, BINDER)}"
LEAVE = seal_origin(ring(), Purpose.UNSUBSCRIBE, origin(list_id="news"))


def reader(*secrets: bytes) -> TrackingReader:
    return TrackingReader(ring(*secrets), Networks(), 30 * DAY)


def read(fact: Fact) -> Sighting:
    reading = reader().read_events(fact.encoded(), fact.at_ms)
    assert isinstance(reading, Reading), reading
    (sighting,) = reading.sightings
    return sighting


def visit(purpose: Purpose = Purpose.OPEN, token: str = OPEN, after_ms: int = 60_000, **fields: object) -> Fact:
    return Fact(purpose, token, NOW_MS + after_ms, "203.0.113.7", CHROME, **fields)  # type: ignore[arg-type]


def test_a_pixel_is_an_open_of_the_attempt_that_carried_it() -> None:
    seen = read(visit())
    assert (seen.kind, seen.message_id, seen.attempt, seen.provider) == (ReceiptKind.OPENED, MESSAGE_ID, 3, "mailgun")
    assert (seen.ip, seen.user_agent, seen.occurred_ms) == ("203.0.113.7", CHROME, NOW_MS + 60_000)
    assert seen.automated is Automated.NONE
    assert not seen.suppress


def test_a_link_is_a_click_with_its_url() -> None:
    seen = read(visit(Purpose.CLICK, CLICK))
    assert (seen.kind, seen.url, seen.automated) == (ReceiptKind.CLICKED, URL, Automated.NONE)


def test_the_time_since_the_hand_over_and_the_way_of_asking_label_a_visit() -> None:
    assert read(visit(Purpose.CLICK, CLICK, after_ms=500)).automated is Automated.SCANNER
    assert read(visit(Purpose.CLICK, CLICK, head=True)).automated is Automated.SCANNER
    assert read(visit(Purpose.CLICK, CLICK, links=5)).automated is Automated.SCANNER
    assert read(visit(prefetch=True)).automated is Automated.PROXY


def test_an_unsubscription_names_its_list_and_makes_the_address_unusable() -> None:
    seen = read(visit(Purpose.UNSUBSCRIBE, LEAVE, one_click=True))
    assert seen.kind is ReceiptKind.UNSUBSCRIBED
    assert seen.suppress
    assert seen.reason == Reason(
        ReasonKind.UNSUBSCRIBE, "list:news", detail="unsubscribed by the mail provider's one-click button"
    )


def test_an_unsubscription_without_a_list_concerns_the_tenant() -> None:
    seen = read(visit(Purpose.UNSUBSCRIBE, seal_origin(ring(), Purpose.UNSUBSCRIBE, origin())))
    assert seen.reason == Reason(ReasonKind.UNSUBSCRIBE, "", detail="unsubscribed on our page")


class TestRepeats:
    def test_the_same_record_again_is_the_same_sighting(self) -> None:
        assert read(visit()).sighting_id == read(visit()).sighting_id

    def test_one_visitor_within_half_a_minute_is_told_once_and_later_again(self) -> None:
        start = 30_000 - NOW_MS % 30_000
        first, again, later = (read(visit(after_ms=start + ms)).sighting_id for ms in (0, 29_999, 30_000))
        assert first == again != later

    def test_other_visitors_links_and_ways_are_other_sightings(self) -> None:
        where = seal_link(ring(), URL + "2", BINDER)
        other = f"{CLICK.partition('.')[0]}.{where}"
        facts = [
            visit(Purpose.CLICK, CLICK),
            visit(Purpose.CLICK, other),
            visit(Purpose.CLICK, CLICK, head=True),
            Fact(Purpose.CLICK, CLICK, NOW_MS + 60_000, "203.0.113.8", CHROME),
            Fact(Purpose.CLICK, CLICK, NOW_MS + 60_000, "203.0.113.7", "another"),
            visit(),
        ]
        assert len({read(fact).sighting_id for fact in facts}) == len(facts)

    def test_an_unsubscription_is_one_for_ever_and_per_list(self) -> None:
        once = read(visit(Purpose.UNSUBSCRIBE, LEAVE)).sighting_id
        assert read(visit(Purpose.UNSUBSCRIBE, LEAVE, after_ms=90 * DAY, one_click=True)).sighting_id == once
        other = seal_origin(ring(), Purpose.UNSUBSCRIBE, origin(list_id="offers"))
        assert read(visit(Purpose.UNSUBSCRIBE, other)).sighting_id != once


class TestExpiry:
    @pytest.mark.parametrize(("purpose", "token"), [(Purpose.OPEN, OPEN), (Purpose.CLICK, CLICK)])
    def test_visits_of_messages_that_are_forgotten_are_not_told(self, purpose: Purpose, token: str) -> None:
        for after_ms, told in ((30 * DAY, 1), (30 * DAY + 1, 0)):
            reading = reader().read_events(visit(purpose, token, after_ms).encoded(), NOW_MS)
            assert isinstance(reading, Reading)
            assert len(reading.sightings) == told

    def test_an_unsubscription_is_told_however_old_the_mail(self) -> None:
        assert read(visit(Purpose.UNSUBSCRIBE, LEAVE, after_ms=3_650 * DAY)).suppress


class TestNotOurs:
    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b"\xff",
            b"[]",
            b"null",
            b"[" * 100_000,
            b"{}",
            json.dumps({"kind": "x", "token": OPEN, "at": 1}).encode(),
            json.dumps({"kind": "o", "token": 7, "at": 1}).encode(),
            json.dumps({"kind": "o", "token": OPEN, "at": "1"}).encode(),
            json.dumps({"kind": "o", "token": OPEN, "at": True}).encode(),
            json.dumps({"kind": "o", "token": OPEN[:-1], "at": NOW_MS}).encode(),
            json.dumps({"kind": "u", "token": OPEN, "at": NOW_MS}).encode(),
            json.dumps({"kind": "c", "token": OPEN, "at": NOW_MS}).encode(),
            json.dumps(
                {"kind": "o", "token": seal_origin(ring(FOREIGN), Purpose.OPEN, origin()), "at": NOW_MS}
            ).encode(),
        ],
    )
    def test_what_nobody_of_us_sealed_is_unreadable(self, payload: bytes) -> None:
        assert isinstance(reader().read_events(payload, NOW_MS), Unreadable)

    def test_during_a_rotation_both_keys_are_read(self) -> None:
        for secret in (OLD, NEW):
            fact = visit(token=seal_origin(ring(secret), Purpose.OPEN, origin()))
            assert isinstance(reader(NEW, OLD).read_events(fact.encoded(), NOW_MS), Reading)

    @given(st.binary(max_size=200) | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["kind", "token", "at", "ip", "ua", "links", "o"]), x)).map(lambda v: json.dumps(v).encode()))  # fmt: skip
    def test_no_payload_raises(self, payload: bytes) -> None:
        assert isinstance(reader().read_events(payload, NOW_MS), Unreadable)


FACTS = st.builds(
    Fact,
    st.sampled_from(tuple(Purpose)),
    st.text(max_size=50),
    st.integers(0, 1 << 50),
    st.text(max_size=50),
    st.text(max_size=100),
    st.booleans(),
    st.booleans(),
    st.integers(1, 99),
    st.booleans(),
)


@given(FACTS)
def test_a_fact_comes_out_as_it_went_in(fact: Fact) -> None:
    assert decode_fact(fact.encoded()) == fact

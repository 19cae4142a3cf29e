"""Retry delays, token buckets, routing: small functions of numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.limits import TokenBucket
from streams.core.message import Content, Mailbox, Message, Stream
from streams.core.retry import POLICIES, RetryKind, RetryPolicy, delay_s, next_due_ms
from streams.core.routing import RouteRule, route


def message(**kwargs: object) -> Message:
    fields: dict[str, object] = {
        "message_id": "a" * 20 + "-" + "b" * 20,
        "tenant": "acme",
        "stream": Stream.TRANSACTIONAL,
        "idempotency_key": "k",
        "recipient": Mailbox("u@example.net"),
        "content_hash": "h",
        "fingerprint": "f",
        "requested_ms": 0,
        "accepted_ms": 0,
        "content": Content(Mailbox("a@example.com"), "hi", "text"),
    } | kwargs
    return Message(**fields)  # type: ignore[arg-type]


def test_the_cubed_policy_waits_8_27_64_and_125_minutes_and_then_stops() -> None:
    waits = [delay_s(POLICIES["cubed"], tries, 0.0) for tries in range(1, 6)]
    assert waits == [8 * 60, 27 * 60, 64 * 60, 125 * 60, None]


def test_the_exponential_policy_waits_4_16_64_and_256_minutes_and_then_stops() -> None:
    waits = [delay_s(POLICIES["exponential"], tries, 0.0) for tries in range(1, 6)]
    assert waits == [4 * 60, 16 * 60, 64 * 60, 256 * 60, None]


def test_the_policy_none_never_tries_again() -> None:
    assert delay_s(POLICIES["none"], 1, 0.5) is None


def test_unit_factor_and_cap_are_the_policys_own() -> None:
    exponential = RetryPolicy(RetryKind.EXPONENTIAL, max_tries=9, unit_s=10, factor=2, cap_s=100)
    assert [delay_s(exponential, tries, 0.0) for tries in (1, 2, 3, 4)] == [20, 40, 80, 100]
    assert delay_s(RetryPolicy(RetryKind.CUBED, unit_s=1), 1, 0.0) == 8


@given(tries=st.integers(1, 7), jitter=st.floats(0, 0.999))
def test_backoff_stays_below_its_cap_and_its_doubling(tries: int, jitter: float) -> None:
    policy = RetryPolicy(RetryKind.BACKOFF, max_tries=8, base_s=2, cap_s=60)
    wait = delay_s(policy, tries, jitter)
    assert wait is not None
    assert 0 <= wait <= min(60, 2 * 2**tries)


def test_retry_after_is_a_floor_and_expiry_a_ceiling() -> None:
    policy = POLICIES["backoff"]
    assert next_due_ms(policy, tries=1, now_ms=0, jitter=0.0, retry_after_s=90) == 90_000
    assert next_due_ms(policy, tries=1, now_ms=0, jitter=0.0, retry_after_s=90, expires_at_ms=90_000) is None


def test_a_new_share_starts_empty_and_fills_at_its_rate() -> None:
    bucket = TokenBucket(rate=10, burst=10, now_ms=0)
    assert bucket.take(1, 0) == pytest.approx(0.1)
    assert bucket.take(1, 100) == 0.0
    assert bucket.take(1, 100) > 0


def test_a_batch_above_the_burst_is_granted_when_the_bucket_is_full_and_leaves_a_debt() -> None:
    bucket = TokenBucket(rate=10, burst=10, now_ms=0)
    assert bucket.take(50, 1_000) == 0.0
    assert bucket.take(1, 2_000) > 0
    assert bucket.take(1, 6_000) == 0.0


def test_resharing_grants_nothing() -> None:
    bucket = TokenBucket(rate=10, burst=10, now_ms=0)
    bucket.reshare(100, 100, 0)
    assert bucket.available(0) == 0
    bucket.reshare(1, 1, 10_000)
    assert bucket.available(10_000) == 1


def test_a_bucket_without_a_rate_never_makes_anybody_wait() -> None:
    assert TokenBucket(0, 0, 0).take(10_000, 0) == 0.0


def test_the_first_rule_that_matches_decides_and_the_default_is_last() -> None:
    rules = (
        RouteRule(("ses",), domain="example.org"),
        RouteRule(("mailgun", "ses"), tag="news"),
        RouteRule(("ses", "mailgun"), stream="bulk"),
    )
    assert route(message(), rules, ("default",)) == ("default",)
    assert route(message(recipient=Mailbox("x@EXAMPLE.org"), tags=("news",)), rules, ()) == ("ses",)
    assert route(message(tags=("news",)), rules, ()) == ("mailgun", "ses")
    assert route(message(stream=Stream.BULK), rules, ()) == ("ses", "mailgun")


def test_a_rule_may_name_all_domains_below_one() -> None:
    rules = (RouteRule(("ses",), domain="*.example.org"),)
    assert route(message(recipient=Mailbox("x@mail.example.org")), rules, ()) == ("ses",)
    assert route(message(recipient=Mailbox("x@example.org")), rules, ()) == ()
    assert route(message(recipient=Mailbox("x@notexample.org")), rules, ()) == ()


def test_a_provider_named_by_the_request_stands_alone() -> None:
    assert route(message(provider="ses"), (RouteRule(("mailgun",)),), ("mailgun",)) == ("ses",)


def test_weights_divide_the_messages_and_the_draw_is_repeatable() -> None:
    rule = RouteRule(("mailgun", "ses"), weights={"mailgun": 3, "ses": 1})
    messages = [message(message_id=f"{n:020d}-{n:020d}") for n in range(4_000)]
    first = [route(m, (rule,), ())[0] for m in messages]
    assert first == [route(m, (rule,), ())[0] for m in messages]
    assert 0.7 < first.count("mailgun") / len(first) < 0.8
    assert {len(route(m, (rule,), ())) for m in messages[:50]} == {2}

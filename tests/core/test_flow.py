"""Pure rules of flow: accounts, warm-up, turns, the way back after an outage, routes."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.accounts import Account, account_of, forbidden
from streams.core.limits import Turns
from streams.core.message import Mailbox, Message, Stream
from streams.core.routing import RouteRule, is_within, ramp_share, route
from streams.core.tenant import Tenant
from streams.core.warm_up import WarmUp, day_of, next_day_ms

DAY_MS = 86_400_000
START = (date(2026, 11, 1) - date(1970, 1, 1)).days
NOON = START * DAY_MS + DAY_MS // 2


# ---------------------------------------------------------------------------------------------- accounts


def own(**settings: str) -> Account:
    return account_of(Tenant("acme", account_settings={"mailgun": settings}), "mailgun")


def test_a_tenant_without_a_record_or_an_account_takes_the_providers_own() -> None:
    assert account_of(None, "mailgun").lane == account_of(Tenant("acme"), "mailgun").lane == "mailgun"


def test_a_configured_account_goes_by_its_name() -> None:
    assert account_of(Tenant("acme", accounts={"mailgun": "shop"}), "mailgun").lane == "mailgun/shop"
    assert account_of(Tenant("acme", accounts={"mailgun": "shop"}), "ses").lane == "ses"


def test_another_secret_or_limit_is_the_same_account_and_another_domain_is_another() -> None:
    before = own(domain="a.example", api_key="env:TENANT_A")
    assert before.lane == own(domain="a.example", api_key="env:TENANT_B").lane
    assert before.lane == own(domain="a.example", api_key="env:TENANT_A", rate="5").lane
    assert before.lane != own(domain="b.example", api_key="env:TENANT_A").lane
    assert before.lane.startswith("mailgun/@acme-")


@pytest.mark.parametrize(
    "reference",
    ["env:HOME", "env:STREAMS_KAFKA_SASL_PASSWORD", "file:/etc/shadow", "file:/run/secrets/tenants/../kafka",
     "file:/run/secrets/tenantsx", "file:run/secrets/tenants/a", "aws-secretsmanager:prod/kafka"],
)  # fmt: skip
def test_a_tenants_record_cannot_refer_to_secrets_of_others(reference: str) -> None:
    allowed = ("env:TENANT_", "file:/run/secrets/tenants/", "aws-secretsmanager:tenants/")
    assert "api_key" in forbidden(own(api_key=reference), allowed)
    assert forbidden(own(api_key="file:/run/secrets/tenants/a/../b"), allowed) == ""


@pytest.mark.parametrize(
    "text",
    ["file:/run/secrets/tenants/a,file:/etc/shadow", "file:/run/secrets/tenants/a, env:HOME", ",env:HOME", " env:HOME",
     '["env:HOME"]', ' ["file:/run/secrets/tenants/a", "env:HOME"]', '{"a": "env:HOME"}', '[["env:HOME"]]',
     '["env:TENANT_A,env:HOME"]'],
)  # fmt: skip
def test_a_list_of_references_is_judged_item_by_item_however_it_is_written(text: str) -> None:
    allowed = ("env:TENANT_", "file:/run/secrets/tenants/")
    assert "signing_keys" in forbidden(own(signing_keys=text), allowed)
    assert forbidden(own(signing_keys='["env:TENANT_A", "file:/run/secrets/tenants/b"]'), allowed) == ""
    assert forbidden(own(signing_keys="env:TENANT_A,file:/run/secrets/tenants/b"), allowed) == ""


@given(st.text(max_size=60) | st.integers(0, 100_000).map(lambda n: "[" * n))
def test_no_setting_of_a_tenant_is_more_than_forbidden(text: str) -> None:
    forbidden(own(signing_keys=text, base_url=text, ca_file=text), ("env:TENANT_",), ("*.example.com",))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("base_url", "http://169.254.169.254"), ("base_url", "https://evil.example"), ("host", "localhost"),
        ("host", "[::1]"), ("endpoint_url", "http://api.mailgun.net.evil.example"), ("host", "a.b.example.com"),
        ("base_url", "https://api.example.com@evil.example"), ("base_url", "https://evil.example/api.example.com"),
        ("host", "api.example.com\n"), ("sns_endpoint_url", "http://10.0.0.1:80"), ("server", "10.0.0.1"),
        ("ca_file", "/etc/shadow"), ("pinned_certificates", "/tmp"),
    ],
)  # fmt: skip
def test_a_tenants_record_names_no_host_and_no_file_that_is_not_allowed(key: str, value: str) -> None:
    assert key in forbidden(own(**{key: value}), (), ("*.example.com",))
    assert forbidden(own(**{key: value}), (), ("*.example.com",), {key: value}) == "", "it is the provider's own"


@pytest.mark.parametrize(
    "value", ["https://api.example.com", "API.example.com:8443", "http://api.example.com.:80/", ""]
)
def test_a_tenants_record_may_name_the_hosts_that_are_allowed(value: str) -> None:
    assert forbidden(own(base_url=value, push_path="/x", return_path="b@x.example"), (), ("*.example.com",)) == ""


# ---------------------------------------------------------------------------------------------- warm-up


def test_the_cap_of_a_warm_up_grows_from_day_to_day_until_there_is_none() -> None:
    plan = WarmUp(START, first=50, growth=2, days=5)
    assert [plan.cap(NOON + day * DAY_MS) for day in range(-1, 6)] == [0, 50, 100, 200, 400, 800, None]
    assert plan.cap(START * DAY_MS) == 50 and plan.cap((START + 1) * DAY_MS - 1) == 50
    assert next_day_ms(NOON) == (START + 1) * DAY_MS and day_of(NOON) == START


@pytest.mark.parametrize(("first", "growth"), [(50, 10.0), (10**400, 1.5), (10**400, 10)])
def test_no_plan_grows_beyond_what_can_be_counted(first: int, growth: float) -> None:
    plan = WarmUp(START, first=first, growth=growth, days=365)
    assert plan.cap(NOON + 364 * DAY_MS) == 10**12


@given(st.integers(1, 100_000), st.integers(1, 64))
def test_the_partitions_parts_add_up_to_the_cap(first: int, partitions: int) -> None:
    plan = WarmUp(START, first=first, growth=1, days=9)
    assert sum(plan.part(NOON, number, partitions) or 0 for number in range(partitions)) == first


# ---------------------------------------------------------------------------------------------- turns


def test_turns_come_at_an_even_pace_after_a_second_of_grace() -> None:
    turns = Turns(10)
    at_once = [turns.next_ms(NOON) for _ in range(11)]
    assert all(turn <= NOON for turn in at_once)
    assert [turns.next_ms(NOON) - NOON for _ in range(3)] == [100, 200, 300]
    assert turns.next_ms(NOON + 10_000) <= NOON + 10_000


# ---------------------------------------------------------------------------------------------- the way back


def test_a_share_grows_evenly_and_ends_with_everything() -> None:
    shares = [ramp_share(ms, 30) for ms in (0, 7_500, 15_000, 30_000, 10**9)]
    assert shares == [pytest.approx(0.05), pytest.approx(0.2875), pytest.approx(0.525), 1.0, 1.0]
    assert ramp_share(0, 0) == 1.0


@given(st.text(min_size=1, max_size=60), st.floats(0, 1), st.floats(0, 1))
def test_who_is_within_a_share_is_within_every_larger_one(message_id: str, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert is_within(large, message_id) or not is_within(small, message_id)


def test_a_share_is_a_share() -> None:
    assert sum(is_within(0.2, f"m{n}") for n in range(10_000)) == pytest.approx(2000, rel=0.1)


# ---------------------------------------------------------------------------------------------- routes


def message(number: int = 0, **fields: object) -> Message:
    values: dict[str, object] = {
        "message_id": f"m{number}",
        "tenant": "acme",
        "stream": Stream.BULK,
        "idempotency_key": "k",
        "recipient": Mailbox("u@mail.example.org"),
        "content_hash": "",
        "fingerprint": "",
        "requested_ms": 0,
        "accepted_ms": 0,
        "tags": ("news",),
    }
    return Message(**(values | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "applies"),
    [
        ({"tenant": "acme"}, True),
        ({"tenant": "other"}, False),
        ({"stream": "bulk"}, True),
        ({"stream": "transactional"}, False),
        ({"domain": "mail.example.org"}, True),
        ({"domain": "example.org"}, False),
        ({"domain": "*.example.org"}, True),
        ({"tag": "news"}, True),
        ({"tag": "alerts"}, False),
        ({"tenant": "acme", "stream": "bulk", "domain": "*.example.org", "tag": "news"}, True),
        ({"tenant": "acme", "stream": "bulk", "domain": "*.example.org", "tag": "alerts"}, False),
        ({}, True),
    ],
)
def test_a_rule_applies_if_everything_it_names_does(rule: dict[str, str], applies: bool) -> None:
    found = route(message(), [RouteRule(("ses", "mailgun"), **rule)], ("mailgun",))  # type: ignore[arg-type]
    assert found == (("ses", "mailgun") if applies else ("mailgun",))


def test_the_first_rule_that_applies_decides_and_a_named_provider_stands_alone() -> None:
    rules = [RouteRule(("a", "b"), tenant="acme"), RouteRule(("c",))]
    assert route(message(), rules, ()) == ("a", "b")
    assert route(message(tenant="x"), rules, ()) == ("c",)
    assert route(message(provider="z"), rules, ()) == ("z",)


def test_weights_draw_the_first_choice_and_leave_the_others_in_their_order() -> None:
    rules = [RouteRule(("a", "b", "c"), {"a": 70, "b": 30})]
    drawn = [route(message(n), rules, ()) for n in range(5000)]
    assert sum(found[0] == "a" for found in drawn) == pytest.approx(3500, rel=0.05)
    assert set(drawn) == {("a", "b", "c"), ("b", "a", "c")}
    assert drawn == [route(message(n), rules, ()) for n in range(5000)]

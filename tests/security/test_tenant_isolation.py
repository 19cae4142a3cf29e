"""What one tenant does or knows is nothing to another: ids, suppressions, copies of events, orders of a person."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core import ids
from streams.core.receipt import ReceiptKind
from streams.core.request_fields import is_name
from streams.topics import Topics, events_topic_fault
from tests.agents.test_intake import Desk, request
from tests.agents.test_track import Desk as TrackDesk
from tests.cli.conftest import Streams, kafka_settings, on_kafka, run_streams
from tests.cli.test_commands import identity_of, write_events
from tests.cli.test_failures import gave_up, retries
from tests.core.receipts import receipt

__all__ = ["kafka_settings", "on_kafka", "run_streams"]

NAMES = st.text("abcXYZ019._-", min_size=1, max_size=12).filter(lambda text: bool(is_name(text)))
KEYS = st.text(min_size=1, max_size=12).filter(lambda text: "\x1f" not in text)


@given(NAMES, NAMES, KEYS, KEYS, st.sampled_from(["ann@example.net", "a@b.example"]))
def test_no_message_of_two_tenants_has_one_id(one: str, other: str, key: str, other_key: str, address: str) -> None:
    """Not with the same key and address, nor with any other pair that reads alike when it is put together."""
    if one == other:
        return
    first = ids.message_id(one, key, ids.recipient_key(one, address))
    for theirs in (key, other_key, f"{one}{key}", key.removeprefix(other)):
        assert ids.message_id(other, theirs, ids.recipient_key(other, address)) != first
        assert ids.message_id(other, theirs, ids.recipient_key(one, address)) != first
    assert ids.recipient_key(one, address) != ids.recipient_key(other, address)


@given(NAMES, KEYS, st.binary(min_size=16, max_size=64))
def test_with_an_address_secret_nobody_else_can_compute_an_id(tenant: str, key: str, secret: bytes) -> None:
    address = "ann@example.net"
    known = ids.message_id(tenant, key, ids.recipient_key(tenant, address, secret))
    for guess in (b"", secret[:-1], secret + b"\1" if len(secret) < 64 else b"x", b"\0" * 16 if any(secret) else b"y"):
        assert ids.message_id(tenant, key, ids.recipient_key(tenant, address, guess)) != known


@pytest.mark.parametrize("field", ["message_id", "provider_message_id", "recipient_key", "account", "attempt"])
async def test_a_request_chooses_no_id_and_no_account(field: str) -> None:
    """A field that the schema does not have changes nothing: the id is made of tenant, key and address alone."""
    desk = Desk()
    theirs = ids.message_id("other", "k1", ids.recipient_key("other", "ann@example.com"))
    await desk.take(json.dumps(request("ann@example.com", tenant="acme", **{field: theirs})).encode())
    assert theirs not in {message.message_id for message in desk.messages()}
    assert {message.tenant for message in desk.messages()} <= {"acme"}


async def test_the_events_of_a_tenant_are_copied_to_its_own_topic_and_to_no_other() -> None:
    desk = TrackDesk(tenant_topics={"acme": "t.events.acme", "shop": "t.events.shop", "": "t.events.nobody"})
    await desk.take(receipt(ReceiptKind.SENT, 1), receipt(ReceiptKind.DELIVERED, 1, at_s=3))
    topics = {emitted.topic for emitted in desk.engine.emitted if emitted.topic.startswith("t.events")}
    assert topics == {"t.events.acme"}


@pytest.mark.parametrize(
    "name",
    [
        *(Topics("").name(known) for known in ("delivery-events", "outbound", "tenants", "receipts", "contents")),
        "webhooks.mailgun", "dead-letters", "audit-log", "controls", "breakers", "send-requests", "templates",
        "../x", "a b", "a\n", "", ".", "..", "x" * 250, "événements", "__consumer_offsets",
    ],
)  # fmt: skip
def test_no_tenants_copy_goes_to_a_topic_of_ours(name: str) -> None:
    assert not name or events_topic_fault(name)


def test_a_retry_for_one_tenant_sends_nothing_of_another(
    on_kafka: Streams, embedded_kafka: str, topic_prefix: str
) -> None:
    events = [
        *gave_up("ann", tenant="acme"),
        *gave_up("bob", tenant="shop"),
        *gave_up("eve", tenant="acme-2"),
        *gave_up("zoe", tenant="ACME"),
    ]
    write_events(embedded_kafka, topic_prefix, events)
    ran = on_kafka("retry", "--all", "--tenant", "acme", "--yes", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["message_ids"] == [identity_of("ann@example.net")]
    assert [identity for identity, _ in retries(embedded_kafka, topic_prefix)] == [identity_of("ann@example.net")]
    listed = on_kafka("failures", "--tenant", "acme", "--json").out
    for name in ("bob", "eve", "zoe"):
        assert identity_of(f"{name}@example.net") not in listed


@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_what_is_no_message_id_is_no_order(
    on_kafka: Streams, embedded_kafka: str, topic_prefix: str, command: str
) -> None:
    identity = identity_of("ann@example.net")
    write_events(embedded_kafka, topic_prefix, gave_up("ann"))
    for name in (
        identity.upper(),
        f"{identity} ",
        f"{identity}\n",
        identity[:-1],
        f"{identity[:20]}-*",
        "*",
        "%",
        "acme",
    ):
        assert on_kafka(command, name).code == 2, name
    assert retries(embedded_kafka, topic_prefix) == []

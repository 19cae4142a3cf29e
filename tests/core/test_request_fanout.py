"""The messages of a request: who gets one, what they share, and what makes two requests the same."""

from __future__ import annotations

from base64 import b32encode
from hashlib import blake2b
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from streams.core import ids
from streams.core.fanout import Fanout, content_of, messages_of, parts_of, share
from streams.core.message import Mailbox, Role, Template
from streams.core.request import SendRequest, read_request
from streams.core.tenant import Tenant
from streams.serde.internal import pack
from tests.core.test_request import request

encode = msgspec.msgpack.Encoder(order="deterministic").encode
TEMPLATE = Template("welcome", "1", "Hi {{ name }}")


def read(**fields: Any) -> SendRequest:
    found = read_request(request(**fields))
    assert isinstance(found, SendRequest)
    return found


def templated(**fields: Any) -> SendRequest:
    return read(subject="absent", text="absent", template_id="welcome", **fields)


def fan(request: SendRequest, template: Template | None = None, tenant: Tenant | None = None) -> Fanout:
    content = content_of(request, template, tenant)
    assert content is not None
    return messages_of(request, share(content, pack), encode, requested_ms=1, accepted_ms=2)


def emails(*given_: str) -> list[dict[str, str]]:
    return [{"email": email} for email in given_]


def test_rule_13_one_mailbox_is_one_message_however_it_is_written() -> None:
    found = fan(read(recipients=emails("Ann@Example.com", "b@example.com", "ann@EXAMPLE.com")))
    assert [m.recipient.email for m in found.messages] == ["Ann@Example.com", "b@example.com"]
    assert found.duplicates == 1


def test_rule_13_a_copy_to_the_recipient_is_no_second_message() -> None:
    found = fan(read(cc=emails("ANN@example.com", "c@example.com"), bcc=emails("c@example.com")))
    assert [(m.recipient.email, m.role) for m in found.messages] == [
        ("ann@example.com", Role.TO),
        ("c@example.com", Role.CC),
    ]
    assert found.duplicates == 2


def test_rule_16_a_blind_copy_is_in_no_visible_header() -> None:
    content = content_of(read(cc=emails("c@example.com"), bcc=emails("b@example.com")))
    assert content is not None
    assert (content.visible_to, content.visible_cc) == ((Mailbox("ann@example.com"),), (Mailbox("c@example.com"),))


def test_recipients_of_a_campaign_do_not_see_each_other() -> None:
    content = content_of(read(recipients=emails("a@example.com", "b@example.com")))
    assert content is not None
    assert (content.visible_to, content.visible_cc) == ((), ())


def test_the_message_id_depends_on_tenant_key_and_mailbox_alone() -> None:
    one, other = fan(read(text="A")).messages[0], fan(read(text="B")).messages[0]
    assert one.message_id == other.message_id
    assert ids.is_message_id(one.message_id)
    assert one.message_id != fan(read(tenant="acme")).messages[0].message_id
    assert one.message_id != fan(read(idempotency_key="2")).messages[0].message_id


def test_other_content_data_or_name_is_another_fingerprint_and_another_time_is_not() -> None:
    base = fan(templated(data={"a": 1}), TEMPLATE).messages[0].fingerprint
    assert fan(templated(data={"a": 2}), TEMPLATE).messages[0].fingerprint != base
    assert fan(templated(data={"a": 1}, tags=["x"]), TEMPLATE).messages[0].fingerprint != base
    named = [{"email": "ann@example.com", "name": "Ann"}]
    assert fan(templated(data={"a": 1}, recipients=named), TEMPLATE).messages[0].fingerprint != base
    assert fan(templated(data={"a": 1}, send_at=5), TEMPLATE).messages[0].fingerprint == base


def test_a_new_version_of_a_template_is_other_content_but_the_same_request() -> None:
    one, other = fan(templated(), TEMPLATE).messages[0], fan(templated(), Template("welcome", "2", "Hello")).messages[0]
    assert one.content_hash != other.content_hash
    assert one.fingerprint == other.fingerprint


def test_equal_mails_of_many_requests_share_their_content() -> None:
    one = fan(templated(idempotency_key="1", data={"name": "Ann"}), TEMPLATE).messages[0]
    other = fan(templated(idempotency_key="2", data={"name": "Bob"}), TEMPLATE).messages[0]
    assert one.content_hash == other.content_hash
    assert (one.data, other.data) == ({"name": "Ann"}, {"name": "Bob"})


def test_the_order_in_which_headers_and_data_are_written_makes_no_difference() -> None:
    one = fan(templated(headers={"X-A": "1", "X-B": "2"}, data={"a": 1, "b": 2}), TEMPLATE).messages[0]
    other = fan(templated(headers={"X-B": "2", "X-A": "1"}, data={"b": 2, "a": 1}), TEMPLATE).messages[0]
    assert one.fingerprint == other.fingerprint


def test_a_tenant_gives_what_the_request_leaves_open() -> None:
    tenant = Tenant("acme", Mailbox("acme@example.com"), (Mailbox("help@example.com"),), track_opens=True)
    content = content_of(read(**{"from": None}), None, tenant)
    assert content is not None
    assert (content.sender.email, content.reply_to, content.track_opens) == (
        "acme@example.com",
        (Mailbox("help@example.com"),),
        True,
    )
    own = content_of(read(tracking={"opens": False}), None, tenant)
    assert own is not None
    assert (own.sender.email, own.track_opens) == ("shop@example.com", False)
    assert content_of(read(**{"from": None})) is None


def test_equal_headers_of_copies_get_the_recipients_own_data() -> None:
    person = [{"email": "ann@example.com", "data": {"name": "Ann"}}]
    parts = fan(templated(recipients=person, cc=emails("c@example.com")), TEMPLATE).messages
    assert [m.data for m in parts] == [{"name": "Ann"}, {"name": "Ann"}]


@given(st.text(max_size=20), st.text(max_size=30), st.binary(max_size=64))
def test_keys_are_the_first_hundred_bits_in_base32(tenant: str, address: str, secret: bytes) -> None:
    text = f"{tenant}\x1f{ids.normalise_address(address)}".encode()
    reference = b32encode(blake2b(text, digest_size=13, key=secret).digest())[:20].decode().lower()
    assert ids.recipient_key(tenant, address, secret) == reference


def test_ids_keyed_with_a_secret_cannot_be_confirmed_without_it() -> None:
    content = content_of(read())
    assert content is not None
    shared = share(content, pack)
    open_, keyed = (next(parts_of(read(), shared, encode, secret))[0] for secret in (b"", b"s"))
    assert open_ != keyed

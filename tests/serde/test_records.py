"""Three encodings, one shape; anything else is a reason, never an exception."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.audit import AuditRecord, AuditResult, TargetKind, audit_id
from streams.core.message import Mailbox, Template
from streams.core.tenant import Tenant
from streams.serde.public import (
    NeedsSchema,
    Undecodable,
    decode_audit,
    decode_event,
    decode_request,
    decode_template,
    decode_tenant,
    encode_audit,
    encode_request,
    encode_template,
    encode_tenant,
    readable,
    template_version,
    to_json,
)
from streams.serde.records import MAX_BYTES, confluent_prefix
from streams.serde.schemas import parse_foreign, schema

REQUEST: dict[str, Any] = {
    "idempotency_key": "k",
    "tenant": "acme",
    "from": {"email": "shop@example.com", "name": "Shop"},
    "recipients": [
        {
            "email": "zoë@example.com",
            "name": "Zoë",
            "data": {"n": 1, "x": 1.5, "b": True, "none": None, "l": [1, {"a": "b"}]},
        }
    ],
    "data": {"order": {"items": [{"name": "Pen"}]}},
    "template_id": "welcome",
    "send_at": 1_760_000_000_123,
    "attachments": [{"filename": "a", "content_type": "a/b", "data": b"\x00\xff", "url": None, "content_id": None}],
}


class Schemas:
    """What a registry has told so far."""

    def __init__(self, **known: Any) -> None:
        self.by_id = {int(k[1:]): v for k, v in known.items()}

    def known(self, schema_id: int) -> Any:
        return self.by_id.get(schema_id)


def test_avro_and_json_give_the_same_record() -> None:
    as_json = msgspec.json.encode(REQUEST | {"send_at": "2025-10-09T10:53:20.123+02:00"})
    from_avro, from_json = decode_request(encode_request(REQUEST)), decode_request(as_json)
    assert from_avro == from_json
    assert isinstance(from_avro, dict)
    assert {k: from_avro[k] for k in REQUEST} == REQUEST
    assert from_avro["on_uncertain"] == "hold"


def test_times_in_json_may_be_epoch_milliseconds() -> None:
    record = decode_request(msgspec.json.encode(REQUEST))
    assert isinstance(record, dict)
    assert record["send_at"] == 1_760_000_000_123


def test_confluent_values_are_read_with_the_registrys_schema() -> None:
    body = encode_request(REQUEST, confluent_prefix(7))
    assert decode_request(body, Schemas()) == NeedsSchema(7)
    writer = parse_foreign(schema("SendRequest").text)
    assert decode_request(body, Schemas(s7=writer)) == decode_request(encode_request(REQUEST))
    gone = Undecodable("unknown_schema", "no such id")
    assert decode_request(body, Schemas(s7=gone)) == gone


def test_a_strangers_schema_is_resolved_by_avros_rules() -> None:
    smaller = {
        "type": "record",
        "name": "SendRequest",
        "namespace": "streams.v1",
        "fields": [
            {"name": "idempotency_key", "type": "string"},
            {"name": "colour", "type": "string"},
            {
                "name": "recipients",
                "type": {
                    "type": "array",
                    "items": {"type": "record", "name": "Recipient", "fields": [{"name": "email", "type": "string"}]},
                },
            },
            {"name": "send_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        ],
    }
    body = b"\x02k\x06red\x02\x02a\x00" + encode_long(1_760_000_000_123)
    record = decode_request(confluent_prefix(3) + body, Schemas(s3=parse_foreign(json.dumps(smaller))))
    assert isinstance(record, dict)
    assert (record["idempotency_key"], record["recipients"]) == ("k", [{"email": "a", "name": "", "data": {}}])
    assert record["send_at"] == 1_760_000_000_123
    assert "colour" not in record


def encode_long(number: int) -> bytes:
    number <<= 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


GOOD = encode_request(REQUEST)


@pytest.mark.parametrize(
    ("value", "reason", "words"),
    [
        (None, "empty", "no value"),
        (b"", "empty", "no value"),
        (b"\x01x", "unknown_encoding", "0x01"),
        (b"[]", "unknown_encoding", "0x5b"),
        (b"\xc3\x02" + GOOD[2:], "unknown_encoding", "0xc3"),
        (b"\xc3\x01" + bytes(8) + GOOD[10:], "unknown_schema", "0000000000000000"),
        (b"\xc3\x01\x00", "unknown_schema", "00"),
        (GOOD[:-1], "malformed", ""),
        (GOOD + b"x", "malformed", "1 bytes after the end"),
        (b"\x00\x00\x00\x00\x07x", "no_registry", "no schema registry"),
        (b"{", "malformed", "truncated"),
        (b'{"recipients":[]}', "malformed", "`idempotency_key`"),
        (b'{"idempotency_key":"k","recipients":[],"colour":1}', "malformed", "unknown field `colour`"),
        (b'{"idempotency_key":"k","recipients":[{"email":"a","mail":1}]}', "malformed", "unknown field `mail`"),
        (b'{"idempotency_key":"k","recipients":[{"email":7}]}', "malformed", "$.recipients[0].email"),
        (b'{"idempotency_key":"k","recipients":[],"mime":"*"}', "malformed", "$.mime"),
        (b'{"idempotency_key":"k","recipients":[],"send_at":"2026-01-01T00:00:00"}', "malformed", "timezone"),
        (b'{"idempotency_key":"k","recipients":[],"send_at":"soon"}', "malformed", "$.send_at"),
        (b'{"idempotency_key":"\xff","recipients":[]}', "malformed", ""),
        (b'{"idempotency_key":"\\ud800","recipients":[]}', "malformed", "surrogate"),
        (b'{"idempotency_key":"k","recipients":[],"data":{"a":' + b"[" * 9999 + b"}", "malformed", "recursion"),
        (b"{" + b" " * MAX_BYTES, "too_large", "26214401 bytes"),
    ],
)
def test_what_cannot_be_decoded_says_why(value: bytes | None, reason: str, words: str) -> None:
    found = decode_request(value)
    assert isinstance(found, Undecodable)
    assert found.reason == reason
    assert words in found.detail
    assert len(found.detail) <= 300


def test_a_confluent_header_that_is_cut_off_is_malformed() -> None:
    assert decode_request(b"\x00\x00", Schemas()) == Undecodable("malformed", "cut off within the schema id")


def test_an_unknown_field_cannot_be_encoded_either() -> None:
    with pytest.raises(ValueError, match="unknown field colour"):
        encode_request(REQUEST | {"colour": "red"})


@given(st.binary(max_size=80))
def test_no_bytes_make_decoding_raise(data: bytes) -> None:
    for value in (data, GOOD[:10] + data, b"{" + data, b"\x00" + data):
        for decode in (decode_request, decode_event, decode_template, decode_tenant, decode_audit):
            decode(value)


@given(st.integers(10, len(GOOD) - 1), st.integers(0, 255))
def test_no_single_wrong_byte_makes_decoding_raise(place: int, byte: int) -> None:
    decode_request(GOOD[:place] + bytes((byte,)) + GOOD[place + 1 :])


@pytest.mark.parametrize(
    "length", [b"\xfe\xff\xff\xff\x0f", b"\xfe" + b"\xff" * 8 + b"\x01", b"\x01", b"\xff" * 9 + b"\x01", b"\xff" * 40]
)
def test_a_length_that_cannot_be_costs_no_memory(length: bytes) -> None:
    assert isinstance(decode_request(GOOD[:10] + length + b"x"), Undecodable)


def test_templates_tenants_and_audit_records_come_back_as_they_were_written() -> None:
    template = Template("welcome", "3", "S", "T", "")
    assert decode_template(encode_template(template, updated_ms=5, updated_by="ann")) == template
    tenant = Tenant(
        "acme", Mailbox("a@b.co"), (Mailbox("c@d.co"),), {"ses": "acme"}, "ses", "cubed", True, None, "x@y.zz"
    )
    assert decode_tenant(encode_tenant(tenant)) == tenant
    assert decode_tenant(encode_tenant(Tenant("plain"))) == Tenant("plain")
    audit = AuditRecord(
        audit_id("ann", "message.retry", "m", "1"), 5, "ann", "message.retry", TargetKind.MESSAGE, "m", "acme",
        AuditResult.REFUSED, "no", {"a": "b"},
    )  # fmt: skip
    assert decode_audit(encode_audit(audit)) == audit


def test_a_template_in_plain_json_gets_a_version_from_its_sources() -> None:
    found = decode_template(b'{"template_id":"t","version":"","subject":"S","html":"<p>"}')
    assert found == Template("t", template_version("S", "", "<p>"), "S", "", "<p>")
    assert template_version("S", "", "<p>") != template_version("S", "<p>", "")


def test_json_for_people_has_readable_times_and_is_read_again() -> None:
    line = to_json("SendRequest", REQUEST)
    assert json.loads(line)["send_at"] == "2025-10-09T08:53:20.123Z"
    assert decode_request(line.encode()) == decode_request(encode_request(REQUEST))
    assert "subject" not in readable("SendRequest", {"subject": None, "tags": []})

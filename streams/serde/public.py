"""All public records in one place: the names to import.

decode_request(value, registry)   SendRequest as a dict, ready for ``core.request.read_request``
encode_request(record)            ... and back, as Avro
encode_event, decode_event, event_headers, event_record
encode_template, decode_template, encode_tenant, decode_tenant, encode_audit, decode_audit
to_json(name, record)             one line of JSON with readable times, for people and the command line
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from streams.serde.configuration import (
    audit_record,
    decode_audit,
    decode_template,
    decode_tenant,
    encode_audit,
    encode_template,
    encode_tenant,
    template_version,
)
from streams.serde.events import CONTENT_TYPE, decode_event, encode_event, event_headers, event_record, rfc3339
from streams.serde.records import (
    MAX_BYTES,
    NeedsSchema,
    Record,
    SchemaCache,
    Undecodable,
    confluent_prefix,
    decode,
    encode,
    timestamps,
)

__all__ = [
    "CONTENT_TYPE",
    "MAX_BYTES",
    "NeedsSchema",
    "Record",
    "SchemaCache",
    "Undecodable",
    "audit_record",
    "confluent_prefix",
    "decode_audit",
    "decode_event",
    "decode_request",
    "decode_template",
    "decode_tenant",
    "encode_audit",
    "encode_event",
    "encode_request",
    "encode_template",
    "encode_tenant",
    "event_headers",
    "event_record",
    "readable",
    "rfc3339",
    "template_version",
    "to_json",
]


def decode_request(
    value: bytes | None, registry: SchemaCache | None = None, *, max_bytes: int = MAX_BYTES
) -> Record | Undecodable | NeedsSchema:
    """The request in a record of ``send-requests``: a dict with the schema's field names, not yet validated."""
    return decode("SendRequest", value, registry, max_bytes=max_bytes)


def encode_request(record: Mapping[str, Any], prefix: bytes | None = None) -> bytes:
    """A request in the same shape as Avro; absent fields take their defaults. Raises ``ValueError`` on a misfit."""
    return encode("SendRequest", record, prefix)


def readable(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with times as RFC 3339 text; without fields that say nothing."""
    shown = {k: v for k, v in record.items() if v is not None and v not in ("", [], {})}
    for field in timestamps(name):
        if field in shown:
            shown[field] = rfc3339(shown[field])
    return shown


def to_json(name: str, record: Mapping[str, Any]) -> str:
    """One line of JSON that the same schema reads again; bytes as base64."""
    return msgspec.json.encode(readable(name, record)).decode()

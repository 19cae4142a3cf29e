"""The public schemas: documented, readable with every released version, and found where the package is installed."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import fastavro
import pytest

from streams.core.event import Automated, BounceType, EventType, ReasonKind, Status
from streams.serde.schemas import NAMES, NAMESPACE, fingerprint, parse, released, schema
from tests.schemas.compatibility import faults

SAMPLES: dict[str, dict[str, Any]] = {
    "SendRequest": {
        "idempotency_key": "k",
        "from": {"email": "a@example.com", "name": ""},
        "recipients": [{"email": "b@example.com", "name": "", "data": {"a": 1, "b": {"json": "[]"}}}],
        "cc": [{"email": "c@example.com", "name": ""}],
        "send_at": 1,
        "attachments": [{"filename": "a", "data": b"x"}],
        "tracking": {"opens": True},
    },
    "DeliveryEvent": {
        "event_id": "e",
        "type": "message.sent",
        "occurred_at": 1,
        "recorded_at": 2,
        "message_id": "m",
        "status": "sent",
        "reason": {"kind": "other"},
        "tags": ["t"],
    },
    "AuditRecord": {
        "audit_id": "a",
        "occurred_at": 1,
        "actor": "ann",
        "action": "message.retry",
        "target_kind": "message",
        "target": "m",
    },
    "Template": {"template_id": "t", "version": "1", "subject": "s", "html": "<p>"},
    "Tenant": {"tenant": "acme", "from": {"email": "a@example.com"}, "accounts": {"ses": "acme"}},
}


def raw(name: str) -> Any:
    return json.loads(schema(name).text)


def every_field(node: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    if isinstance(node, list):
        for branch in node:
            found += every_field(branch, path)
    elif isinstance(node, dict):
        for field in node.get("fields", ()):
            found.append((f"{path}.{field['name']}", field))
            found += every_field(field["type"], f"{path}.{field['name']}")
        for key in ("items", "values"):
            found += every_field(node.get(key), path)
    return found


def read_across(writer: Any, reader: Any, sample: dict[str, Any]) -> Any:
    written = io.BytesIO()
    fastavro.schemaless_writer(written, parse(json.dumps(writer)), sample)
    written.seek(0)
    return fastavro.schemaless_reader(written, parse(json.dumps(writer)), parse(json.dumps(reader)))


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_documented_and_every_schema_has_its_namespace(name: str) -> None:
    root = raw(name)
    assert (root["name"], root["namespace"]) == (name, NAMESPACE)
    assert root["doc"]
    for path, field in every_field(root):
        assert len(field.get("doc", "")) > 8, path
        assert (
            "default" not in field
            or field["default"] in (None, "", 0, [], {}, True)
            or isinstance(field["default"], str)
        ), path


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_and_every_released_version_can_read_each_other(name: str) -> None:
    versions = [json.loads(text) for text in released(name)]
    assert versions
    for version in versions:
        assert faults(version, raw(name)) == []
        assert faults(raw(name), version) == []
        assert read_across(version, raw(name), SAMPLES[name])
        assert read_across(raw(name), version, SAMPLES[name])


@pytest.mark.parametrize("name", NAMES)
def test_every_released_version_is_recognised_by_its_fingerprint(name: str) -> None:
    for text in released(name):
        assert fingerprint(text) in schema(name).writers


def renamed(s: Any) -> None:
    s["fields"][0]["name"] = "key"


def retyped(s: Any) -> None:
    s["fields"][1]["type"] = "long"


def required(s: Any) -> None:
    s["fields"].append({"name": "colour", "type": "string", "doc": "A new field without a default."})


def narrowed(s: Any) -> None:
    next(f for f in s["fields"] if f["name"] == "provider")["type"] = "string"


def deeper(s: Any) -> None:
    recipients = next(f for f in s["fields"] if f["name"] == "recipients")
    recipients["type"]["items"]["fields"][0]["type"] = "bytes"
    recipients["type"]["items"]["fields"][0]["name"] = "mail"


def retimed(s: Any) -> None:
    next(f for f in s["fields"] if f["name"] == "send_at")["type"][1]["logicalType"] = "timestamp-micros"


@pytest.mark.parametrize("change", [renamed, retyped, required, narrowed, deeper, retimed])
def test_an_incompatible_change_would_be_detected(change: Callable[[Any], None]) -> None:
    changed = copy.deepcopy(raw("SendRequest"))
    change(changed)
    assert faults(raw("SendRequest"), changed) + faults(changed, raw("SendRequest"))


def test_a_new_field_with_a_default_is_compatible() -> None:
    changed = copy.deepcopy(raw("SendRequest"))
    changed["fields"].append({"name": "colour", "type": ["null", "string"], "default": None})
    assert faults(raw("SendRequest"), changed) + faults(changed, raw("SendRequest")) == []
    assert read_across(raw("SendRequest"), changed, SAMPLES["SendRequest"])["colour"] is None


@pytest.mark.parametrize(
    ("canonical", "wire"),
    [
        ('"null"', "8a8f25cce724dd63"),
        ('"int"', "8f5c393f1ad57572"),
        ('"string"', "c70345637248018f"),
        (
            '{"name":"com.example.Ev","type":"record","fields":[{"name":"id","type":"string"},{"name":"n","type":"int"}]}',
            "8626961632db8443",
        ),
    ],
    ids=["null", "int", "string", "record"],
)
def test_fingerprints_are_crc_64_avro_in_little_endian(canonical: str, wire: str) -> None:
    assert fingerprint(canonical).hex() == wire


def test_the_words_of_events_are_documented_in_the_schema() -> None:
    docs = {field["name"]: field["doc"] for field in raw("DeliveryEvent")["fields"]}
    for kind in EventType:
        assert f"`{kind}`" in docs["type"] or f"`.{kind.removeprefix('message.')}`" in docs["type"]
    for status in Status:
        assert f"`{status}`" in docs["status"]
    for bounce in BounceType:
        assert f"`{bounce}`" in docs["bounce_type"]
    for automated in Automated:
        assert f"`{automated}`" in docs["automated"]
    assert f"`{ReasonKind.UNKNOWN}`" in next(d for p, d in _reason_docs() if p == "kind")


def _reason_docs() -> list[tuple[str, str]]:
    reason = next(f for f in raw("DeliveryEvent")["fields"] if f["name"] == "reason")
    return [(f["name"], f["doc"]) for f in reason["type"][1]["fields"]]


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_found_through_the_package(name: str) -> None:
    assert files("streams").joinpath("schemas", f"{name}.avsc").is_file()

"""Public records in: three encodings, told apart by the first byte, become one shape.

Rules:

1. ``C3 01`` is Avro's single-object encoding, ``00`` Confluent's wire format, ``{`` plain JSON under the same schema.
   Everything else is :class:`Undecodable`, never an exception.
2. The shape is a plain dict with the schema's field names: timestamps are epoch milliseconds, bytes are bytes, nested
   template values are lists and dicts, whichever way they came.
3. JSON is checked against the schema: a field that the schema does not know is an error that names it, because a
   misspelt option must not be ignored in silence. Avro resolves versions by its own rules instead.
4. A registry is asked outside: a schema id that is not known yet is :class:`NeedsSchema`; fetch it, decode again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Protocol

import fastavro
import msgspec

from streams.serde.schemas import SINGLE_OBJECT, Parsed, Schema, schema
from streams.serde.weighing import TooMany, check_avro, check_json

MAX_BYTES = 26_214_400
"""Largest value that is looked at; the topics' own limit."""
_HEADER = 10  # C3 01 and the fingerprint
_CONFLUENT_HEADER = 5  # 00 and the schema id


@dataclass(frozen=True, slots=True)
class Undecodable:
    """No record. ``reason`` is one of empty, too_large, unknown_encoding, unknown_schema, no_registry, malformed."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class NeedsSchema:
    """The registry must be asked for this schema id before the value can be read."""

    schema_id: int


class SchemaCache(Protocol):
    """What is known of a registry: the schema of an id, None if it was not asked yet, or why it has none."""

    def known(self, schema_id: int) -> Parsed | Undecodable | None: ...


Record = dict[str, Any]


def decode(
    name: str, value: bytes | None, registry: SchemaCache | None = None, *, max_bytes: int = MAX_BYTES
) -> Record | Undecodable | NeedsSchema:
    """The record ``name`` in ``value``."""
    if not value:
        return Undecodable("empty", "the record has no value")
    if len(value) > max_bytes:
        return Undecodable("too_large", f"{len(value)} bytes are more than {max_bytes}")
    first = value[0]
    if first == 0xC3 and value[:2] == SINGLE_OBJECT:
        return _single_object(schema(name), value)
    if first == 0x7B:
        return _json(name, value)
    if first == 0x00:
        return _confluent(schema(name), value, registry)
    return Undecodable("unknown_encoding", f"a value beginning with 0x{first:02x} is neither Avro nor JSON")


def encode(name: str, record: Mapping[str, Any], prefix: bytes | None = None) -> bytes:
    """Avro of a record in the shape of :func:`decode`; absent fields take their defaults.

    ``prefix`` is the single-object header unless a Confluent one is given. Raises ``ValueError`` naming what does not
    fit the schema.
    """
    target = schema(name)
    buffer = io.BytesIO()
    buffer.write(target.prefix if prefix is None else prefix)
    try:
        fastavro.schemaless_writer(buffer, target.parsed, _to_avro(name, record), strict_allow_default=True)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as exc:
        raise ValueError(f"not a {name}: {exc}") from exc
    return buffer.getvalue()


def confluent_prefix(schema_id: int) -> bytes:
    """What begins a value in Confluent's wire format."""
    return b"\x00" + schema_id.to_bytes(4, "big")


# ------------------------------------------------------------------------------------------------ Avro


def _single_object(target: Schema, value: bytes) -> Record | Undecodable:
    writer = target.writers.get(value[2:_HEADER])
    if writer is None:
        return Undecodable("unknown_schema", f"no version of {target.name} has fingerprint {value[2:_HEADER].hex()}")
    return _avro(target, writer, value, _HEADER)


def _confluent(target: Schema, value: bytes, registry: SchemaCache | None) -> Record | Undecodable | NeedsSchema:
    if len(value) < _CONFLUENT_HEADER:
        return Undecodable("malformed", "cut off within the schema id")
    if registry is None:
        return Undecodable("no_registry", "the value names a registry's schema, but no schema registry is configured")
    schema_id = int.from_bytes(value[1:_CONFLUENT_HEADER], "big")
    writer = registry.known(schema_id)
    if writer is None:
        return NeedsSchema(schema_id)
    return writer if isinstance(writer, Undecodable) else _avro(target, writer, value, _CONFLUENT_HEADER)


def _avro(target: Schema, writer: Parsed, value: bytes, start: int) -> Record | Undecodable:
    source = io.BytesIO(value)
    source.seek(start)
    reader = None if writer is target.parsed else target.parsed
    try:
        check_avro(writer, value, start)
        record: Any = fastavro.schemaless_reader(source, writer, reader)
        if source.tell() != len(value):
            return Undecodable("malformed", f"{len(value) - source.tell()} bytes after the end of the record")
        return _from_avro(target.name, record)
    except TooMany as exc:
        return Undecodable("too_large", str(exc))
    except Exception as exc:  # noqa: BLE001 - foreign bytes: whatever the reader meets makes a dead letter
        return Undecodable("malformed", f"{type(exc).__name__}: {exc}"[:300])


def _from_avro(name: str, record: Any) -> Record | Undecodable:
    if not isinstance(record, dict):
        return Undecodable("malformed", "not a record")
    if name == "SendRequest":
        record["data"] = _opened(record["data"])
        for recipient in record["recipients"]:
            if recipient["data"]:
                recipient["data"] = _opened(recipient["data"])
    for field in timestamps(name):
        when = record[field]
        if isinstance(when, datetime):
            record[field] = _epoch_ms(when)
    return record


def _opened(data: dict[str, Any]) -> dict[str, Any]:
    for key, value in data.items():
        if type(value) is dict:
            data[key] = msgspec.json.decode(value["json"])
    return data


def _to_avro(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    unknown = record.keys() - {field["name"] for field in _fields(name)}
    if unknown:
        raise ValueError(f"unknown field {min(unknown)}")
    if name != "SendRequest":
        return dict(record)
    return {
        **record,
        "data": _closed(record.get("data", {})),
        "recipients": [{**r, "data": _closed(r.get("data", {}))} for r in record["recipients"]],
    }


def _closed(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: {"json": json.dumps(value, ensure_ascii=False)} if isinstance(value, (dict, list, tuple)) else value
        for key, value in data.items()
    }


# ------------------------------------------------------------------------------------------------ JSON


def _json(name: str, value: bytes) -> Record | Undecodable:
    try:
        check_json(value)
        record: Record = msgspec.to_builtins(_json_decoder(name)(value), builtin_types=(bytes, datetime))
    except TooMany as exc:
        return Undecodable("too_large", str(exc))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, OverflowError) as exc:
        return Undecodable("malformed", (str(exc) or type(exc).__name__)[:300])
    for field in timestamps(name):
        if isinstance(record[field], datetime):
            record[field] = _epoch_ms(record[field])
    return record


@cache
def _json_decoder(name: str) -> Callable[[bytes], Any]:
    """A decoder for the record, derived from its schema."""
    return msgspec.json.Decoder(_type_of(json.loads(schema(name).text), {})).decode


_PRIMITIVES: dict[str, Any] = {
    "null": None,
    "boolean": bool,
    "int": int,
    "long": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    "float": float,
    "double": float,
    "string": str,
    "bytes": bytes,
}
_TIMESTAMP = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)] | Annotated[datetime, msgspec.Meta(tz=True)]


def _type_of(node: Any, named: dict[str, Any]) -> Any:
    """The Python type that msgspec checks a node of an Avro schema with."""
    if isinstance(node, str):
        return named[node] if node in named else _PRIMITIVES[node]
    if isinstance(node, list):
        branches = [_type_of(branch, named) for branch in node]
        if Any in branches:
            return Any
        union = branches[0]
        for branch in branches[1:]:
            union = union | branch
        return union
    if "logicalType" in node:
        return _TIMESTAMP
    match node["type"]:
        case "array":
            return list[_type_of(node["items"], named)]  # type: ignore[misc]
        case "map":
            return dict[str, _type_of(node["values"], named)]  # type: ignore[misc]
        case "record" if node["name"] == "Json":
            named["Json"] = Any
            return Any
        case "record":
            return _struct_of(node, named)
    return _type_of(node["type"], named)


def _struct_of(node: Mapping[str, Any], named: dict[str, Any]) -> Any:
    fields: list[Any] = []
    for field in node["fields"]:
        kind = _type_of(field["type"], named)
        attribute = "from_" if field["name"] == "from" else field["name"]
        if "default" not in field:
            fields.append((attribute, kind))
        elif isinstance(field["default"], (list, dict)):  # always empty: see the schemas' own test
            fields.append((attribute, kind, msgspec.field(default_factory=type(field["default"]))))
        else:
            fields.append((attribute, kind, field["default"]))
    fields.sort(key=len)  # required ones first
    struct = msgspec.defstruct(node["name"], fields, forbid_unknown_fields=True, rename={"from_": "from"})
    named[node["name"]] = struct
    return struct


@cache
def _fields(name: str) -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(schema(name).text)["fields"])


@cache
def timestamps(name: str) -> tuple[str, ...]:
    """The fields of the record that hold a time."""
    return tuple(field["name"] for field in _fields(name) if "timestamp-millis" in json.dumps(field["type"]))


def _epoch_ms(when: datetime) -> int:
    return round(when.timestamp() * 1000)

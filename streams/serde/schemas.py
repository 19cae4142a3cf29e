"""The public schemas: where they lie, their fingerprints, and every released version that may still be written.

Rules:

1. ``schemas/<Name>.avsc`` is what we write and read with; ``schemas/released/<Name>/`` keeps every version that was
   ever published, so that a record written with an old one is still recognised by its fingerprint and resolved.
2. Timestamps are handed around as integers, so logical types are taken off before fastavro sees a schema of ours.
3. Nothing is read at import: :func:`schema` loads once, on first use.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import fastavro

NAMES = ("SendRequest", "DeliveryEvent", "AuditRecord", "Template", "Tenant")
NAMESPACE = "streams.v1"
SINGLE_OBJECT = b"\xc3\x01"
"""First bytes of Avro's single-object encoding; then the fingerprint (8 bytes, little-endian), then the body."""

Parsed = Any
"""A schema as fastavro has parsed it."""


@dataclass(frozen=True, slots=True)
class Schema:
    """One public record. ``prefix`` begins every single-object encoding we write; ``text`` is the file as it is."""

    name: str
    text: str
    parsed: Parsed
    prefix: bytes
    writers: dict[bytes, Parsed]
    """Fingerprint on the wire to the schema it belongs to, the current one included."""


@cache
def schema(name: str) -> Schema:
    """The schema ``name``; a missing or broken file is a bug of the installation and raises."""
    text = _directory().joinpath(f"{name}.avsc").read_text("utf-8")
    parsed = parse(text)
    writers = {fingerprint(older): parse(older) for older in released(name)}
    own = fingerprint(text)
    writers[own] = parsed
    return Schema(name, text, parsed, SINGLE_OBJECT + own, writers)


def released(name: str) -> list[str]:
    """The texts of all published versions of a schema, in order of their names."""
    folder = _directory().joinpath("released", name)
    versions = (f for f in folder.iterdir() if f.name.endswith(".avsc")) if folder.is_dir() else ()
    return [f.read_text("utf-8") for f in sorted(versions, key=lambda f: f.name)]


def parse(text: str) -> Parsed:
    """Ready for fastavro, with timestamps as plain integers. Raises on text that is no Avro schema."""
    return fastavro.parse_schema(_plain(json.loads(text)))


def parse_foreign(text: str) -> Parsed:
    """A schema from a registry; logical types stay, since a stranger's timestamps may be in other units."""
    return fastavro.parse_schema(json.loads(text))


def fingerprint(text: str) -> bytes:
    """CRC-64-AVRO of the parsing canonical form, as it stands on the wire (little-endian)."""
    canonical = fastavro.schema.to_parsing_canonical_form(json.loads(text))
    return bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))


def _directory() -> Traversable:
    return files("streams").joinpath("schemas")


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        if "logicalType" in node:
            return node["type"]
        return {key: _plain(value) for key, value in node.items() if key != "doc"}
    return [_plain(item) for item in node] if isinstance(node, list) else node

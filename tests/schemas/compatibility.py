"""Avro's rules of schema resolution (specification, "Schema Resolution"), as far as our schemas use Avro.

``faults(writer, reader)`` lists why data written with one cannot be read with the other.
"""

from __future__ import annotations

from typing import Any

_PROMOTIONS = {"int": {"long", "float", "double"}, "long": {"float", "double"}, "float": {"double"}}
_PROMOTIONS |= {"string": {"bytes"}, "bytes": {"string"}}


def faults(writer: Any, reader: Any) -> list[str]:
    """Empty if everything that ``writer`` can write is readable with ``reader``."""
    return _faults(writer, reader, _named(writer, {}), _named(reader, {}), "")


def _named(node: Any, found: dict[str, Any]) -> dict[str, Any]:
    if isinstance(node, dict):
        if node.get("type") == "record":
            found[node["name"]] = node
        for key in ("type", "items", "values"):
            _named(node.get(key), found)
        for field in node.get("fields", ()):
            _named(field["type"], found)
    elif isinstance(node, list):
        for branch in node:
            _named(branch, found)
    return found


def _kind(node: Any, named: dict[str, Any]) -> Any:
    if isinstance(node, str):
        return named.get(node, node)
    if isinstance(node, dict) and isinstance(node["type"], (dict, list)):
        return _kind(node["type"], named)
    return node


def _word(node: Any) -> str:
    return node if isinstance(node, str) else str(node["type"])


def _faults(writer: Any, reader: Any, wn: dict[str, Any], rn: dict[str, Any], where: str) -> list[str]:
    writer, reader = _kind(writer, wn), _kind(reader, rn)
    if isinstance(writer, list):
        return [fault for branch in writer for fault in _faults(branch, reader, wn, rn, where)]
    if isinstance(reader, list):
        if any(not _faults(writer, branch, wn, rn, where) for branch in reader):
            return []
        return [f"{where}: no branch takes {_word(writer)}"]
    written, read = _word(writer), _word(reader)
    if isinstance(writer, dict) and isinstance(reader, dict):
        if writer.get("logicalType") != reader.get("logicalType"):
            return [f"{where}: logical type {writer.get('logicalType')} became {reader.get('logicalType')}"]
        if written == read == "record":
            return _record_faults(writer, reader, wn, rn, where)
        for inner in ("items", "values"):
            if inner in writer and inner in reader:
                return _faults(writer[inner], reader[inner], wn, rn, f"{where}[]")
    if written != read and read not in _PROMOTIONS.get(written, ()):
        return [f"{where}: {written} became {read}"]
    return []


def _record_faults(writer: Any, reader: Any, wn: dict[str, Any], rn: dict[str, Any], where: str) -> list[str]:
    if writer["name"] != reader["name"]:
        return [f"{where}: record {writer['name']} became {reader['name']}"]
    written = {field["name"]: field for field in writer["fields"]}
    found = []
    for field in reader["fields"]:
        name = field["name"]
        if name in written:
            found += _faults(written[name]["type"], field["type"], wn, rn, f"{where}.{name}")
        elif "default" not in field:
            found.append(f"{where}.{name}: new and without a default")
    return found

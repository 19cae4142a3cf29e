"""How a key of the configuration is declared: a dataclass field that carries its meaning and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, field
from types import MappingProxyType
from typing import Any, TypeVar

T = TypeVar("T")


def key(
    default: T, doc: str, *, least: float | None = None, most: float | None = None, named: str = "", example: str = ""
) -> T:
    """One key of a section. ``named`` is its name in the file where that is a Python keyword."""
    metadata = {"doc": doc, "least": least, "most": most, "named": named, "example": example}
    made: Any
    if isinstance(default, Mapping):
        made = field(default_factory=lambda: MappingProxyType(dict(default)), metadata=metadata)
    else:
        made = field(default=default, metadata=metadata)
    return made  # type: ignore[no-any-return]  # a field now, a T in every instance


def required(doc: str, example: str) -> Any:
    """One key that has no default."""
    return field(default=MISSING, metadata={"doc": doc, "example": example})

"""Immutable records that cost little to make.

A frozen dataclass sets each field through ``object.__setattr__``, five times the cost of an assignment; for the records
that are made for every message that was a tenth of a worker's time. ``@value`` leaves the guard to the type checker,
which refuses an assignment to a field as it does for a frozen dataclass. Everything else is a dataclass with slots,
compared and hashed by its fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[_T]) -> type[_T]:
    """A dataclass that nobody may change after it was made; see the module."""
    return dataclass(slots=True, unsafe_hash=True)(cls)

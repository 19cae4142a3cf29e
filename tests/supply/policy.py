"""The rules of the audit, as `policy.toml` gives them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

LONGEST_DAYS = 90  # a hole is let through for a time; who wants longer decides again


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A licence that a person has read, since the package does not say it in a way that can be judged."""

    licence: str  # SPDX expression
    says: str | None  # what the package's metadata said then; None: not looked at (not installed on every system)


@dataclass(frozen=True, slots=True)
class LetThrough:
    """A known hole that does not reach us, up to and with a day."""

    hole: str
    package: str
    reason: str
    until: date


@dataclass(frozen=True, slots=True)
class Policy:
    """What is let in."""

    allowed: frozenset[str]
    allowed_for: Mapping[str, str]  # package → a licence that it alone may have
    spellings: Mapping[str, str]
    reviewed: Mapping[str, Reviewed]
    let_through: tuple[LetThrough, ...]


def read_policy(path: Path, today: date) -> Policy:
    """Raises ValueError, naming the entry, for one without reason or open for longer than 90 days."""
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    licences: dict[str, Any] = raw["licences"]
    return Policy(
        allowed=frozenset(licences["allowed"]),
        allowed_for=dict(licences.get("allowed_for", {})),
        spellings={text.lower(): licence for text, licence in licences["spellings"].items()},
        reviewed={name: Reviewed(one["licence"], one.get("says")) for name, one in licences["reviewed"].items()},
        let_through=tuple(_let_through(entry, today) for entry in raw.get("let_through", [])),
    )


def _let_through(entry: Mapping[str, Any], today: date) -> LetThrough:
    one = LetThrough(entry["hole"], entry["package"], entry.get("reason", "").strip(), entry["until"])
    if not one.reason:
        raise ValueError(f"{one.hole} is let through without a reason")
    if (one.until - today).days > LONGEST_DAYS:
        raise ValueError(f"{one.hole} is let through until {one.until}: at most {LONGEST_DAYS} days are")
    return one

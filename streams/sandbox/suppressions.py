"""Suppression lists of an account, as both providers keep them: by address, any case, changed by request or by events.

An entry that comes from an event takes effect when the event happens (`since_ms`), not when the message was accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from streams.sandbox.ledger import ListChange


@dataclass(frozen=True, slots=True)
class Entry:
    """One suppressed address. `content` is the provider's own record of it."""

    address: str
    since_ms: int
    content: dict[str, Any]


class SuppressionLists:
    """Lists by name (`mailgun.bounces/mg.example.com`, `ses.addresses`)."""

    def __init__(self) -> None:
        self._lists: dict[str, dict[str, Entry]] = {}

    def apply(self, change: ListChange) -> None:
        """Carries out a change by request."""
        entries = self._lists.setdefault(change.list, {})
        if change.entry is not None:
            entries[change.address.lower()] = Entry(change.address, change.at_ms, change.entry)
        elif change.address == "*":
            entries.clear()
        else:
            entries.pop(change.address.lower(), None)

    def add_from_event(self, name: str, address: str, since_ms: int, content: dict[str, Any]) -> None:
        """An event puts an address on a list; an older entry stays."""
        self._lists.setdefault(name, {}).setdefault(address.lower(), Entry(address, since_ms, content))

    def find(self, name: str, address: str, now_ms: int) -> Entry | None:
        """The entry in force for an address."""
        entries = self._lists.get(name)
        if not entries:
            return None
        entry = entries.get(address.lower())
        return entry if entry is not None and entry.since_ms <= now_ms else None

    def filled(self, name: str) -> bool:
        """Whether a list has any entry, in force or not."""
        return bool(self._lists.get(name))

    def entries(self, name: str, now_ms: int) -> list[Entry]:
        """The entries in force, by address."""
        found = [entry for entry in self._lists.get(name, {}).values() if entry.since_ms <= now_ms]
        return sorted(found, key=lambda entry: entry.address)

"""Staging: a test environment must not mail customers. Who may be mailed, and where the others' mail goes instead.

Pure; what obeys it is the last thing before a provider is called (``agents.dispatch.staging``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from streams.core.ids import normalise_address

ORIGINAL_HEADER = "X-Streams-Original-To"
"""Says on a redirected mail for whom it was. Senders may not set headers of this prefix (see ``core.address``)."""


@dataclass(frozen=True, slots=True)
class Staging:
    """``addresses`` and ``domains`` in normal form; see :func:`staging_of`."""

    addresses: frozenset[str]
    domains: frozenset[str]
    redirect: str = ""

    def allows(self, address: str) -> bool:
        """Whether this address itself may be mailed. Where mail is redirected to, it is."""
        address = normalise_address(address)
        return address in self.addresses or address.rpartition("@")[2] in self.domains

    def redirects(self, address: str) -> bool:
        """Whether mail to this address goes elsewhere."""
        return bool(self.redirect) and not self.allows(address)


def staging_of(allow: Iterable[str], redirect: str) -> Staging | None:
    """What ``[staging]`` says: addresses, ``@domain`` entries, one address for the rest. None while it is empty."""
    entries = [normalise_address(entry) for entry in allow]
    if not entries and not redirect:
        return None
    own = {normalise_address(redirect)} if redirect else set()
    return Staging(
        frozenset(entry for entry in entries if not entry.startswith("@")) | own,
        frozenset(entry[1:] for entry in entries if entry.startswith("@")),
        redirect,
    )

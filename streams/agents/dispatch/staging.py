"""Staging at the last moment: every provider call passes the composer, and this one stands around it.

Rules:

1. What a provider is given has an envelope recipient that staging allows, or the address that mail is redirected to.
   There is no other way to a provider: ``Calls`` calls with what a composer made.
2. A redirected mail goes alone: an address must not stand twice in a batch. Its headers show what they would have
   shown, and one more (:data:`~streams.core.staging.ORIGINAL_HEADER`) for whom it was. A whole MIME message keeps every
   byte below that header.
3. What is neither allowed nor redirected is refused with the reason ``staging``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from streams.agents.dispatch.composed import Composed, Composes
from streams.agents.dispatch.flight import Flight
from streams.content.mime import one_line
from streams.core.event import Reason, ReasonKind
from streams.core.message import Mailbox
from streams.core.staging import ORIGINAL_HEADER, Staging
from streams.providers.base import Batch


@dataclass(slots=True)
class StagedComposer:
    """A composer whose batches only reach whom ``staging`` allows."""

    inner: Composes
    staging: Staging

    async def compose(self, lane: str, flights: Sequence[Flight]) -> Composed:
        """What ``inner`` composes of the flights that may go, redirected where that is wanted."""
        allowed = [flight for flight in flights if self.staging.allows(flight.message.recipient.email)]
        others = [flight for flight in flights if not self.staging.allows(flight.message.recipient.email)]
        if not others:
            return await self.inner.compose(lane, flights)
        if not self.staging.redirect:
            composed = await self.inner.compose(lane, allowed)
            composed.refused += [(flight, _refusal(flight)) for flight in others]
            return composed
        if len(flights) == 1:
            return self._redirected(others[0], await self.inner.compose(lane, flights))
        composed = await self.inner.compose(lane, allowed)
        composed.one_by_one += others
        return composed

    def _redirected(self, flight: Flight, composed: Composed) -> Composed:
        if composed.batch is not None:
            composed.batch = redirected(composed.batch, self.staging.redirect)
            flight.note = Reason(ReasonKind.STAGING, detail=f"staging: sent to {self.staging.redirect} instead")
        return composed


def redirected(batch: Batch, address: str) -> Batch:
    """The batch of one recipient, for another address; its headers name the one it was for."""
    (entry,) = batch.entries
    original = entry.recipient
    entry = replace(entry, recipient=Mailbox(address, original.name))
    if batch.mime:
        end = b"\r\n" if b"\r\n" in batch.mime[:1000] else b"\n"
        head = f"{ORIGINAL_HEADER}: {_ascii(original.email)}".encode("ascii") + end
        return replace(batch, entries=(entry,), mime=head + batch.mime)
    headers = (*(pair for pair in batch.headers if pair[0].lower() != ORIGINAL_HEADER.lower()),)
    return replace(batch, entries=(entry,), headers=(*headers, (ORIGINAL_HEADER, original.email)))


def _ascii(address: str) -> str:
    """In a header of a finished message: one line, and RFC 2047 has no place for anything else."""
    return one_line(address).encode("ascii", "backslashreplace").decode("ascii")


def _refusal(flight: Flight) -> Reason:
    domain = flight.message.recipient.email.rpartition("@")[2]
    return Reason(
        ReasonKind.STAGING, detail=f"staging: nothing is sent to addresses at {domain} (not in [staging] allow)"
    )

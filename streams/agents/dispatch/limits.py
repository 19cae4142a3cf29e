"""Limits of tenants and recipients, asked before a message stands in line. Nothing here costs anything while off.

Rules:

1. What exceeds a tenant's rate is parked until its turn: the turn is fixed when the message comes, so that it waits
   once and is not asked again.
2. Messages to one recipient are counted where its key lives, in memory; after a recovery the ledger's rows tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from streams.agents.dispatch.flight import Flight
from streams.core.event import Reason, ReasonKind
from streams.core.ids import recipient_key_of
from streams.core.ledger import AttemptRow, LedgerState
from streams.core.limits import RecipientLimit, Turns
from streams.core.receipt import ReceiptKind

RATE_CODE = "tenant_rate"
RECIPIENT_CODE = "recipient_limit"


class Limits:
    """Of one process. ``partitions`` is the deployment's count."""

    def __init__(self, recipient: RecipientLimit | None, tenant_rate: float) -> None:
        self._recipient = recipient
        self._default_rate = tenant_rate
        self._rates: dict[str, float] = {}
        self._turns: dict[str, Turns] = {}
        self._share = 0.0
        self._recent: dict[int, dict[str, dict[str, int]]] = {}
        """Partition to recipient key to message id to when it was let through."""
        self.active = bool(recipient or tenant_rate)

    # ------------------------------------------------------------------ what changes

    def tenant(self, name: str, rate: float) -> None:
        """The tenant's own rate; 0 for the default."""
        if rate != self._rates.get(name, 0.0):
            self._rates[name] = rate
            if not rate:
                del self._rates[name]
            self._turns.pop(name, None)
            self.active = bool(self._recipient or self._default_rate or self._rates)

    def reshare(self, share: float) -> None:
        """This worker owns that share of the partitions."""
        self._share = share
        for name, turns in self._turns.items():
            turns.rate = self._rate_of(name) * share

    def recall(self, partition: int, message_id: str, row: AttemptRow, stream: str, now_ms: int) -> None:
        """A row found after a recovery."""
        limit = self._recipient
        if limit is not None and stream in limit.streams and now_ms - row.sent_ms < limit.window_ms:
            self._seen(partition, message_id)[message_id] = row.sent_ms

    def drop(self, partition: int) -> None:
        """The partition went to another worker."""
        self._recent.pop(partition, None)

    def sweep(self, partition: int, now_ms: int) -> None:
        """Forget recipients to whom nothing was sent within the window."""
        limit, seen = self._recipient, self._recent.get(partition)
        if limit is not None and seen:
            self._recent[partition] = {
                key: times for key, times in seen.items() if max(times.values()) > now_ms - limit.window_ms
            }

    # ------------------------------------------------------------------ what is asked

    def row_of(self, flight: Flight, now_ms: int) -> AttemptRow | None:
        """The row in which the flight must wait or end, None if it may go on."""
        return self._by_recipient(flight, now_ms) or self._by_tenant(flight, now_ms)

    def _by_recipient(self, flight: Flight, now_ms: int) -> AttemptRow | None:
        limit = self._recipient
        message = flight.message
        if limit is None or message.stream.value not in limit.streams:
            return None
        seen = self._seen(flight.partition, message.message_id)
        if message.message_id in seen:  # let through already: this is another try of it
            return None
        for old in [name for name, at_ms in seen.items() if at_ms <= now_ms - limit.window_ms]:
            del seen[old]
        if len(seen) < limit.messages:
            seen[message.message_id] = now_ms
            return None
        detail = f"{limit.messages} messages went to this address within {limit.window_s:g} s"
        reason = Reason(ReasonKind.RATE_LIMITED, RECIPIENT_CODE, detail=detail)
        if limit.reject:
            return _row(flight, LedgerState.REJECTED, reason, now_ms)
        row = _row(flight, LedgerState.PARKED, reason, now_ms)
        return replace(row, due_ms=min(seen.values()) + limit.window_ms, told=ReceiptKind.RETRY.value)

    def _by_tenant(self, flight: Flight, now_ms: int) -> AttemptRow | None:
        message, row = flight.message, flight.row
        rate = self._rate_of(message.tenant)
        if not rate or flight.attempts or (row and row.reason and row.reason.code == RATE_CODE):
            return None  # only the first way out is counted, and whoever has waited its turn goes
        turns = self._turns.get(message.tenant)
        if turns is None:
            turns = self._turns[message.tenant] = Turns(rate * self._share)
        due_ms = turns.next_ms(now_ms)
        if due_ms <= now_ms:
            return None
        reason = Reason(ReasonKind.RATE_LIMITED, RATE_CODE, detail=f"tenant {message.tenant} may send {rate:g}/s")
        waiting = _row(flight, LedgerState.PARKED, reason, now_ms)
        return replace(waiting, due_ms=due_ms, told=ReceiptKind.ACCEPTED.value)

    def _rate_of(self, tenant: str) -> float:
        return self._rates.get(tenant, self._default_rate)

    def _seen(self, partition: int, message_id: str) -> dict[str, int]:
        return self._recent.setdefault(partition, {}).setdefault(recipient_key_of(message_id), {})

    @property
    def rates(self) -> Mapping[str, float]:
        """Rates of tenants that have their own."""
        return self._rates


def _row(flight: Flight, state: LedgerState, reason: Reason, now_ms: int) -> AttemptRow:
    return AttemptRow(
        state=state,
        attempt=flight.attempts,
        changed_ms=now_ms,
        fingerprint=flight.message.fingerprint,
        source=flight.source,
        tries=flight.tries,
        reason=reason,
    )

"""In which row a message rests after a call: whether it is over, what the attempt cost it, and how long it waits."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

from streams.agents.dispatch.config import DispatchConfig
from streams.agents.dispatch.flight import Flight
from streams.agents.dispatch.gate import Gate
from streams.core.event import Reason, ReasonKind
from streams.core.ledger import AttemptRow, LedgerState
from streams.core.outcome import Accepted, Deferred, Outcome, Rejected, Scope, Uncertain
from streams.core.receipt import ReceiptKind
from streams.core.retry import POLICIES, next_due_ms


@dataclass(slots=True)
class Answers:
    """Rows by outcome. What all messages of a lane have to wait for pauses the gate as well."""

    config: DispatchConfig
    clock: Callable[[], int]
    jitter: Callable[[], float] = random.random

    def row(self, gate: Gate, flight: Flight, outcome: Outcome, now_ms: int) -> AttemptRow:
        """The row after this outcome of a call."""
        row = sending(flight)
        match outcome:
            case Accepted(provider_message_id):
                return row.accepted(provider_message_id, now_ms)
            case Rejected(reason):
                return replace(row, state=LedgerState.REJECTED, changed_ms=now_ms, reason=reason)
            case Uncertain(reason):  # our call has ended; what the provider may still do is in its visibility delay
                due_ms = now_ms + int(1000 * gate.config.visibility_delay_s)
                return replace(row, state=LedgerState.UNCERTAIN, changed_ms=now_ms, reason=reason, due_ms=due_ms)
            case Deferred():
                return self._deferred(gate, flight, outcome, now_ms)
        assert_never(outcome)

    def _deferred(self, gate: Gate, flight: Flight, outcome: Deferred, now_ms: int) -> AttemptRow:
        """Certainly not taken: wait with the lane, the account or the provider for nothing, or pay a try."""
        row = sending(flight)
        config = self.config
        match outcome.scope:
            case Scope.LANE:
                return self.held(gate, row, outcome.reason, outcome.retry_after_s or config.throttle_s, now_ms)
            case Scope.ACCOUNT:
                held = self.held(gate, row, outcome.reason, outcome.retry_after_s or config.account_hold_s, now_ms)
                gate.trouble = outcome.reason
                if outcome.reason.kind is ReasonKind.CREDENTIALS:  # a person must correct them, by when the policy says
                    return self._tried(flight, row, outcome, now_ms)
                return replace(held, told=ReceiptKind.RETRY.value)
            case Scope.PROVIDER:
                wait_s = max(outcome.retry_after_s or 0.0, config.provider_retry_s * (0.5 + self.jitter()))
                return replace(
                    row,
                    state=LedgerState.PARKED,
                    changed_ms=now_ms,
                    due_ms=now_ms + int(1000 * wait_s),
                    reason=outcome.reason,
                    told=ReceiptKind.RETRY.value,
                )
            case Scope.MESSAGE | Scope.RECIPIENT:
                return self._tried(flight, row, outcome, now_ms)
        assert_never(outcome.scope)

    def held(self, gate: Gate, row: AttemptRow, reason: Reason | None, wait_s: float, now_ms: int) -> AttemptRow:
        """Not now, and through no fault of the message: the whole lane waits."""
        due_ms = now_ms + int(1000 * wait_s)
        gate.pause(due_ms)
        return replace(
            row,
            state=LedgerState.PARKED,
            changed_ms=now_ms,
            due_ms=due_ms + int(1000 * self.jitter()),
            reason=reason,
            told=ReceiptKind.ACCEPTED.value,
        )

    def _tried(self, flight: Flight, row: AttemptRow, outcome: Deferred, now_ms: int) -> AttemptRow:
        message = flight.message
        policy = self.config.policies.get(message.retry_policy or self.config.default_policy, POLICIES["backoff"])
        tries = row.tries + 1
        due_ms = next_due_ms(
            policy,
            tries=tries,
            now_ms=now_ms,
            jitter=self.jitter(),
            retry_after_s=outcome.retry_after_s,
            expires_at_ms=message.expires_at_ms,
        )
        if due_ms is None:
            return replace(row, state=LedgerState.FAILED, changed_ms=now_ms, tries=tries, reason=outcome.reason)
        return replace(
            row,
            state=LedgerState.PARKED,
            changed_ms=now_ms,
            tries=tries,
            due_ms=due_ms,
            reason=outcome.reason,
            told=ReceiptKind.RETRY.value,
        )

    def rejected(self, flight: Flight, gate: Gate, reason: Reason) -> AttemptRow:
        """Refused without having been written ahead."""
        return AttemptRow(
            state=LedgerState.REJECTED,
            attempt=flight.attempts,
            changed_ms=self.clock(),
            fingerprint=flight.message.fingerprint,
            source=flight.source,
            tries=flight.tries,
            provider=gate.provider,
            reason=reason,
        )


def sending(flight: Flight) -> AttemptRow:
    """The row that was written ahead of its call."""
    if flight.row is None:
        raise AssertionError("a call without a row written ahead")
    return flight.row

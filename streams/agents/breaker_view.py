"""What one process knows of all breakers and controls, and what it reports about its own calls.

The records come from the compacted topics ``breakers`` and ``controls``, read to their end before the first send.
Between two records a process may close its own door at once when its calls fail in a row; the next record decides
again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from streams.core.breaker import BreakerPolicy, BreakerRecord, BreakerState, OutcomeSum
from streams.core.routing import is_within, ramp_share


class Door(StrEnum):
    """What a breaker answers to somebody who wants to send."""

    OPEN = "open"  # the door, not the circuit: go through
    PROBE = "probe"  # one message may go through, to see
    SHUT = "shut"


@dataclass(slots=True)
class _Tally:
    """One provider as this process sees it."""

    record: BreakerRecord
    succeeded: int = 0
    failed: int = 0
    run_failed: int = 0
    sequence: int = 0
    shut_until_ms: int = 0
    asked_ms: int = 0
    asks: bool = False
    probe_spent: int = 0
    probe_result: int = 0
    detail: str = ""
    changed: bool = False


_ASK_EVERY_MS = 1_000
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


class BreakerView:
    """One per process. ``worker`` must differ between processes and between starts of one process."""

    def __init__(self, worker: str, policy: BreakerPolicy) -> None:
        self._worker = worker
        self._policy = policy
        self._tallies: dict[str, _Tally] = {}
        self._forced: dict[str, str] = {}
        self._paused: set[tuple[str, str]] = set()
        self._ramps: dict[str, int] = {}
        self.on_change: Callable[[str], None] = lambda provider: None

    # ------------------------------------------------------------------ what the topics say

    def read_breaker(self, key: bytes, value: bytes | None) -> None:
        """A record of the ``breakers`` topic."""
        provider = key.decode("utf-8", "replace")
        tally = self._tally(provider)
        if value is None:
            record = BreakerRecord(provider)
        else:
            try:
                record = msgspec.json.decode(value, type=BreakerRecord)
            except _UNREADABLE:
                return  # a record of somebody else's making changes nothing
        if record.epoch < tally.record.epoch:
            return
        if record.epoch > tally.record.epoch:  # what was seen before the decision is answered by it
            tally.succeeded = tally.failed = tally.probe_result = 0
            tally.asks = False
        back = record.state is BreakerState.CLOSED and record.epoch > 0
        tally.record = record
        tally.shut_until_ms = 0
        if back and self._policy.ramp_s:
            self._ramps[provider] = record.changed_ms
        tally.run_failed = 0 if record.state is BreakerState.CLOSED else tally.run_failed
        self.on_change(provider)

    def read_control(self, key: bytes, value: bytes | None) -> None:
        """A record of the ``controls`` topic: ``breaker/NAME`` or ``pause/KIND/NAME``; a tombstone undoes it."""
        what, _, rest = key.decode("utf-8", "replace").partition("/")
        if what == "breaker":
            try:
                action = msgspec.json.decode(value, type=dict[str, object]).get("action") if value else None
            except _UNREADABLE:
                return
            if action in ("open", "close"):
                self._forced[rest] = str(action)
            else:
                self._forced.pop(rest, None)
            self.on_change(rest)
        elif what == "pause":
            kind, _, name = rest.partition("/")
            (self._paused.discard if value is None else self._paused.add)((kind, name))
            self.on_change(name if kind == "provider" else "")

    # ------------------------------------------------------------------ what a sender asks

    def door(self, provider: str, now_ms: int) -> Door:
        """Whether a message may go through now; asks the fleet for the probe when it is time for one."""
        if forced := self._forced.get(provider):
            return Door.SHUT if forced == "open" else Door.OPEN
        tally = self._tally(provider)
        record = tally.record
        if record.state is BreakerState.CLOSED:
            return Door.OPEN if now_ms >= tally.shut_until_ms else Door.SHUT
        if record.state is BreakerState.HALF_OPEN and record.holder == self._worker and now_ms < record.lease_until_ms:
            return Door.PROBE if tally.probe_spent < record.epoch else Door.SHUT
        ready_ms = record.retry_at_ms if record.state is BreakerState.OPEN else record.lease_until_ms
        if now_ms >= ready_ms and now_ms - tally.asked_ms >= _ASK_EVERY_MS:
            tally.asked_ms, tally.asks, tally.changed = now_ms, True, True
        return Door.SHUT

    @property
    def ramping(self) -> bool:
        """Whether any provider is coming back just now."""
        return bool(self._ramps)

    def eased(self, route: Sequence[str], message_id: str, now_ms: int) -> list[str]:
        """The route, with providers that are coming back behind the others for the messages that they do not get yet.

        Which messages those are is decided by a hash of their ids, so that asking again gives the same answer.
        """
        first: list[str] = []
        later: list[str] = []
        for name in route:
            since_ms = self._ramps.get(name)
            if since_ms is None or is_within(ramp_share(now_ms - since_ms, self._policy.ramp_s), message_id):
                first.append(name)
            else:
                later.append(name)
            if since_ms is not None and now_ms - since_ms >= 1000 * self._policy.ramp_s:
                del self._ramps[name]
        return first + later

    def spend_probe(self, provider: str) -> int:
        """Take the one permit that :attr:`Door.PROBE` promised; answers its epoch."""
        tally = self._tally(provider)
        tally.probe_spent = tally.record.epoch
        return tally.record.epoch

    def return_probe(self, provider: str, epoch: int) -> None:
        """The permit of that epoch was not used (the message was no longer wanted)."""
        tally = self._tally(provider)
        if tally.probe_spent == epoch:
            tally.probe_spent = 0

    def retry_at_ms(self, provider: str) -> int:
        """When it may be worth asking again."""
        record = self._tally(provider).record
        return max(record.retry_at_ms, record.lease_until_ms)

    def paused(self, tenant: str, stream: str) -> bool:
        """Whether an operator holds this tenant or stream."""
        return bool(self._paused) and (("tenant", tenant) in self._paused or ("stream", stream) in self._paused)

    @property
    def pauses(self) -> bool:
        """Whether an operator holds anything."""
        return bool(self._paused)

    def provider_paused(self, provider: str) -> bool:
        """Whether an operator holds this provider."""
        return ("provider", provider) in self._paused

    def state(self, provider: str) -> BreakerState:
        """For metrics: the state in force, forced ones included."""
        if forced := self._forced.get(provider):
            return BreakerState.OPEN if forced == "open" else BreakerState.CLOSED
        return self._tally(provider).record.state

    # ------------------------------------------------------------------ what the calls taught

    def succeeded(self, provider: str, probe_epoch: int = 0) -> None:
        """A call whose answer does not blame the provider."""
        tally = self._tally(provider)
        tally.succeeded += 1
        tally.run_failed = 0
        tally.changed = True
        if probe_epoch and probe_epoch == tally.record.epoch:
            tally.probe_result = 1

    def failed(self, provider: str, now_ms: int, detail: str, probe_epoch: int = 0) -> None:
        """A call that failed by the provider's fault; shuts our own door at once after enough in a row."""
        tally = self._tally(provider)
        tally.failed += 1
        tally.run_failed += 1
        tally.detail = detail[:200]
        tally.changed = True
        if tally.run_failed >= self._policy.consecutive:
            tally.shut_until_ms = now_ms + 2_000  # the fleet's word arrives well within that
        if probe_epoch and probe_epoch == tally.record.epoch:
            tally.probe_result = -1

    def sums(self, now_ms: int) -> list[OutcomeSum]:
        """What changed since the last call, one sum per provider; counters start anew."""
        changed: list[OutcomeSum] = []
        for provider, tally in self._tallies.items():
            if not tally.changed:
                continue
            tally.sequence += 1
            changed.append(
                OutcomeSum(
                    worker=self._worker,
                    sequence=tally.sequence,
                    provider=provider,
                    epoch=tally.record.epoch,
                    at_ms=now_ms,
                    succeeded=tally.succeeded,
                    failed=tally.failed,
                    run_failed=tally.run_failed,
                    asks_probe=tally.asks,
                    probe_result=tally.probe_result,
                    detail=tally.detail,
                )
            )
            tally.succeeded = tally.failed = tally.probe_result = 0
            tally.asks = tally.changed = False
            tally.detail = ""
        return changed

    def states(self) -> Mapping[str, BreakerState]:
        """All providers seen so far."""
        return {provider: self.state(provider) for provider in self._tallies}

    def _tally(self, provider: str) -> _Tally:
        tally = self._tallies.get(provider)
        if tally is None:
            tally = self._tallies[provider] = _Tally(BreakerRecord(provider))
        return tally

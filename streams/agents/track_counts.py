"""What track tells about itself, once per batch; metrics listen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from streams.core.event import BounceType, DeliveryEvent, EventType, Status
from streams.core.lifecycle import Step
from streams.core.receipt import Receipt, ReceiptKind
from streams.core.suppression import SuppressionChange

_OF_TENANTS = {
    EventType.SENT: "sent",
    EventType.DELIVERED: "delivered",
    EventType.COMPLAINED: "complained",
}


@dataclass(slots=True)
class TrackCounts:
    """Sums over one batch; keys are label values, in the order of the series' labels.

    ``delivery_s`` are (provider, seconds from acceptance to delivery); ``ended`` counts statuses of messages that have
    just come to their end; ``orphans`` are events given up because no message claimed them; ``foreign`` those of
    providers that do not have the attempt; ``filled`` those that were fetched because their webhook had not come;
    ``tenant_events`` knows sent, delivered, bounced_hard and complained; ``seconds`` is the time that the batch took.
    """

    receipts: int = 0
    duplicates: int = 0
    early: int = 0
    unreadable_rows: int = 0
    events: Counter[tuple[str, EventType]] = field(default_factory=Counter)
    ended: Counter[tuple[str, Status]] = field(default_factory=Counter)
    tenant_events: Counter[tuple[str, str]] = field(default_factory=Counter)
    double_sends: Counter[str] = field(default_factory=Counter)
    out_of_order: Counter[str] = field(default_factory=Counter)
    orphans: Counter[str] = field(default_factory=Counter)
    foreign: Counter[str] = field(default_factory=Counter)
    filled: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    suppressed: Counter[str] = field(default_factory=Counter)
    lifted: int = 0
    delivery_s: list[tuple[str, float]] = field(default_factory=list)

    def add(self, receipt: Receipt, step: Step) -> None:
        """What one receipt led to."""
        self.receipts += 1
        if step.duplicate:
            self.duplicates += 1
            return
        for event in step.events:
            self._event(event)
        if step.early:
            self.early += 1
            if step.foreign:
                self.foreign[receipt.provider] += 1
        if receipt.filled:
            self.filled[receipt.provider] += 1
        if step.out_of_order:
            self.out_of_order[receipt.provider] += 1
        if step.double_send:
            self.double_sends[receipt.provider] += 1
        state = step.state
        if state is None or state.facts is None:
            return
        if step.ended:
            self.ended[state.facts.stream, state.status] += 1
        if receipt.kind is ReceiptKind.DELIVERED:
            sent_ms = min((a.sent_ms for a in state.attempts if a.number == receipt.attempt and a.sent_ms), default=0)
            if sent_ms:
                self.delivery_s.append((receipt.provider, max(0, receipt.occurred_ms - sent_ms) / 1000))

    def _event(self, event: DeliveryEvent) -> None:
        self.events[event.provider, event.type] += 1
        word = _OF_TENANTS.get(event.type)
        if event.type is EventType.BOUNCED and event.bounce_type is BounceType.HARD:
            word = "bounced_hard"
        if word is not None:
            self.tenant_events[event.tenant, word] += 1

    def suppression(self, change: SuppressionChange) -> None:
        """A row of suppressions changed."""
        if change.lifts or change.kind is None:
            self.lifted += 1
        else:
            self.suppressed[change.kind.value] += 1


class TrackObserver(Protocol):
    """Called synchronously: ``batch`` once per batch, ``suppressions`` now and then, with those in force by kind."""

    def batch(self, counts: TrackCounts) -> None: ...
    def suppressions(self, in_force: Mapping[str, int]) -> None: ...


class SilentTrack:
    """Tells nobody."""

    def batch(self, counts: TrackCounts) -> None: ...
    def suppressions(self, in_force: Mapping[str, int]) -> None: ...

"""Track's rows whose time is over: messages that have ended, suppressions that were lifted, reports of nobody's mail.

Whoever complains or unsubscribes long after the message was forgotten is heard: what a provider reports about a message
that nobody claims changes no message, but after some hours it does suppress. Whoever may speak of one tenant's messages
alone is not heard then.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from streams.agents.expiry import Expiry
from streams.agents.ports import EnginePort, TablePort
from streams.agents.track_counts import TrackCounts, TrackObserver
from streams.core.belief import speaks_as_tenant
from streams.core.lifecycle import expired
from streams.core.message_state import MessageState
from streams.core.suppression import Suppression, SuppressionKind, change_of
from streams.serde.internal import Malformed, pack
from streams.serde.rows import Rows

_ORPHAN_MS = 6 * 3_600_000
"""What dispatch has not claimed by then, nobody remembers."""

_states, _suppressions = Rows(MessageState), Rows(Suppression)


@dataclass(slots=True)
class Forgetting:
    """Walks both tables; counts what is in force on the way. ``receipts`` is the topic's full name."""

    app: EnginePort
    messages: TablePort
    suppressions: TablePort
    receipts: str
    observer: TrackObserver
    _old_messages: Expiry = field(init=False)
    _old_suppressions: Expiry = field(init=False)
    _counting: dict[int, Counter[str]] = field(default_factory=dict, init=False)
    _in_force: dict[int, Counter[str]] = field(default_factory=dict, init=False)
    _heard: dict[int, set[bytes]] = field(default_factory=dict, init=False)
    """Rows of forgotten messages whose suppressions were passed on, to say it once per process."""

    def __post_init__(self) -> None:
        self._old_messages = Expiry(self.messages)
        self._old_suppressions = Expiry(self.suppressions)

    def sweep(self, partition: int, now_ms: int, retention_ms: int) -> None:
        """Forget old rows of a partition that is ours: a bounded number per call, so call it again and again."""

        def old_message(key: bytes, row: bytes) -> bool:
            state = _states.read(row)
            if isinstance(state, Malformed):
                return True
            if state.early and state.facts is None and now_ms - state.last_ms > min(_ORPHAN_MS, retention_ms):
                self._hear(partition, key, state)
            return expired(state, now_ms, retention_ms)

        in_force = self._counting.setdefault(partition, Counter())

        def old_suppression(_: bytes, row: bytes) -> bool:
            state = _suppressions.read(row)
            if isinstance(state, Malformed):
                return True
            held = state.in_force(now_ms)
            if held:
                in_force[held[0].kind.value] += 1
            return not held and now_ms - state.over_ms() > retention_ms

        counts = TrackCounts()
        for row in self._old_messages.sweep(partition, old_message):
            state = _states.read(row)
            if isinstance(state, MessageState) and state.facts is None:
                counts.orphans.update(receipt.provider for receipt in state.early)
        self._old_suppressions.sweep(partition, old_suppression)
        if not self._old_suppressions.walking(partition):  # every row has been seen
            self._in_force[partition] = self._counting.pop(partition)
            self._tell_suppressions()
        if counts.orphans:
            self.observer.batch(counts)

    def lost(self, partition: int) -> None:
        """The partition went to another worker."""
        self._old_messages.forget(partition)
        self._old_suppressions.forget(partition)
        self._counting.pop(partition, None)
        self._heard.pop(partition, None)
        if self._in_force.pop(partition, None) is not None:
            self._tell_suppressions()

    def _hear(self, partition: int, key: bytes, state: MessageState) -> None:
        heard = self._heard.setdefault(partition, set())
        if key in heard:
            return
        heard.add(key)
        for receipt in state.early:
            change = change_of(receipt, None)
            if change is not None and not speaks_as_tenant(receipt):  # whose message it was, nobody remembers
                self.app.emit(self.receipts, partition, change.recipient_key.encode(), pack(change))

    def _tell_suppressions(self) -> None:
        total: Counter[str] = Counter({kind.value: 0 for kind in SuppressionKind})
        for of_partition in self._in_force.values():
            total.update(of_partition)
        self.observer.suppressions(total)

"""Track: receipts in, ``delivery-events`` out. It alone writes that topic, ``messages`` and ``suppressions``.

Rules:

1. What happens to a message is decided by :func:`streams.core.lifecycle.advance` alone; here we fetch and tell.
2. Events, commands and audit records are acknowledged before the rows are logged, and the rows before the offset. A
   crash in between repeats events under the same ids and loses none.
3. Receipts of one message in one batch are folded one after the other; its row is written once.
4. A suppression is folded again from a repeated receipt: the row of the message may have outrun it in a crash.
5. Everything stays in the partition of the batch, except bindings of provider ids, which lie where lookups finds them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from streams.agents.bindings import Bind, bind_key
from streams.agents.dead_letters import dead_letter
from streams.agents.ports import BatchPort, EnginePort, RecordPort, TablePort, UnitFactory, UnitPort
from streams.agents.track_counts import SilentTrack, TrackCounts, TrackObserver
from streams.agents.track_forgetting import Forgetting
from streams.agents.turns import Turn
from streams.core.alerts import trouble_of
from streams.core.audit import AuditRecord, AuditResult, TargetKind, audit_id
from streams.core.ids import partition_of_text
from streams.core.lifecycle import Step, advance
from streams.core.message_state import MessageState
from streams.core.receipt import Receipt, ReceiptKind
from streams.core.suppression import (
    Suppression,
    SuppressionChange,
    SuppressionPolicy,
    fold,
)
from streams.failpoints import failpoint
from streams.serde.configuration import encode_audit
from streams.serde.events import encode_event, event_headers
from streams.serde.internal import Malformed, pack, unpack
from streams.serde.rows import Rows
from streams.topics import ALERTS, AUDIT_LOG, DEAD_LETTERS, DELIVERY_EVENTS, LOOKUPS, OUTBOUND, RECEIPTS, Topics

_DAY_MS = 86_400_000
_states, _suppressions = Rows(MessageState), Rows(Suppression)


@dataclass(frozen=True, slots=True)
class TrackConfig:
    """``partitions`` is the deployment's count. ``bind_provider_ids`` names the providers whose events may come
    without our message id. Prefixes of encoded records are empty unless a schema registry is configured.
    """

    topics: Topics
    partitions: int
    bind_provider_ids: frozenset[str] = frozenset()
    retention_ms: int = 30 * _DAY_MS
    event_prefix: bytes = b""
    audit_prefix: bytes | None = None
    suppression: SuppressionPolicy = field(default_factory=SuppressionPolicy)
    spares: Callable[[str], bool] | None = None
    """Addresses whose provider reports are about somebody else: mail to them is redirected (staging)."""
    alerts: Callable[[str], bool] | None = None
    """Whether a tenant wants to hear of messages that are given up; None where nobody is told."""
    tenant_topics: Mapping[str, str] = field(default_factory=dict)
    """Tenants with a topic of their own for copies of their events, and its full name. It may change while we work."""


@dataclass(slots=True)
class Track:
    """``clock`` gives epoch milliseconds."""

    app: EnginePort
    messages: TablePort
    suppressions: TablePort
    unit: UnitFactory
    config: TrackConfig
    clock: Callable[[], int]
    observer: TrackObserver = field(default_factory=SilentTrack)
    _forgetting: Forgetting = field(init=False)

    def __post_init__(self) -> None:
        receipts = self.config.topics.name(RECEIPTS)
        self._forgetting = Forgetting(self.app, self.messages, self.suppressions, receipts, self.observer)

    async def handle(self, batch: BatchPort) -> None:
        """Fold a run of receipts; publish what follows, then keep the states, then let the offset go."""
        failpoint("track.before_events")
        began_s = time.perf_counter()
        run, turn = _Run(self, batch, self.unit(self.app, batch), self.clock()), Turn()
        for record in batch.records:
            run.take(record)
            if turn.over():
                await asyncio.sleep(0)
        failpoint("track.after_events")
        run.keep()
        run.unit.finish()
        run.counts.seconds = time.perf_counter() - began_s
        self.observer.batch(run.counts)
        await run.unit.room()

    async def sweep(self, partition: int, now_ms: int) -> None:
        """Forget old rows of a partition that is ours: a bounded number per call, so call it again and again."""
        self._forgetting.sweep(partition, now_ms, self.config.retention_ms)

    def lost(self, partition: int) -> None:
        """The partition went to another worker."""
        self._forgetting.lost(partition)


class _Run:
    """The work on one batch."""

    def __init__(self, track: Track, batch: BatchPort, unit: UnitPort, now_ms: int) -> None:
        self.unit = unit
        self.counts = TrackCounts()
        self._track = track
        self._batch = batch
        self._now_ms = now_ms
        self._topics = track.config.topics
        self._events_topic = track.config.topics.name(DELIVERY_EVENTS)
        self._tenant_topics = track.config.tenant_topics
        self._states: dict[str, MessageState] = {}
        self._changed: set[str] = set()
        self._suppressions: dict[str, Suppression] = {}

    def take(self, record: RecordPort) -> None:
        """One record of ``receipts``."""
        receipt = unpack(record.value or b"")
        if not isinstance(receipt, Receipt):
            if isinstance(receipt, SuppressionChange):
                self.counts.receipts += 1
                self._suppress(receipt)
                return
            detail = receipt.detail if isinstance(receipt, Malformed) else f"a {type(receipt).__name__}, not a receipt"
            self._dead(record, "malformed", detail)
            return
        message_id = receipt.message_id
        before = self._state(message_id)
        step = advance(before, receipt, self._now_ms)
        if step.state is not None and step.state is not before:
            self._states[message_id] = step.state
            self._changed.add(message_id)
        self.counts.add(receipt, step)
        try:
            self._tell(receipt, step)
        except ValueError as exc:  # an event too large for a record; its state is kept
            self._dead(record, "too_large", str(exc))
        for change in step.suppressions:
            self._suppress(change, receipt)
        if receipt.reason is not None and self._track.config.alerts is not None and not step.duplicate:
            self._alert(record, receipt, step)

    def keep(self) -> None:
        """Stage the rows that changed."""
        partition = self._batch.partition
        for message_id in self._changed:
            key, messages = message_id.encode(), self._track.messages
            self.unit.put(messages, key, _states.write(self._states[message_id], partial(messages.get, partition, key)))
        for recipient_key, row in self._suppressions.items():
            key, table = recipient_key.encode(), self._track.suppressions
            self.unit.put(table, key, _suppressions.write(row, partial(table.get, partition, key)))

    def _state(self, message_id: str) -> MessageState | None:
        state = self._states.get(message_id)
        if state is not None:
            return state
        kept = self._track.messages.get(self._batch.partition, message_id.encode())
        if kept is None:
            return None
        read = _states.read(kept)
        if isinstance(read, Malformed):
            self.counts.unreadable_rows += 1
            return None  # what is left of the message begins again; its events keep their ids
        return read

    def _tell(self, receipt: Receipt, step: Step) -> None:
        emit, partition, key = self.unit.emit, self._batch.partition, receipt.message_id.encode()
        prefix = self._track.config.event_prefix
        if step.commands:
            facts = step.state.facts if step.state else None
            topic = self._topics.outbound(facts.stream) if facts else self._topics.name(OUTBOUND)
            for command in step.commands:
                emit(topic, partition, key, pack(command))
        if receipt.kind is ReceiptKind.SENT and not step.duplicate:
            self._bind(receipt, step)
        elif receipt.kind is ReceiptKind.CONFLICT and not step.duplicate:
            self._audit_conflict(receipt, step)
        for event in step.events:  # last: all else must not fail with an event that is too large
            value, headers = encode_event(event, prefix), event_headers(event)
            emit(self._events_topic, partition, key, value, headers)
            if self._tenant_topics and (own := self._tenant_topics.get(event.tenant)) is not None:
                emit(own, partition, key, value, headers)

    def _bind(self, receipt: Receipt, step: Step) -> None:
        """Tell lookups whose the provider's id is, where its events may come without ours."""
        theirs = receipt.provider_message_id
        if not theirs or receipt.provider not in self._track.config.bind_provider_ids:
            return
        facts = step.state.facts if step.state else None
        bind = Bind(
            receipt.provider,
            theirs,
            receipt.message_id,
            receipt.attempt,
            facts.recipient if facts else "",
            self._now_ms,
        )
        partition = partition_of_text(theirs, self._track.config.partitions)
        self.unit.emit(self._topics.name(LOOKUPS), partition, bind_key(bind), pack(bind))

    def _alert(self, record: RecordPort, receipt: Receipt, step: Step) -> None:
        """Tell the owner of the tenant's alerts what was given up."""
        wants, state = self._track.config.alerts, step.state
        if state is None or state.facts is None or wants is None:
            return
        trouble = trouble_of(receipt, state.facts, state.status, self._batch.partition, record.offset)
        if trouble is not None and wants(trouble.tenant):
            partition = partition_of_text(trouble.tenant, self._track.config.partitions)
            self.unit.emit(self._topics.name(ALERTS), partition, trouble.tenant.encode(), pack(trouble))

    def _suppress(self, wish: SuppressionChange, receipt: Receipt | None = None) -> None:
        config = self._track.config
        change = config.suppression.judged(wish)
        if change is None or (wish.message_id and config.spares is not None and config.spares(wish.recipient)):
            return
        key = change.recipient_key
        row = self._suppressions.get(key)
        if row is None:
            kept = self._track.suppressions.get(self._batch.partition, key.encode())
            read = _suppressions.read(kept) if kept is not None else None
            row = None if isinstance(read, Malformed) else read
        after = fold(row, change)
        if after is row:
            return
        self._suppressions[key] = after
        now_ms = self._now_ms
        if change.doubtful and (after.in_force(now_ms) == (row.in_force(now_ms) if row else ())):
            return  # remembered; nothing is suppressed by it yet
        self.counts.suppression(change)
        self._audit_suppression(change, receipt)

    def _audit_suppression(self, change: SuppressionChange, receipt: Receipt | None) -> None:
        action = "suppression.remove" if change.lifts else "suppression.add"
        about = {"kind": change.kind or "", "message_id": change.message_id, "list_id": change.list_id}
        why = {name: str(value) for name, value in about.items() if value}
        if receipt is None:
            cause, detail = f"{change.kind}/{change.list_id}/{change.changed_ms}", change.note
        else:
            cause, detail = receipt.receipt_id, receipt.reason.detail if receipt.reason else ""
        actor = change.actor or change.source or "track"
        self._audit(
            AuditRecord(
                audit_id(actor, action, change.recipient_key, cause),
                change.changed_ms,
                actor,
                action,
                TargetKind.ADDRESS,
                change.recipient_key,
                change.tenant,
                AuditResult.DONE,
                detail,
                why,
            )
        )

    def _audit_conflict(self, receipt: Receipt, step: Step) -> None:
        facts = receipt.facts or (step.state.facts if step.state else None)
        tenant = facts.tenant if facts else ""
        why = {"idempotency_key": facts.idempotency_key} if facts else {}
        action, target = "message.conflict", receipt.message_id
        self._audit(
            AuditRecord(
                audit_id("track", action, target, receipt.receipt_id),
                receipt.occurred_ms,
                "track",
                action,
                TargetKind.MESSAGE,
                target,
                tenant,
                AuditResult.REFUSED,
                receipt.reason.detail if receipt.reason else "",
                why,
            )
        )

    def _audit(self, audit: AuditRecord) -> None:
        value = encode_audit(audit, self._track.config.audit_prefix)
        self.unit.emit(self._topics.name(AUDIT_LOG), 0, audit.tenant.encode(), value)

    def _dead(self, record: RecordPort, reason: str, detail: str) -> None:
        self.counts.dead_letters[reason] += 1
        dead_letter(self._topics.name(DEAD_LETTERS), self.unit, self._batch, record, reason, detail)

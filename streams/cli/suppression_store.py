"""Suppressions as commands read and change them: reads are assignments, changes are orders (see agents).

A tenant's mailboxes are read from the changelog of the table ``suppressions``, everything else from the compacted topic
``suppression-rules``. Nothing is written to a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from streams.cli.context import Invocation, now_ms
from streams.cli.suppression_files import Entry
from streams.core.ids import partition_of, recipient_key
from streams.core.suppression import Suppression, SuppressionChange, SuppressionKind
from streams.core.suppression_rules import SuppressionRule
from streams.topics import RECEIPTS, SUPPRESSION_RULES

if TYPE_CHECKING:
    from streams.agents.suppression_orders import Order

UNKNOWN_ADDRESS = "(unknown)"
"""Of a row whose first report came before anything that names the address."""


def entries(invocation: Invocation, *, tenant: str = "", address: str = "", ended: bool = False) -> Iterator[Entry]:
    """All suppressions; those of one tenant's address by reading their partition alone. ``ended`` gives also those that
    are over or were lifted.
    """
    for row in _rows(invocation, tenant, address):
        if tenant and row.tenant != tenant:
            continue
        yield from _entries_of(row, ended=ended)
    for rule in _rules(invocation):
        over = rule.lifted_ms >= rule.since_ms or 0 < rule.until_ms <= now_ms()
        if (ended or not over) and (not tenant or rule.tenant in ("", tenant)):
            yield Entry(
                rule.address or rule.pattern,
                rule.kind,
                "tenant" if rule.tenant else "everywhere",
                rule.tenant,
                since_ms=rule.since_ms,
                until_ms=rule.until_ms or (rule.lifted_ms if over else 0),
                source=rule.actor,
                note=rule.note,
            )


def wish_of(invocation: Invocation, entry: Entry) -> SuppressionChange | SuppressionRule:
    """What an entry asks for."""
    since_ms = entry.since_ms or now_ms()
    if entry.scope == "everywhere" or entry.is_domain:
        return SuppressionRule(
            entry.reason,
            since_ms,
            entry.tenant,
            "" if entry.is_domain else entry.address,
            entry.address if entry.is_domain else "",
            entry.until_ms,
            actor=entry.source or invocation.actor,
            note=entry.note,
        )
    return SuppressionChange(
        recipient_key(entry.tenant, entry.address, invocation.address_secret),
        entry.reason,
        since_ms,
        actor=invocation.actor,
        tenant=entry.tenant,
        recipient=entry.address,
        list_id=entry.list_id,
        until_ms=entry.until_ms,
        source=entry.source or invocation.actor,
        note=entry.note,
    )


class Writer:
    """Sends orders; nothing has happened before ``flush``."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._partitions = invocation.kafka.partitions(invocation.topics.name(RECEIPTS))
        invocation.kafka.partitions(invocation.topics.name(SUPPRESSION_RULES))

    def add(self, entry: Entry) -> None:
        """Suppress."""
        self.wish(wish_of(self._invocation, entry))

    def wish(self, wish: SuppressionChange | SuppressionRule) -> None:
        """Whatever may be wished."""
        from streams.agents.suppression_orders import order_of

        self.send(order_of(wish, self._invocation.topics, self._partitions, self._invocation.address_secret))

    def lift(self, entry: Entry, kind: SuppressionKind | None) -> None:
        """Take back: everything of the entry's scope, or one kind."""
        from streams.agents.suppression_orders import lifting

        wish = wish_of(self._invocation, entry)
        actor, at_ms = self._invocation.actor, now_ms()
        if isinstance(wish, SuppressionRule):
            self.send(lifting(wish, at_ms, actor, self._invocation.topics, self._invocation.address_secret))
            return
        change = SuppressionChange(
            wish.recipient_key,
            kind,
            at_ms,
            actor=actor,
            tenant=wish.tenant,
            recipient=wish.recipient,
            list_id=wish.list_id,
            lift=True,
            source=actor,
            note=entry.note,
        )
        self.wish(change)

    def send(self, order: Order) -> None:
        """One record."""
        from streams.kafka import NewRecord

        self._invocation.kafka.send(NewRecord(order.topic, order.key, order.value, order.partition))

    def flush(self) -> None:
        """Wait until all is acknowledged; raises KafkaUnavailable."""
        self._invocation.kafka.flush()


def _rows(invocation: Invocation, tenant: str, address: str) -> Iterator[Suppression]:
    from streams.kafka import TopicMissing
    from streams.serde.internal import unpacker
    from streams.suppression_sync import changelog_topic

    topic, read = changelog_topic(invocation.settings.kafka), unpacker(Suppression)
    try:
        count = invocation.kafka.partitions(topic)
    except TopicMissing:
        return  # no worker has ever run
    key = recipient_key(tenant, address, invocation.address_secret) if tenant and "@" in address else ""
    rows: dict[bytes, bytes] = {}
    for record in invocation.kafka.read(topic, [partition_of(key, count)] if key else None):
        if record.key is None or (key and record.key != key.encode()):
            continue
        if record.value:
            rows[record.key] = record.value
        else:
            rows.pop(record.key, None)
    for value in rows.values():
        row = read(value)
        if isinstance(row, Suppression):
            yield row


def _rules(invocation: Invocation) -> Iterator[SuppressionRule]:
    from streams.agents.suppression_view import SYNC, read_rule

    for key, value in invocation.kafka.table(invocation.topics.name(SUPPRESSION_RULES)).items():
        rule = None if key.startswith(SYNC.encode()) else read_rule(value)
        if rule is not None:
            yield rule


def _entries_of(row: Suppression, *, ended: bool) -> Iterator[Entry]:
    held = row.in_force(now_ms())
    for hold in (hold for hold in row.holds if hold.since_ms) if ended else held:
        lifted_ms = max(row.lifted_ms, hold.lifted_ms)
        yield Entry(
            row.recipient or UNKNOWN_ADDRESS,
            hold.kind,
            "list" if hold.list_id else "tenant",
            row.tenant,
            hold.list_id,
            hold.since_ms,
            hold.until_ms if hold in held or lifted_ms < hold.since_ms else lifted_ms,
            hold.source,
            hold.note,
        )

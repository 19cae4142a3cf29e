"""The ledger as dispatch uses it: rows in, rows out, and the receipts that rows owe.

Rules:

1. A row is acknowledged before its receipt leaves, and the receipt before the source offset may advance.
2. A receipt is built from the row and the message alone, so that building it again gives the same record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from streams.agents.dispatch.config import DispatchConfig
from streams.agents.dispatch.flight import Flight
from streams.agents.expiry import Expiry
from streams.agents.ports import EnginePort, TablePort, TicketPort, acked
from streams.core.accounts import OWN, lane_of
from streams.core.event import Reason, ReasonKind
from streams.core.ledger import OPEN, AttemptRow, LedgerState, receipt_kind
from streams.core.message import Message
from streams.core.receipt import Facts, Receipt, ReceiptKind
from streams.core.refusal import bounce_in
from streams.engine.errors import PartitionLost
from streams.failpoints import failpoint
from streams.serde.internal import Malformed, pack
from streams.serde.rows import Rows
from streams.topics import RECEIPTS

_rows = Rows(AttemptRow)
_DAY_MS = 86_400_000


class LedgerCorrupt(RuntimeError):
    """A row of our own making cannot be read. Going on would mean sending twice; a person must look."""


class Book:
    """Sole writer of the table ``attempts``."""

    def __init__(self, app: EnginePort, table: TablePort, config: DispatchConfig) -> None:
        self._app = app
        self._table = table
        self._config = config
        self._expiry = Expiry(table)
        self._receipts = config.topics.name(RECEIPTS)

    # ------------------------------------------------------------------ rows

    def row(self, partition: int, message_id: str) -> AttemptRow | None:
        """What the ledger holds; raises :class:`LedgerCorrupt`."""
        kept = self._table.get(partition, message_id.encode())
        return None if kept is None else self._readable(message_id, kept)

    def rows(self, partition: int) -> Iterator[tuple[str, AttemptRow]]:
        """All rows of a partition; raises :class:`LedgerCorrupt`."""
        for key, kept in self._table.items(partition):
            message_id = key.decode("ascii", "replace")
            yield message_id, self._readable(message_id, kept)

    def write(self, partition: int, message_id: str, row: AttemptRow) -> TicketPort:
        """Put a row; the ticket is its acknowledgement by Kafka."""
        key = message_id.encode()
        return self._table.put(partition, key, _rows.write(row, partial(self._table.get, partition, key)))

    def sweep(self, partition: int, now_ms: int) -> int:
        """Forget settled rows whose retention is over, a bounded number a call; open rows never expire (rule 12)."""
        before_ms = now_ms - int(self._config.topics.ledger_days * _DAY_MS)

        def is_old(key: bytes, kept: bytes) -> bool:
            row = self._readable(key.decode("ascii", "replace"), kept)
            closed = row.state not in OPEN or row.source is None  # a message that never came
            return row.changed_ms < before_ms and closed and not row.owed

        return len(self._expiry.sweep(partition, is_old))

    def lost(self, partition: int) -> None:
        """The partition went to another worker."""
        self._expiry.forget(partition)

    async def settle(self, flights: Sequence[tuple[Flight, AttemptRow]]) -> None:
        """Let each flight rest in its new row: row acknowledged, receipt acknowledged, then the offset."""
        await acked(unwritten(flight for flight, _ in flights))
        tickets = [self._put(flight, row) for flight, row in flights]
        await acked(tickets)
        failpoint("dispatch.after_result")
        receipts = [ticket for flight, row in flights if (ticket := self.tell(flight.partition, flight.message, row))]
        await acked(receipts)
        quits = []
        for flight, _ in flights:
            if flight.row is not None and flight.row.owed and self._stands(flight):
                flight.row = replace(flight.row, owed=False)
                quits.append(self.write(flight.partition, flight.message.message_id, flight.row))
            flight.land()
        await acked(quits)
        for flight, _ in flights:
            flight.land()  # of a record that was delivered again meanwhile

    def _stands(self, flight: Flight) -> bool:
        """Whether its row is still the last: the partition may have gone and come back while the receipt was told."""
        try:
            kept = self.row(flight.partition, flight.message.message_id)
        except PartitionLost:
            return False
        return _mark(kept) == _mark(flight.row)

    def _put(self, flight: Flight, row: AttemptRow) -> TicketPort:
        if row.state is LedgerState.PARKED and not row.asked_ms:
            row = replace(row, asked_ms=max(flight.message.requested_ms, flight.message.send_at_ms))
        unprotected = flight.batch is None or flight.commanded
        if unprotected and receipt_kind(row) is not None and not row.owed:
            row = replace(row, owed=True)
        if row.source is None:
            row = replace(row, source=flight.source)
        flight.row = row
        return self.write(flight.partition, flight.message.message_id, row)

    # ------------------------------------------------------------------ receipts

    def tell(self, partition: int, message: Message, row: AttemptRow) -> TicketPort | None:
        """Emit the receipt that a row owes, if it owes one."""
        kind = receipt_kind(row)
        if kind is None:
            return None
        return self._emit(partition, receipt_of(message, row, kind, self._retry_final(message)))

    def conflict(self, partition: int, message: Message, now_ms: int) -> TicketPort:
        """Tell that a request reused a key for other content; the original is left alone."""
        receipt = Receipt(
            message_id=message.message_id,
            kind=ReceiptKind.CONFLICT,
            receipt_id=f"conflict:{message.fingerprint}",
            occurred_ms=now_ms,
            reason=Reason(
                ReasonKind.IDEMPOTENCY_CONFLICT,
                detail="another request used this idempotency key for this recipient, with other content",
            ),
            facts=facts_of(message, retry_final=False),
        )
        return self._emit(partition, receipt)

    def probe(self, partition: int, message: Message, row: AttemptRow, now_ms: int) -> TicketPort:
        """Ask track what it knows of the row's attempt; the answer comes as a command."""
        receipt = Receipt(
            message_id=message.message_id,
            kind=ReceiptKind.PROBE,
            receipt_id=f"probe:{row.attempt}:{row.checks}",
            occurred_ms=now_ms,
            attempt=row.attempt,
            provider=row.provider,
            facts=facts_of(message, retry_final=self._retry_final(message)),
            vouches=_lane(row),
        )
        return self._emit(partition, receipt)

    def _emit(self, partition: int, receipt: Receipt) -> TicketPort:
        return self._app.emit(self._receipts, partition, receipt.message_id.encode(), pack(receipt))

    def _retry_final(self, message: Message) -> bool:
        name = message.retry_policy or self._config.default_policy
        policy = self._config.policies.get(name)
        return policy is not None and policy.answers_final

    def _readable(self, message_id: str, kept: bytes) -> AttemptRow:
        row = _rows.read(kept)
        if isinstance(row, Malformed):
            raise LedgerCorrupt(f"the ledger row of {message_id} cannot be read: {row.detail}")
        return row


def _mark(row: AttemptRow | None) -> tuple[object, ...]:
    return () if row is None else (row.state, row.attempt, row.changed_ms, row.owed)


def unwritten(flights: Iterable[Flight]) -> list[TicketPort]:
    """Of flights that were taken in ahead of their records: when those are safe."""
    return [flight.written for flight in flights if flight.source is None and flight.written is not None]


def receipt_of(message: Message, row: AttemptRow, kind: ReceiptKind, retry_final: bool) -> Receipt:
    """The receipt of a row: the same again whenever it is built from the same row."""
    once = kind in (ReceiptKind.ACCEPTED, ReceiptKind.SCHEDULED)
    bounce = bounce_in(row.reason) if kind is ReceiptKind.REJECTED else None
    return Receipt(
        message_id=message.message_id,
        kind=kind,
        receipt_id=kind.value if once else f"{kind.value}:{row.attempt}",
        occurred_ms=row.changed_ms,
        attempt=row.attempt,
        provider=row.provider,
        provider_message_id=row.provider_message_id,
        reason=row.reason,
        bounce_type=bounce.bounce_type if bounce else None,
        suppress=bounce is not None and bounce.suppress,
        retry_at_ms=row.due_ms if kind in (ReceiptKind.RETRY, ReceiptKind.SCHEDULED) else 0,
        facts=facts_of(message, retry_final),
        vouches=_lane(row),
    )


def _lane(row: AttemptRow) -> tuple[str, ...]:
    """Where the tenant has brought the account: nobody speaks of the attempt but who holds its keys, or ours."""
    return (lane_of(row.provider, row.account),) if row.account[:1] == OWN else ()


def facts_of(message: Message, retry_final: bool) -> Facts:
    """What track must know of a message."""
    return Facts(
        tenant=message.tenant,
        stream=message.stream,
        idempotency_key=message.idempotency_key,
        recipient=message.recipient.email,
        accepted_ms=message.accepted_ms,
        tags=message.tags,
        metadata=message.metadata,
        traceparent=message.traceparent,
        retry_final=retry_final,
    )

"""Intake: requests become messages on ``outbound``, one per recipient. Stateless; duplicates are decided by dispatch.

Rules:

1. Whatever cannot be sent is a dead letter with its reason, and, where the sender can be told, a refusal on
   ``receipts`` that becomes ``message.rejected``. Nothing that somebody wrote makes intake raise.
2. A content that several messages share is on ``contents``, acknowledged, before a message names it.
3. Offsets go only after everything emitted for them is acknowledged.
4. What a request names by URL is fetched beside the others' way: a slow server holds up nobody else's mail.
5. A request older than the ledger remembers is never sent, and never spoken of: its messages may be long delivered.
6. What came through the bulk door is bulk.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Protocol

import msgspec

from streams.agents.configuration import Configured
from streams.agents.contents import ContentStore
from streams.agents.dead_letters import dead_letter
from streams.agents.intake_counts import IntakeCounts, IntakeObserver, SilentIntake
from streams.agents.intake_fetching import Fetches, LooseUnit, NoFetcher
from streams.agents.intake_items import Item, in_languages
from streams.agents.intake_refusals import Known, known_in, known_of, refusals
from streams.agents.ports import BatchPort, EnginePort, RecordPort, UnitFactory, UnitPort
from streams.agents.turns import Turn
from streams.core import ids
from streams.core.event import Reason, ReasonKind
from streams.core.fanout import PART, Shared, content_of, mentions_of, message_of, parts_of, share
from streams.core.message import RecordRef, Stream, Template
from streams.core.request import Invalid, Retention, read_request, times_fault
from streams.core.tenant import Tenant
from streams.engine.errors import RecordTooLarge
from streams.failpoints import failpoint
from streams.serde.internal import pack, pack_like
from streams.serde.public import MAX_BYTES, NeedsSchema, SchemaCache, Undecodable, decode_request
from streams.serde.registry import RegistryUnavailable
from streams.topics import CONTENTS, DEAD_LETTERS, RECEIPTS, SEND_REQUESTS_BULK, Topics

log = logging.getLogger(__name__)

_DAY_MS = 86_400_000
_REGISTRY_BACKOFF_S = 1.0
_MANY = 4  # from here on encoding what messages share only once pays
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


class Registry(SchemaCache, Protocol):
    """A schema registry that can be asked."""

    async def fetch(self, schema_id: int) -> None: ...


@dataclass(frozen=True, slots=True)
class IntakeConfig:
    """``partitions`` is the deployment's count; ``secret`` keys recipient keys (empty: guessing can confirm them).

    A single message carries its content inline up to ``max_inline_bytes`` of encoding.
    """

    topics: Topics
    partitions: int
    secret: bytes = b""
    retention: Retention = field(default_factory=lambda: Retention(30 * _DAY_MS, _DAY_MS))
    max_inline_bytes: int = 64 * 1024
    max_request_bytes: int = MAX_BYTES


@dataclass(slots=True)
class Intake:
    """``clock`` gives epoch milliseconds."""

    app: EnginePort
    unit: UnitFactory
    contents: ContentStore
    templates: Configured[Template]
    tenants: Configured[Tenant]
    config: IntakeConfig
    clock: Callable[[], int]
    registry: Registry | None = None
    observer: IntakeObserver = field(default_factory=SilentIntake)
    fetching: Fetches = field(default_factory=NoFetcher)

    async def handle(self, batch: BatchPort) -> None:
        """Take in a run of requests. Raises only what the engine raises when the process is ending."""
        began_s = time.perf_counter()
        failpoint("intake.before_produce")
        run = _Run(self, batch, self.unit(self.app, batch), self.clock())
        for record in batch.records:
            await run.read(record)
        await run.configure()
        for item in run.set_aside():
            batch.retain()
            await self.fetching.start(self._fetched(batch, item))
        await run.write_contents()
        await run.fan_out()
        failpoint("intake.after_produce")
        run.unit.finish()
        run.counts.seconds = time.perf_counter() - began_s
        self.observer.batch(batch.topic, run.counts)
        await run.unit.room()

    async def _fetched(self, batch: BatchPort, item: Item) -> None:
        """Go on with a request whose attachments have to be fetched; its offset waits for it."""
        unit = LooseUnit(self.app, batch)
        run = _Run(self, batch, unit, self.clock())
        await run.fetch(item)
        await run.write_contents()
        await run.fan_out()
        await unit.acked()
        self.observer.batch(batch.topic, run.counts)
        batch.release()


class _Run:
    """The work on one batch."""

    def __init__(self, intake: Intake, batch: BatchPort, unit: UnitPort, now_ms: int) -> None:
        config = intake.config
        self.unit = unit
        self.counts = IntakeCounts()
        self._intake = intake
        self._config = config
        self._batch = batch
        self._now_ms = now_ms
        self._items: list[Item] = []
        self._turn = Turn()
        self._bulk_door = batch.topic == config.topics.name(SEND_REQUESTS_BULK)
        self._contents_topic = config.topics.name(CONTENTS)
        self._receipts_topic = config.topics.name(RECEIPTS)
        self._dead_letters_topic = config.topics.name(DEAD_LETTERS)

    # -- reading

    async def read(self, record: RecordPort) -> None:
        """Decode and validate one request."""
        found = decode_request(record.value, self._intake.registry, max_bytes=self._config.max_request_bytes)
        while isinstance(found, NeedsSchema):
            await self._learn(found.schema_id)
            found = decode_request(record.value, self._intake.registry, max_bytes=self._config.max_request_bytes)
        if isinstance(found, Undecodable):
            self._dead(record, found.reason, found.detail)
            return
        request = read_request(found)
        if isinstance(request, Invalid):
            self._refuse(record, request, known_in(found, self._bulk_door))
            return
        if self._bulk_door and request.stream is not Stream.BULK:
            request = replace(request, stream=Stream.BULK)
        self.counts.requests[request.stream] += 1
        requested_ms = record.timestamp if record.timestamp >= 0 else self._now_ms
        late = times_fault(request, requested_ms, self._now_ms, self._config.retention)
        if late is not None and late.reason.kind is ReasonKind.EXPIRED:
            self._dead(record, "too_old", late.reason.detail)
        elif late is not None:
            self._refuse(record, late, known_of(request))
        else:
            self._items.append(Item(record, request, requested_ms))

    async def _learn(self, schema_id: int) -> None:
        """Ask the registry until it answers: a registry that is down is no reason to refuse a request."""
        assert self._intake.registry is not None
        while True:
            try:
                return await self._intake.registry.fetch(schema_id)
            except RegistryUnavailable as exc:
                log.warning("the schema registry does not answer, trying again: %s", exc)
                await asyncio.sleep(_REGISTRY_BACKOFF_S)

    # -- configuration (rule 15 of the design: read to the end before saying that something is missing)

    async def configure(self) -> None:
        """Give every request its tenant and template; refuse those whose are missing or switched off."""
        missing = self._look_up(self._items)
        if missing:
            if any(item.template is None and item.request.template_id for item in missing):
                await self._intake.templates.caught_up()
            if any(item.request.sender is None for item in missing):
                await self._intake.tenants.caught_up()
            self._look_up(missing)
        self._items = [
            one for item in self._items if self._is_served(item) for one in in_languages(item, self._intake.templates)
        ]

    def _look_up(self, items: list[Item]) -> list[Item]:
        """The items of which something is still missing."""
        missing = []
        for item in items:
            request = item.request
            item.tenant = self._intake.tenants.get(request.tenant)
            if request.template_id:
                item.template = self._intake.templates.get(request.template_id)
                if item.template is None:
                    missing.append(item)
                    continue
            if request.sender is None and (item.tenant is None or item.tenant.sender is None):
                missing.append(item)
        return missing

    def _is_served(self, item: Item) -> bool:
        request, tenant = item.request, item.tenant
        if tenant is not None and not tenant.enabled:
            return self._cannot(item, ReasonKind.CONFIGURATION, "tenant", f"tenant {request.tenant} is switched off")
        if request.template_id and item.template is None:
            detail = f"there is no template {request.template_id}"
            return self._cannot(item, ReasonKind.TEMPLATE, "template_id", detail)
        content = content_of(request, item.template, tenant)
        if content is None:
            detail = f"from is missing, and tenant {request.tenant} has no default sender"
            return self._cannot(item, ReasonKind.INVALID_REQUEST, "from", detail)
        item.shared = share(content, pack)
        return True

    def _cannot(self, item: Item, kind: ReasonKind, field: str, detail: str) -> bool:
        self._refuse(item.record, Invalid(Reason(kind, code=field, detail=detail), field), known_of(item.request))
        return False

    # -- attachments by URL

    def set_aside(self) -> list[Item]:
        """Take out the requests that something must be fetched for."""
        if not any(item.request.attachments for item in self._items):
            return []
        aside = [item for item in self._items if any(one.url for one in item.request.attachments)]
        if aside:
            self._items = [item for item in self._items if item not in aside]
        return aside

    async def fetch(self, item: Item) -> None:
        """Give the content of a request its files, or refuse it. What was asked for, not what was found, is its
        identity: the same request again is a repeat even if the file has changed.
        """
        assert item.shared is not None
        found = await self._intake.fetching.fetch(item.request.attachments)
        if isinstance(found, str):
            self._cannot(item, ReasonKind.ATTACHMENT, "attachments", found)
            return
        filled = share(replace(item.shared.content, attachments=found), pack)
        item.shared = replace(filled, identity=item.shared.identity)
        self._items.append(item)

    # -- contents

    async def write_contents(self) -> None:
        """Each content that several messages share, once, acknowledged."""
        written: dict[str, asyncio.Task[RecordRef | None]] = {}
        for item in self._items:
            shared = item.shared
            assert shared is not None
            if mentions_of(item.request) == 1 and len(shared.body) <= self._config.max_inline_bytes:
                continue
            item.ref = self._intake.contents.ref_of(shared.content_hash)
            if item.ref is None and shared.content_hash not in written:
                written[shared.content_hash] = asyncio.ensure_future(self._store(shared))
        if not written:
            return
        await asyncio.gather(*written.values())
        kept = []
        for item in self._items:
            assert item.shared is not None
            task = written.get(item.shared.content_hash)
            if task is not None and item.ref is None:
                item.ref = task.result()
                if item.ref is None:
                    self._too_large(item, len(item.shared.body))
                    continue
            kept.append(item)
        self._items = kept

    async def _store(self, shared: Shared) -> RecordRef | None:
        """Where the content lies now; None if no record can be as large."""
        key = shared.content_hash
        partition = ids.partition_of_text(key, self._config.partitions)
        try:
            offset = await self._intake.app.store(self._contents_topic, partition, key.encode(), shared.body)
        except RecordTooLarge:
            return None
        if offset < 0:
            raise RuntimeError("the broker did not tell where it put a content")
        ref = RecordRef(self._contents_topic, partition, offset)
        self._intake.contents.remember(key, shared.body, ref)
        return ref

    def _too_large(self, item: Item, size: int) -> None:
        detail = f"the content has {size} bytes when encoded, more than a record may have"
        self._cannot(item, ReasonKind.MESSAGE_TOO_LARGE, "", detail)

    # -- messages

    async def fan_out(self) -> None:
        """Emit all messages, and the refusals of recipients that cannot be sent to."""
        for item in self._items:
            await self._emit(item)

    async def _emit(self, item: Item) -> None:
        request, shared, config = item.request, item.shared, self._config
        assert shared is not None
        parts = []
        for part in parts_of(request, shared, _encode, config.secret):
            parts.append(part)
            if self._turn.over():
                await asyncio.sleep(0)
        refused = request.refused if item.first else ()
        if item.first:
            self.counts.messages[request.stream] += len(parts)
            self.counts.duplicates[request.stream] += mentions_of(request) - len(parts)
        if refused:
            sent = frozenset(part[0] for part in parts)  # "Ann@x" is sent to: of " ann@x" its sender hears nothing
            for recipient in refused:
                self._tell(known_of(request), (recipient.email,), recipient.reason, but=sent)
        if item.languages is not None:
            parts = [part for part in parts if item.is_for(part)]
        topic, partitions, emit = config.topics.outbound(request.stream), config.partitions, self.unit.emit
        pack_part = self._packer(item, parts)
        for part in parts:
            message_id = part[0]
            try:
                emit(topic, ids.partition_of(message_id, partitions), message_id.encode(), pack_part(part))
            except RecordTooLarge as exc:
                reason = Reason(ReasonKind.MESSAGE_TOO_LARGE, detail=str(exc))
                self._tell(known_of(request), (part[1].email,), reason)
            if self._turn.over():
                await asyncio.sleep(0)

    def _packer(self, item: Item, parts: list[Any]) -> Callable[[Any], bytes]:
        """How to encode the message of a part: what many messages share is encoded once."""
        shared = item.shared
        assert shared is not None
        trace = _traceparent(self._batch, item.record)

        def message(part: Any) -> Any:
            return message_of(
                item.request,
                shared,
                part,
                requested_ms=item.requested_ms,
                accepted_ms=self._now_ms,
                content_ref=item.ref,
                traceparent=trace,
                tenant=item.tenant,
            )

        if len(parts) < _MANY:
            return lambda part: pack(message(part))
        write = pack_like(message(parts[0]), *PART)
        return lambda part: write(*part)

    # -- refusals

    def _refuse(self, record: RecordPort, invalid: Invalid, known: Known | None) -> None:
        """A dead letter for us, and for each message that can be told of it a refusal for the sender."""
        self._dead(record, invalid.reason.kind, invalid.reason.detail)
        if known is not None:
            self._tell(known, known.emails, invalid.reason)

    def _tell(
        self, known: Known, emails: tuple[str, ...], reason: Reason, *, but: frozenset[str] = frozenset()
    ) -> None:
        self.counts.refused[known.facts.stream] += len(emails)
        for receipt in refusals(known, emails, reason, self._now_ms, self._config.secret):
            if receipt.message_id in but:
                continue
            partition = ids.partition_of(receipt.message_id, self._config.partitions)
            self.unit.emit(self._receipts_topic, partition, receipt.message_id.encode(), pack(receipt))

    def _dead(self, record: RecordPort, reason: str, detail: str) -> None:
        self.counts.dead_letters[reason] += 1
        dead_letter(self._dead_letters_topic, self.unit, self._batch, record, reason, detail)


_is_traceparent = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}").fullmatch


def _traceparent(batch: BatchPort, record: RecordPort) -> str:
    """The sender's trace context (W3C Trace Context), else one of our own that a redelivery gets again."""
    for name, value in record.headers:
        if name == "traceparent" and _is_traceparent(text := (value or b"").decode("ascii", "replace")):
            return text
    digest = blake2b(f"{batch.topic}/{batch.partition}/{record.offset}".encode(), digest_size=24).hexdigest()
    return f"00-{digest[:32]}-{digest[32:]}-00"

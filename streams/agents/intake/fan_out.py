"""The last step: a message for each recipient, and refusals for those that cannot be sent to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from hashlib import blake2b

import msgspec

from streams.agents.intake.items import Item
from streams.agents.intake.refusals import known_of
from streams.agents.intake.run import Run
from streams.agents.ports import BatchPort, RecordPort
from streams.core import ids
from streams.core.event import Reason, ReasonKind
from streams.core.fanout import PART, Part, mentions_of, message_of, parts_of
from streams.core.message import Message, Stream
from streams.engine.errors import RecordTooLarge
from streams.serde.internal import pack, pack_like

_MANY = 4  # from here on encoding what messages share only once pays
_STEPS_OF_ONE = 10
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


async def fan_out(run: Run, items: Iterable[Item]) -> None:
    """Emit all messages, and the refusals of recipients that cannot be sent to."""
    for item in items:
        await _emit(run, item)
    run.ahead.send_off()


async def _emit(run: Run, item: Item) -> None:
    request = item.request
    parts = await _parts(run, item)
    if item.first:
        run.counts.messages[request.stream] += len(parts)
        run.counts.duplicates[request.stream] += mentions_of(request) - len(parts)
        if request.refused:
            sent = frozenset(part[0] for part in parts)  # "Ann@x" is sent to: of " ann@x" its sender hears nothing
            for recipient in request.refused:
                run.tell(known_of(request), (recipient.email,), recipient.reason, but=sent)
    give, steps = _giver(run, item, parts)
    for part in parts:
        if item.is_for(part):
            try:
                give(part)
            except RecordTooLarge as exc:
                reason = Reason(ReasonKind.MESSAGE_TOO_LARGE, detail=str(exc))
                run.tell(known_of(request), (part[1].email,), reason)
        if run.turn.over(steps):
            await run.others()


async def _parts(run: Run, item: Item) -> list[Part]:
    """Those of the whole request, which its languages share: an identity names no language."""
    assert item.shared is not None
    if not item.parts:
        parts = []
        for part in parts_of(item.request, item.shared, _encode, run.config.secret):
            parts.append(part)
            if run.turn.over():
                await run.others()
        item.parts[:] = parts
    return item.parts


def _giver(run: Run, item: Item, parts: list[Part]) -> tuple[Callable[[Part], None], int]:
    """How to emit the message of a part, and for how many steps that counts.

    What many messages share is encoded once; a few are handed on at once.
    """
    shared, stream = item.shared, item.request.stream
    assert shared is not None
    trace = _traceparent(run.batch, item.record)
    topic, partitions, unit = run.config.topics.outbound(stream), run.config.partitions, run.unit

    def message_for(part: Part) -> Message:
        return message_of(
            item.request,
            shared,
            part,
            requested_ms=item.requested_ms,
            accepted_ms=run.now_ms,
            content_ref=item.ref,
            traceparent=trace,
            tenant=item.tenant,
        )

    def give_one(part: Part) -> None:
        message, partition = message_for(part), ids.partition_of(part[0], partitions)
        if stream is Stream.TRANSACTIONAL and run.ahead.takes(partition):
            value = pack(message)
            placed = unit.place(topic, partition, part[0].encode(), value)
            if placed is not None and placed.near:
                run.ahead.take(message, partition, placed, len(value))
        else:
            unit.emit(topic, partition, part[0].encode(), pack(message))

    if len(parts) < _MANY:
        return give_one, _STEPS_OF_ONE
    write = pack_like(message_for(parts[0]), *PART)

    def give_alike(part: Part) -> None:
        unit.emit(topic, ids.partition_of(part[0], partitions), part[0].encode(), write(*part))

    return give_alike, 1


_is_traceparent = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}").fullmatch


def _traceparent(batch: BatchPort, record: RecordPort) -> str:
    """The sender's trace context (W3C Trace Context), else one of our own that a redelivery gets again."""
    for name, value in record.headers:
        if name == "traceparent" and _is_traceparent(text := (value or b"").decode("ascii", "replace")):
            return text
    digest = blake2b(f"{batch.topic}/{batch.partition}/{record.offset}".encode(), digest_size=24).hexdigest()
    return f"00-{digest[:32]}-{digest[32:]}-00"

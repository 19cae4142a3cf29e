"""Normalise: raw provider payloads in, receipts out. Only a provider's adapter knows its vocabulary.

Rules:

1. Nothing that was not verified becomes a receipt: a payload that ingress did not vouch for, from a source that is not
   trusted, is a dead letter.
2. What a payload says travels to the partition of our own message id, if it has the shape of one; else to lookups,
   which may know the provider's id; else it is an orphan, counted.
3. A webhook token belongs to one payload. The same token with another payload is a replay: dropped, counted, noted. The
   same payload again passes, because track tells repeats apart and a crash may have swallowed the first.
4. Receipts are acknowledged before the token's row is logged, and that before the offset.
5. A provider speaks of its own attempts: the receipt says whose proof it came with, and track believes it about those.
   Our own tracking and mailbox (whose tokens and return paths are ours) speak of all, and the keys of an account that a
   tenant has brought of that tenant's attempts alone: ids and tokens of its payloads are nobody else's either.
6. Words of a vendor that nobody knows are counted; payloads that nobody can read are dead letters.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol

from streams.agents.bindings import Find, bind_key
from streams.agents.dead_letters import dead_letter
from streams.agents.expiry import Expiry
from streams.agents.ports import BatchPort, EnginePort, RecordPort, TablePort, UnitFactory, UnitPort
from streams.agents.turns import Turn
from streams.core.accounts import OWN, lane_of
from streams.core.audit import AuditRecord, AuditResult, TargetKind, audit_id
from streams.core.belief import EVERYONE
from streams.core.event import Reason
from streams.core.ids import is_message_id, partition_of, partition_of_text
from streams.core.receipt import Receipt
from streams.providers.base import Reading, ReportedByOthers, SharesProof, Sighting, Unreadable
from streams.serde.configuration import encode_audit
from streams.serde.internal import pack
from streams.topics import AUDIT_LOG, DEAD_LETTERS, FILLED_BY, LOOKUPS, OWN_TYPES, RECEIPTS, WEBHOOKS, Topics

TOKEN_LIFE_MS = 26 * 3_600_000
"""How long a token is remembered: longer than a signature stays fresh, and than providers keep repeating."""

VOUCHED = frozenset({"1", "sqs", "mns", "mailbox"})
"""What the header ``verified`` may say: a signature held, or the credentials of a queue or mailbox vouch for it."""

_DAY_MS = 24 * 3_600_000
_MAX_ATTEMPT = 10_000
_MAX_URL = 2_048
_MAX_DETAIL = 1_024
_MAX_TEXT = 512
_MAX_CODE = 264  # "list:" and a list's id
_MAX_ID = 256
"""Bytes. Rows keep dozens of receipts whole until their message is known; together they stay far below a record."""
_TOKEN_ROW = struct.Struct(">q16s")  # first seen (epoch ms), hash of the payload


class Reader(Protocol):
    """What normalise needs of a provider; our own tracking and bounce mailbox are readers too."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...

    def read_events(self, payload: bytes, received_ms: int) -> Reading | Unreadable: ...


@dataclass(slots=True)
class NormaliseCounts:
    """Sums over one batch, by provider; ``dead_letters`` by (topic, reason). ``age_s`` are (provider, event age);
    ``seconds`` is the time that the batch took.
    """

    payloads: int = 0
    receipts: Counter[str] = field(default_factory=Counter)
    lookups: Counter[str] = field(default_factory=Counter)
    orphans: Counter[str] = field(default_factory=Counter)
    unknown_words: Counter[str] = field(default_factory=Counter)
    replays: Counter[str] = field(default_factory=Counter)
    repeats: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[tuple[str, str]] = field(default_factory=Counter)
    age_s: list[tuple[str, float]] = field(default_factory=list)
    seconds: float = 0.0


class NormaliseObserver(Protocol):
    """Called once per batch, synchronously."""

    def batch(self, counts: NormaliseCounts) -> None: ...


class SilentNormalise:
    """Tells nobody."""

    def batch(self, counts: NormaliseCounts) -> None: ...


@dataclass(frozen=True, slots=True)
class NormaliseConfig:
    """``readers`` by configured name. ``trusted`` names those whose payloads may come unverified, over a bridge of the
    user's own that nobody else can write to.
    """

    topics: Topics
    partitions: int
    readers: Mapping[str, Reader]
    trusted: frozenset[str] = frozenset()
    audit_prefix: bytes | None = None

    def vouches(self, reader: Reader, name: str) -> tuple[str, ...]:
        """Of whose attempts it may speak, if not of those of ``name`` alone. An adapter that cannot say which webhooks
        are its own speaks for all of its type, and so does a bridge that names no provider.
        """
        if reader.type in OWN_TYPES:
            return (EVERYONE,)
        alike = tuple(
            sorted(
                other
                for other, known in self.readers.items()
                if (isinstance(known, ReportedByOthers) and known.is_reported_by(reader.type, name))
                or (
                    known.type == reader.type
                    and (other == name or not name or not isinstance(reader, SharesProof) or reader.proves_alike(known))
                )
            )
        )
        return alike if len(alike) > 1 else ()

    def reader(self, topic: str, name: str) -> Reader | None:
        """Whose payload it is: the named one's, if its type fits the topic, else that of any of the topic's type."""
        type_ = topic.removeprefix(self.topics.name(WEBHOOKS))
        named = self.readers.get(name)
        if named is not None:
            return named if named.type == type_ else None
        return next((reader for reader in self.readers.values() if reader.type == type_), None)


@dataclass(slots=True)
class Normalise:
    """``clock`` gives epoch milliseconds."""

    app: EnginePort
    tokens: TablePort
    unit: UnitFactory
    config: NormaliseConfig
    clock: Callable[[], int]
    observer: NormaliseObserver = field(default_factory=SilentNormalise)
    vouches: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict, init=False)
    """By type and the name in the header ``provider``: worked out once."""
    _old_tokens: Expiry = field(init=False)

    def __post_init__(self) -> None:
        self._old_tokens = Expiry(self.tokens)

    async def handle(self, batch: BatchPort) -> None:
        """Read a run of payloads; send their receipts home, then remember their tokens, then let the offset go."""
        began_s = time.perf_counter()
        run, turn = _Run(self, batch, self.unit(self.app, batch), self.clock()), Turn()
        for record in batch.records:
            run.take(record)
            if turn.over():
                await asyncio.sleep(0)
        run.unit.finish()
        run.counts.seconds = time.perf_counter() - began_s
        self.observer.batch(run.counts)
        await run.unit.room()

    async def sweep(self, partition: int, now_ms: int) -> None:
        """Forget old tokens of a partition that is ours: a bounded number per call, so call it again and again."""
        self._old_tokens.sweep(partition, lambda _, row: _token_row(row)[0] < now_ms - TOKEN_LIFE_MS)

    def lost(self, partition: int) -> None:
        """The partition went to another worker."""
        self._old_tokens.forget(partition)


class _Run:
    """The work on one batch."""

    def __init__(self, normalise: Normalise, batch: BatchPort, unit: UnitPort, now_ms: int) -> None:
        self.unit = unit
        self.counts = NormaliseCounts()
        self._tokens = normalise.tokens
        self._vouches = normalise.vouches
        self._config = normalise.config
        self._batch = batch
        self._now_ms = now_ms

    def take(self, record: RecordPort) -> None:
        """One payload."""
        self.counts.payloads += 1
        headers = {name: value.decode("utf-8", "replace") for name, value in record.headers if value is not None}
        reader = self._config.reader(self._batch.topic, headers.get("provider", ""))
        if reader is None:
            self._dead(record, "unknown_provider", f"no provider {headers.get('provider', '')!r} reads this topic")
            return
        name = headers.get("provider") or reader.name
        if headers.get("verified") not in VOUCHED and name not in self._config.trusted:
            self._dead(record, "unverified", f"nobody vouches for this payload of {name}")
            return
        payload = record.value or b""
        account = headers.get("account", "")
        own = account if account.startswith(OWN) else ""
        if self._is_replay(record, reader, name, headers.get("token", ""), payload, own):
            return
        received_ms = _received_ms(headers.get("received_at", ""), record.timestamp)
        named = headers.get("provider", "")
        vouches = self._vouches.get((reader.type, named))
        if vouches is None:
            vouches = self._vouches[reader.type, named] = self._config.vouches(reader, named)
        reading = reader.read_events(payload, received_ms)
        if isinstance(reading, Unreadable):
            self._dead(record, "unreadable", reading.detail)
            return
        if reading.unknown_words:
            self.counts.unknown_words[name] += len(reading.unknown_words)
        for sighting in reading.sightings:
            self.counts.age_s.append((name, max(0, received_ms - sighting.occurred_ms) / 1000))
            receipt = _receipt(sighting, reader, name, received_ms, vouches, filled=FILLED_BY in headers, own=own)
            self._send_home(sighting, receipt, name)

    def _send_home(self, sighting: Sighting, receipt: Receipt, name: str) -> None:
        topics, partitions = self._config.topics, self._config.partitions
        if receipt.message_id:
            self.counts.receipts[name] += 1
            partition = partition_of(receipt.message_id, partitions)
            self.unit.emit(topics.name(RECEIPTS), partition, receipt.message_id.encode(), pack(receipt))
        elif receipt.provider_message_id:
            self.counts.lookups[name] += 1
            find = Find(receipt, sighting.recipient, self._now_ms)
            partition = partition_of_text(receipt.provider_message_id, partitions)
            self.unit.emit(topics.name(LOOKUPS), partition, bind_key(find), pack(find))
        else:
            self.counts.orphans[name] += 1

    def _is_replay(self, record: RecordPort, reader: Reader, name: str, token: str, payload: bytes, own: str) -> bool:
        """Whether the token was seen with another payload; remembers it if it is new."""
        if not token:
            return False
        key = f"{reader.type}{own}:{token[:_MAX_TEXT]}".encode()
        digest = blake2b(payload, digest_size=16).digest()
        kept = self._tokens.get(self._batch.partition, key)
        if kept is None:
            self.unit.put(self._tokens, key, _TOKEN_ROW.pack(self._now_ms, digest))
            return False
        if _token_row(kept)[1] == digest:
            self.counts.repeats[name] += 1
            return False
        self.counts.replays[name] += 1
        place = f"{self._batch.topic}/{self._batch.partition}/{record.offset}"
        audit = AuditRecord(
            audit_id("normalise", "webhook.replay", name, place),
            self._now_ms,
            "normalise",
            "webhook.replay",
            TargetKind.PROVIDER,
            name,
            result=AuditResult.REFUSED,
            detail="a webhook token came again with another payload",
            attributes={"record": place},
        )
        value = encode_audit(audit, self._config.audit_prefix)
        self.unit.emit(self._config.topics.name(AUDIT_LOG), 0, b"", value)
        return True

    def _dead(self, record: RecordPort, reason: str, detail: str) -> None:
        self.counts.dead_letters[self._batch.topic, reason] += 1
        dead_letter(self._config.topics.name(DEAD_LETTERS), self.unit, self._batch, record, reason, detail)


def _receipt(
    sighting: Sighting,
    reader: Reader,
    name: str,
    received_ms: int,
    vouches: tuple[str, ...],
    *,
    filled: bool,
    own: str = "",
) -> Receipt:
    """The sighting as a fact about one of our messages; without a message id if it does not carry one of ours.

    ``own`` is the account, if its tenant has brought it.
    A time that cannot be (none, or later than a day after it was told) becomes the time of receipt.
    """
    reason = sighting.reason
    if reason is not None:
        code, enhanced = _cut(reason.code, _MAX_CODE), _cut(reason.enhanced_code, _MAX_ID)
        reason = Reason(reason.kind, code, enhanced, _cut(reason.detail, _MAX_DETAIL))
    return Receipt(
        sighting.message_id if is_message_id(sighting.message_id) else "",
        sighting.kind,
        _cut(f"{reader.type}{own}/{sighting.sighting_id}", _MAX_ID),
        sighting.occurred_ms if 0 < sighting.occurred_ms <= received_ms + _DAY_MS else received_ms,
        sighting.attempt if 0 < sighting.attempt < _MAX_ATTEMPT else 0,
        sighting.provider or name,
        _cut(sighting.provider_message_id, _MAX_TEXT),
        reason,
        sighting.bounce_type,
        sighting.suppress,
        url=_cut(sighting.url, _MAX_URL),
        ip=_cut(sighting.ip, _MAX_ID),
        user_agent=_cut(sighting.user_agent, _MAX_TEXT),
        automated=sighting.automated,
        vouches=tuple(lane_of(one, own) for one in vouches or (name,)) if own else vouches,
        filled=filled,
    )


def _cut(text: str, most: int) -> str:
    """At most so many bytes of ``text``, without half a character at the end."""
    if len(text) <= most // 4 or (len(text) <= most and text.isascii()):
        return text
    return text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")


def _received_ms(header: str, timestamp_ms: int) -> int:
    return int(header) if header.isascii() and header.isdigit() and len(header) <= 15 else timestamp_ms


def _token_row(row: bytes) -> tuple[int, bytes]:
    """When the token was first seen, and its payload's hash; a row nobody can read is old and fits nothing."""
    if len(row) != _TOKEN_ROW.size:
        return 0, b""
    first_seen_ms, digest = _TOKEN_ROW.unpack(row)
    return int(first_seen_ms), bytes(digest)

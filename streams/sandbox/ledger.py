"""The sandbox's own account of what it accepted and what it reported: the truth that a test compares with.

One JSON object a line. A line with `provider` is one accepted recipient and is durable before the HTTP answer; a
line with `webhook` is one event whose reporting has come to an end (`answer` says how); a line with `list` changes
a suppression list by request. Memory per accepted recipient: 32 bytes of index (bounded by `index_limit`) and one
hash for counting duplicates; everything else is read back from the file.
"""

from __future__ import annotations

import bisect
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from streams.sandbox.journal import Journal

PROVIDERS: Final = ("mailgun", "ses", "smtp", "directmail")


class Plan(msgspec.Struct, gc=False):
    """The fate of a recipient: the outcome asked for or drawn, its neutral end, the provider's event names in order."""

    outcome: str
    end: str
    events: list[str]


class Accepted(msgspec.Struct, gc=False):
    """One accepted recipient. `provider_message_id` has no angle brackets; `size` is of the rendered copy, in bytes."""

    provider: str
    provider_message_id: str
    recipient: str
    variables: dict[str, Any]
    tags: list[str]
    accepted_ms: int
    call_id: str
    subject: str
    size: int
    plan: Plan
    sender: str = ""
    scheduled_ms: int = 0
    configuration_set: str = ""
    destination: list[str] | None = None  # all envelope recipients, when there are more than this one
    domain: str = ""
    detail: str = ""  # what a click will click on, or the attribute that a template missed
    template: str = ""


class Reported(msgspec.Struct, gc=False):
    """One event at the end of its reporting. `at_ms` is when the event happened, `answered_ms` when reporting ended.

    `answer`: `delivered` (the receiver took it), `refused` (it said: never again), `gave_up` (retries are used up),
    `no_subscription` (nobody had confirmed). `status` is the receiver's last HTTP status, 0 when there was none.
    """

    webhook: str
    event_id: str
    event: str
    recipient: str
    provider_message_id: str
    variables: dict[str, Any]
    at_ms: int
    answer: str
    attempts: int
    status: int
    answered_ms: int


class ListChange(msgspec.Struct, gc=False):
    """A suppression list was changed by request. `entry` None removes; address `*` is the whole list."""

    list: str
    address: str
    entry: dict[str, Any] | None
    at_ms: int


_encode: Final = msgspec.json.Encoder().encode
_accepted: Final = msgspec.json.Decoder(Accepted)
_reported: Final = msgspec.json.Decoder(Reported)
_list_change: Final = msgspec.json.Decoder(ListChange)


class _Index:
    """Where a provider's accepts are in the file, in the order of acceptance."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.offsets, self.times = array("q"), array("q")
        self.recipients, self.ids = array("q"), array("q")
        self.scheduled_ahead_ms = 0

    def add(self, record: Accepted, offset: int) -> None:
        times = self.times
        last = times[-1] if times else 0
        times.append(max(last, record.accepted_ms))
        self.offsets.append(offset)
        self.recipients.append(hash(record.recipient.lower()))
        self.ids.append(hash(record.provider_message_id))
        if record.scheduled_ms:
            self.scheduled_ahead_ms = max(self.scheduled_ahead_ms, record.scheduled_ms - record.accepted_ms)
        if len(times) > self.limit:
            self._forget(max(1, self.limit // 8))

    def _forget(self, count: int) -> None:
        for column in (self.offsets, self.times, self.recipients, self.ids):
            del column[:count]


class Ledger:
    """Counts, finds and streams. One writer: the sandbox that opened it."""

    def __init__(self, path: Path, identity_variable: str, index_limit: int) -> None:
        self._journal = Journal(path)
        self._identity_variable = identity_variable
        self._indexes = {provider: _Index(index_limit) for provider in PROVIDERS}
        self._identities: set[int] = set()
        self.duplicates = 0
        self.accepted: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.ends: dict[str, Counter[str]] = {provider: Counter() for provider in PROVIDERS}
        self.reported_events: dict[str, Counter[str]] = {provider: Counter() for provider in PROVIDERS}
        self.answers: dict[str, Counter[str]] = {provider: Counter() for provider in PROVIDERS}
        self._last_call = ""

    @property
    def path(self) -> Path:
        """The file."""
        return self._journal.path

    # writing

    def accept(self, records: list[Accepted]) -> None:
        """Buffers one line per record; durable after `committed`."""
        append = self._journal.append
        for record in records:
            self._count(record, append(_encode(record) + b"\n"))

    def report(self, event: Reported) -> None:
        """Buffers the line of an event whose reporting ended; nobody waits for it."""
        self._journal.append(_encode(event) + b"\n")
        self._count_report(event)

    def change_list(self, change: ListChange) -> None:
        """Buffers a suppression list's change."""
        self._journal.append(_encode(change) + b"\n")

    async def committed(self) -> None:
        """Waits until everything buffered so far is on the disk."""
        await self._journal.committed()

    async def close(self) -> None:
        """Commits and closes the file."""
        await self._journal.close()

    def _count(self, record: Accepted, offset: int) -> None:
        provider = record.provider
        self._indexes[provider].add(record, offset)
        self.accepted[provider] += 1
        self.ends[provider][record.plan.end] += 1
        if record.call_id != self._last_call:
            self._last_call = record.call_id
            self.calls[provider] += 1
        identity = record.variables.get(self._identity_variable)
        if identity is not None:
            key = hash(str(identity))
            if key in self._identities:
                self.duplicates += 1
            else:
                self._identities.add(key)

    def _count_report(self, event: Reported) -> None:
        self.reported_events[event.webhook][event.event] += 1
        self.answers[event.webhook][event.answer] += 1

    # reading

    def find(self, provider: str, *, recipient: str | None = None, message_id: str | None = None) -> Iterator[Accepted]:
        """The durable accepts of a recipient (any case) or of a message id, oldest first."""
        index = self._indexes[provider]
        if message_id is not None:
            column, wanted = index.ids, hash(message_id)
        else:
            column, wanted = index.recipients, hash((recipient or "").lower())
        position = -1
        while True:
            try:
                position = column.index(wanted, position + 1)
            except ValueError:
                return
            record = self._read(index, position)
            if record is None:
                return
            if message_id is not None and record.provider_message_id != message_id:
                continue
            if recipient is None or record.recipient.lower() == recipient.lower():
                yield record

    def accepted_from(self, provider: str, begin_ms: int) -> Iterator[Accepted]:
        """The durable accepts at or after a time, oldest first."""
        index = self._indexes[provider]
        for position in range(bisect.bisect_left(index.times, begin_ms), len(index.times)):
            record = self._read(index, position)
            if record is None:
                return
            yield record

    def accepted_until(self, provider: str, end_ms: int) -> Iterator[Accepted]:
        """The durable accepts at or before a time, newest first."""
        index = self._indexes[provider]
        for position in range(bisect.bisect_right(index.times, end_ms) - 1, -1, -1):
            record = self._read(index, position)
            if record is not None:
                yield record

    def scheduled_ahead_ms(self, provider: str) -> int:
        """The longest time that an accepted message was scheduled ahead."""
        return self._indexes[provider].scheduled_ahead_ms

    def _read(self, index: _Index, position: int) -> Accepted | None:
        line = self._journal.line_at(index.offsets[position])
        return None if line is None else _accepted.decode(line)

    def lines(self, provider: str | None, since_ms: int, kinds: frozenset[str]) -> Iterator[bytes]:
        """The durable lines in blocks, filtered; blocking reads. `kinds`: accepted, webhook, list."""
        everything = provider is None and since_ms <= 0 and len(kinds) == 3
        for chunk in self._journal.chunks():
            if everything:
                yield chunk
            else:
                yield b"".join(line for line in chunk.splitlines(True) if _wanted(line, provider, since_ms, kinds))

    def load(self, on_accepted: Callable[[Accepted], None], on_reported: Callable[[Reported], None],
             on_list: Callable[[ListChange], None]) -> None:  # fmt: skip
        """Reads the whole file once, in order: counts are restored, callers take what they need."""
        offset = 0
        for chunk in self._journal.chunks():
            for line in chunk.splitlines(True):
                if line.startswith(b'{"provider"'):
                    record = _accepted.decode(line)
                    self._count(record, offset)
                    on_accepted(record)
                elif line.startswith(b'{"webhook"'):
                    event = _reported.decode(line)
                    self._count_report(event)
                    on_reported(event)
                elif line.startswith(b'{"list"'):
                    on_list(_list_change.decode(line))
                offset += len(line)


def _wanted(line: bytes, provider: str | None, since_ms: int, kinds: frozenset[str]) -> bool:
    if line.startswith(b'{"provider"'):
        kind, owner, time = "accepted", "provider", "accepted_ms"
    elif line.startswith(b'{"webhook"'):
        kind, owner, time = "webhook", "webhook", "at_ms"
    else:
        kind, owner, time = "list", "list", "at_ms"
    if kind not in kinds:
        return False
    if provider is None and since_ms <= 0:
        return True
    content: dict[str, Any] = msgspec.json.decode(line)
    return (provider is None or str(content[owner]).startswith(provider)) and int(content[time]) >= since_ms

"""Which messages were not delivered, as ``delivery-events`` tell: the last word about each, its cause, and a filter.

Rules:

1. The last event of a message says its status; what explains it is the last reason given by then. Of a policy that ran
   out of tries the reason before that explains it.
2. Of messages that fare well nothing is kept: what is read may be millions of them.
3. A refused second request with the same key says nothing about the message that has the key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from streams.cli.context import Invocation
from streams.cli.failure import UsageFailure
from streams.cli.records import read_event, since_text, type_of
from streams.core.causes import Cause, cause_of
from streams.core.event import EventType, ReasonKind, Status
from streams.topics import DELIVERY_EVENTS

STATUSES = ("failed", "bounced", "rejected", "expired", "uncertain", "suppressed", "complained")
DEFAULT = ("failed", "bounced", "rejected", "expired", "uncertain")

_OPEN = frozenset({"deferred"})
"""Not failed, but what is said of them may explain a failure."""
_QUIET = frozenset(
    {
        EventType.ACCEPTED.value,
        EventType.SCHEDULED.value,
        EventType.SENT.value,
        EventType.DELIVERED.value,
        EventType.OPENED.value,
        EventType.CLICKED.value,
        EventType.UNSUBSCRIBED.value,
    }
)
"""Of interest only where a message is known to be in trouble."""


@dataclass(slots=True)
class Failed:
    """A message in trouble. ``event`` is the last one that explains it, with the status of the very last."""

    event: dict[str, Any]
    attempt: int
    last_ms: int
    behind: dict[str, Any] | None = None
    """The reason that was given before the tries ran out."""
    doubts: frozenset[str] = frozenset()
    """Events that said of the last attempt that nobody can tell: the second one is final."""

    @property
    def message_id(self) -> str:
        return str(self.event["message_id"])

    @property
    def status(self) -> str:
        return str(self.event["status"])

    @property
    def reason(self) -> dict[str, Any]:
        """What explains it; empty if nothing does."""
        return self.behind or self.event["reason"] or {}

    @property
    def kinds(self) -> frozenset[str]:
        """By which reasons it may be asked for."""
        return frozenset(str(r.get("kind")) for r in (self.event["reason"], self.behind) if r)

    @property
    def cause(self) -> Cause:
        """In words."""
        kind = self.reason.get("kind")
        return cause_of(Status(self.status), ReasonKind(kind) if kind in set(ReasonKind) else None)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which failures; an empty field takes all."""

    statuses: frozenset[str]
    tenant: str = ""
    provider: str = ""
    reason: str = ""
    domain: str = ""
    stream: str = ""
    since_ms: int = 0

    def takes(self, failed: Failed) -> bool:
        """Whether a message fits, as it stands now."""
        event = failed.event
        return (
            failed.status in self.statuses
            and (not self.tenant or event["tenant"] == self.tenant)
            and (not self.provider or event["provider"] == self.provider)
            and (not self.reason or self.reason in failed.kinds)
            and (not self.stream or event["stream"] == self.stream)
            and (not self.domain or event["recipient"].rpartition("@")[2].lower() == self.domain.lower())
        )


def filter_of(
    statuses: Collection[str],
    tenant: str,
    provider: str,
    reason: str,
    domain: str,
    stream: str | None,
    since: str | None,
    default: Iterable[str] = DEFAULT,
) -> Filter:
    """The filter that options describe; raises UsageFailure for a word that means nothing."""
    try:
        since_ms = since_text(since)
    except ValueError as exc:
        raise UsageFailure(f"--since {since}: neither an age like 24h, 7d nor an RFC 3339 time") from exc
    known = set(ReasonKind)
    if reason and reason not in known:
        from difflib import get_close_matches

        close = get_close_matches(reason, known, 1)
        hint = f"; did you mean {close[0]}?" if close else "; see docs/failures.md"
        raise UsageFailure(f"there is no reason {reason!r}{hint}")
    return Filter(frozenset(statuses or default), tenant, provider, reason, domain, stream or "", since_ms)


@dataclass(slots=True)
class Standing:
    """Folds events, in the order of their partition. ``only`` names messages of which everything is kept."""

    only: frozenset[str] | None = None
    found: dict[str, Failed] = field(default_factory=dict)
    _attempts: dict[str, int] = field(default_factory=dict)
    """The last attempt, where it is not the first."""

    def wants(self, identity: str, type_: str) -> bool:
        """Whether an event must be read at all."""
        if self.only is not None:
            return identity in self.only
        return type_ not in _QUIET or identity in self.found

    def take(self, event: dict[str, Any]) -> None:
        """One event."""
        identity, status = event["message_id"], event["status"]
        before = self.found.get(identity)
        if event["attempt"] > 1:
            self._attempts[identity] = max(event["attempt"], self._attempts.get(identity, 0))
        if self.only is None and status not in STATUSES and status not in _OPEN:
            self.found.pop(identity, None)
            return
        self.found[identity] = self._after(before, event)

    def failures(self) -> Iterator[Failed]:
        """All that were found, the oldest first."""
        for failed in sorted(self.found.values(), key=lambda one: one.last_ms):
            if self.only is not None or failed.status in STATUSES:
                yield failed

    def _after(self, before: Failed | None, event: dict[str, Any]) -> Failed:
        identity = event["message_id"]
        explains, behind = event, None
        kind = (event["reason"] or {}).get("kind")
        own = event["type"] not in _QUIET and kind != ReasonKind.IDEMPOTENCY_CONFLICT
        if before is not None and (not event["reason"] or not own):
            explains, behind = before.event, before.behind
        elif before is not None and kind == ReasonKind.RETRIES_EXHAUSTED:
            behind = before.reason or None
        doubts = before.doubts if before is not None and before.attempt == event["attempt"] else frozenset()
        if event["type"] == EventType.UNCERTAIN.value:
            doubts |= {event["event_id"]}
        provider = event["provider"] or explains["provider"]
        return Failed(
            explains | {"status": event["status"], "provider": provider},
            self._attempt(identity, event, before),
            event["recorded_at"],
            behind,
            doubts,
        )

    def _attempt(self, identity: str, event: dict[str, Any], before: Failed | None) -> int:
        said: int = max(event["attempt"], before.attempt if before is not None else 0, self._attempts.get(identity, 0))
        handed_over = event["status"] in ("bounced", "complained")  # some providers do not say which attempt it was
        return max(said, 1) if handed_over else said


def failures_of(invocation: Invocation, chosen: Filter) -> list[Failed]:
    """Every message whose status, as of now, is a failure that fits; the oldest first."""
    topic, standing = invocation.topics.name(DELIVERY_EVENTS), Standing()
    for record in invocation.kafka.read(topic, since_ms=chosen.since_ms):
        if record.timestamp_ms < chosen.since_ms:  # a broker may begin earlier than asked
            continue
        identity = (record.key or b"").decode("ascii", "replace")
        if standing.wants(identity, type_of(record)) and (event := read_event(invocation, record.value)) is not None:
            standing.take(event)
    return [failed for failed in standing.failures() if chosen.takes(failed)]


def standing_of(invocation: Invocation, message_ids: Collection[str]) -> dict[str, Failed]:
    """How these messages stand, whatever their status; those that nothing is known of are missing."""
    from streams.core.ids import partition_of

    topic, standing = invocation.topics.name(DELIVERY_EVENTS), Standing(frozenset(message_ids))
    count = invocation.kafka.partitions(topic)
    for record in invocation.kafka.read(topic, sorted({partition_of(identity, count) for identity in message_ids})):
        identity = (record.key or b"").decode("ascii", "replace")
        if identity in message_ids and (event := read_event(invocation, record.value)) is not None:
            standing.take(event)
    return standing.found

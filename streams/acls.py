"""Which rights each process needs on Kafka, and no more: the one table. What is written in documents, printed by
``streams topics acls``, compared by ``streams doctor`` and applied by the tests is made of it.

Rules:

1. Names are literal. A prefix stands only where readers choose the names themselves: their consumer groups.
2. Read and Write imply Describe on the same thing, so Describe is listed only where it stands alone.
3. Nobody but ``topics`` creates topics: the others only look whether they are there.
4. Ours are idempotent producers without transactions: they need no right on the cluster (Kafka 2.8), and no
   transactional id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from streams.configured import changelog_topic, topics_of
from streams.kafka import GROUP
from streams.providers.registry import short
from streams.settings import Settings
from streams.tables import SUPPRESSIONS, TABLES
from streams.tenant_events import configured_event_topics
from streams.topics import (
    ALERTS,
    AUDIT_LOG,
    BREAKERS,
    CLOCK,
    CONTENTS,
    CONTROLS,
    DEAD_LETTERS,
    DELIVERY_EVENTS,
    LOOKUPS,
    OUTBOUND,
    OUTBOUND_BULK,
    PROVIDER_OUTCOMES,
    QUOTAS,
    RECEIPTS,
    SEND_REQUESTS,
    SEND_REQUESTS_BULK,
    SUPPRESSION_RULES,
    TEMPLATES,
    TENANTS,
    WEBHOOKS,
)


class Kind(StrEnum):
    """What a right is about."""

    TOPIC = "topic"
    GROUP = "group"
    CLUSTER = "cluster"


class Operation(StrEnum):
    """What may be done with it; Kafka's names."""

    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    DESCRIBE = "Describe"
    DESCRIBE_CONFIGS = "DescribeConfigs"


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One operation on one thing; ``prefixed`` means everything whose name begins so. The cluster has one name."""

    kind: Kind
    name: str
    operation: Operation
    prefixed: bool = False


CLUSTER = "kafka-cluster"
READERS = "readers."
"""Consumer groups of those who read events begin with this, after ``[kafka] prefix``."""
DOOR = "sender."
"""Followed by the name of a door: who may write its topic and no other."""

PROCESSES: Mapping[str, str] = {
    "worker": "`streams worker`",
    "ingress": "`streams ingress`",
    "poll": "`streams poll`",
    "topics": "`streams topics create` and `check`, run at deployment",
    "doctor": "`streams doctor`",
    "operator": "people: `message`, `failures`, `retry`, `cancel`, `suppressions`, `breakers`, `pause`, `templates`, "
    "`tenants`",
    "sender": "applications that ask for mail, and `streams send`",
    "reader": "applications that read events, and `streams events`",
}
"""Who there is, and what that is; for each door there is one more, ``sender.NAME``."""

_WORKER_BOTH = (
    OUTBOUND, OUTBOUND_BULK, CONTENTS, RECEIPTS, LOOKUPS, PROVIDER_OUTCOMES, BREAKERS, CONTROLS, QUOTAS,
)  # fmt: skip
_WORKER_READS = (SEND_REQUESTS, SEND_REQUESTS_BULK, SUPPRESSION_RULES, TEMPLATES, TENANTS)
_WORKER_WRITES = (DELIVERY_EVENTS, DEAD_LETTERS, AUDIT_LOG, CLOCK)
_OPERATOR_BOTH = (OUTBOUND, CONTROLS, SUPPRESSION_RULES, TEMPLATES, TENANTS)
_OPERATOR_READS = (DELIVERY_EVENTS, DEAD_LETTERS, OUTBOUND_BULK, CONTENTS, BREAKERS)
_OPERATOR_WRITES = (RECEIPTS, AUDIT_LOG)
_POLLED = ("ses", "directmail")


def rights(settings: Settings, event_topics: Iterable[str] = ()) -> dict[str, tuple[Right, ...]]:
    """By process, in the order in which Kafka's own tools list them.

    ``event_topics`` are topics of tenants' events that stand in their records, without the prefix; those of the
    settings are known.
    """
    own = tuple(map(topics_of(settings).name, dict.fromkeys((*configured_event_topics(settings), *event_topics))))
    needed = {
        "worker": _worker(settings, own),
        "ingress": _ingress(settings),
        "poll": _poll(settings),
        "topics": _topics(settings, own),
        "doctor": _doctor(settings),
        "operator": _operator(settings),
        "sender": _on(settings, Operation.WRITE, SEND_REQUESTS, SEND_REQUESTS_BULK),
        "reader": _reader(settings),
    }
    for door in settings.doors.values():
        needed[DOOR + door.name] = _on(settings, Operation.WRITE, door.topic)
    return {name: _least(found) for name, found in needed.items()}


def changelogs(settings: Settings) -> tuple[str, ...]:
    """The topics that tables are restored from."""
    return tuple(changelog_topic(settings.kafka, table.name) for table in TABLES)


# ---------------------------------------------------------------------------------------------- one process each


def _worker(settings: Settings, own: Iterable[str]) -> Iterator[Right]:
    kinds = [WEBHOOKS + kind for kind in _read_types(settings)]
    filled = [WEBHOOKS + kind for kind in _types(settings)]  # from the provider's list of events: streams.agents.gaps
    doors = [door.topic for door in settings.doors.values()]
    yield from _on(settings, Operation.READ, *_WORKER_BOTH, *_WORKER_READS, *doors, *kinds)
    yield from _on(settings, Operation.WRITE, *_WORKER_BOTH, *_WORKER_WRITES, *filled)
    if settings.alerts.sender:
        yield from _on(settings, Operation.READ, ALERTS)
        yield from _on(settings, Operation.WRITE, ALERTS, SEND_REQUESTS)
    if settings.suppression.sync:
        yield from _on(settings, Operation.WRITE, SUPPRESSION_RULES)
        yield from _looking(settings)
    for name in changelogs(settings):
        yield Right(Kind.TOPIC, name, Operation.READ)
        yield Right(Kind.TOPIC, name, Operation.WRITE)
    for name in own:
        yield Right(Kind.TOPIC, name, Operation.WRITE)
    for spec in topics_of(settings).specs():  # a start looks for all of them
        yield Right(Kind.TOPIC, spec.name, Operation.DESCRIBE)
    yield Right(Kind.GROUP, settings.kafka.group, Operation.READ)


def _ingress(settings: Settings) -> Iterator[Right]:
    visits = ["tracking"] if settings.tracking.public_url else []
    yield from _on(settings, Operation.WRITE, *(WEBHOOKS + kind for kind in (*_types(settings), *visits)))
    yield from _on(settings, Operation.READ, TENANTS)
    yield from _looking(settings)


def _poll(settings: Settings) -> Iterator[Right]:
    ours = (*_POLLED, *topics_of(settings).further_types)
    kinds = [kind for kind in _types(settings) if kind in ours]
    bounces = ["bounces"] if settings.mailboxes else []
    yield from _on(settings, Operation.WRITE, *(WEBHOOKS + kind for kind in (*kinds, *bounces)))


def _topics(settings: Settings, own: Iterable[str]) -> Iterator[Right]:
    names = [spec.name for spec in topics_of(settings).specs()]
    for name in (*names, *changelogs(settings), *own):
        yield Right(Kind.TOPIC, name, Operation.CREATE)
        yield Right(Kind.TOPIC, name, Operation.DESCRIBE)
    yield from _on(settings, Operation.READ, TENANTS)
    yield from _looking(settings)


def _doctor(settings: Settings) -> Iterator[Right]:
    for spec in topics_of(settings).specs():
        yield Right(Kind.TOPIC, spec.name, Operation.DESCRIBE)
        yield Right(Kind.TOPIC, spec.name, Operation.DESCRIBE_CONFIGS)
    yield Right(Kind.CLUSTER, CLUSTER, Operation.DESCRIBE_CONFIGS)
    yield from _on(settings, Operation.READ, TENANTS)
    yield from _looking(settings)


def _operator(settings: Settings) -> Iterator[Right]:
    yield from _on(settings, Operation.READ, *_OPERATOR_BOTH, *_OPERATOR_READS)
    yield from _on(settings, Operation.WRITE, *_OPERATOR_BOTH, *_OPERATOR_WRITES)
    yield Right(Kind.TOPIC, changelog_topic(settings.kafka, SUPPRESSIONS), Operation.READ)
    yield from _looking(settings)


def _reader(settings: Settings) -> Iterator[Right]:
    yield from _on(settings, Operation.READ, DELIVERY_EVENTS)
    yield Right(Kind.GROUP, settings.kafka.prefix + READERS, Operation.READ, prefixed=True)
    yield from _looking(settings)


# ---------------------------------------------------------------------------------------------- what they share


def _least(found: Iterable[Right]) -> tuple[Right, ...]:
    """Each once, and nothing that another one brings along."""
    all_of = set(found)
    more = {(one.kind, one.name) for one in all_of if one.operation in (Operation.READ, Operation.WRITE)}
    return tuple(sorted(r for r in all_of if r.operation is not Operation.DESCRIBE or (r.kind, r.name) not in more))


def _on(settings: Settings, operation: Operation, *names: str) -> Iterator[Right]:
    """A right on each of our topics."""
    name_of = topics_of(settings).name
    return (Right(Kind.TOPIC, name_of(name), operation) for name in names)


def _looking(settings: Settings) -> Iterator[Right]:
    """Commands read without a group, but the library asks who coordinates the one that it must be given."""
    yield Right(Kind.GROUP, GROUP, Operation.DESCRIBE)


def _types(settings: Settings) -> list[str]:
    """Provider types in use that have a topic for what they report."""
    there = {spec.name for spec in topics_of(settings).specs()}
    kinds = sorted({short(provider.type) for provider in settings.providers.values()})
    return [kind for kind in kinds if topics_of(settings).webhooks(kind) in there]


def _read_types(settings: Settings) -> list[str]:
    """Those, and what we find out ourselves."""
    visits = ["tracking"] if settings.tracking.public_url else []
    bounces = ["bounces"] if settings.mailboxes else []
    return [*_types(settings), *visits, *bounces]

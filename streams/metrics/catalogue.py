"""Every series: name, kind, labels with their bounds, buckets, meaning. Dashboards and alerts may use only these.

Rules:

1. Names follow Prometheus: base units, ``_total`` for counters, the prefix ``streams_``.
2. Every label is bounded: by its vocabulary, or by a number of values after which the rest is ``other``. Never an
   address, never an id.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from streams.core.event import EventType
from streams.core.message import Stream
from streams.core.outcome import AttemptResult

PREFIX = "streams_"
OTHER = "other"


class Kind(StrEnum):
    """Prometheus' words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Label:
    """A label and what it may say: one of ``values``, or, where there are none, at most ``limit`` different texts."""

    name: str
    values: tuple[str, ...] = ()
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Series:
    """One metric family; ``name`` without the prefix. ``buckets`` are upper bounds, +Inf is added."""

    name: str
    kind: Kind
    doc: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()


_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

PROVIDER = Label("provider", limit=16)
STREAM = Label("stream", tuple(Stream))
TENANT = Label("tenant", limit=50)
TOPIC = Label("topic", limit=64)
PARTITION = Label("partition", limit=4096)
STATE = ("closed", "open", "half_open")


def _counter(name: str, doc: str, *labels: Label) -> Series:
    return Series(f"{name}_total", Kind.COUNTER, doc, labels)


def _gauge(name: str, doc: str, *labels: Label) -> Series:
    return Series(name, Kind.GAUGE, doc, labels)


def _histogram(name: str, doc: str, buckets: tuple[float, ...], *labels: Label) -> Series:
    return Series(name, Kind.HISTOGRAM, doc, labels, buckets)


REQUESTS = _counter(
    "requests",
    "Messages asked for, by what came of the request.",
    STREAM,
    Label("result", ("accepted", "duplicate", "invalid", "conflict", "suppressed", "expired")),
)
STAGE_DURATION = _histogram(
    "stage_duration_seconds",
    "Time one batch spends in a stage of the pipeline; record is each wait for the ledger's rows.",
    _QUICK,
    Label("stage", ("intake", "suppress", "render", "route", "send", "record", "normalise", "track")),
)
PROVIDER_ATTEMPTS = _counter(
    "provider_attempts",
    "Messages handed to a provider, by its answer.",
    PROVIDER,
    Label("outcome", tuple(AttemptResult)),
)
PROVIDER_REQUEST_DURATION = _histogram(
    "provider_request_duration_seconds",
    "Time of one call to a provider.",
    (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    PROVIDER,
)
PROVIDER_BATCH_SIZE = _histogram(
    "provider_batch_size", "Recipients per call.", (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000), PROVIDER
)
INFLIGHT_SENDS = _gauge("inflight_sends", "Messages in calls that have not answered yet.", PROVIDER)
QUOTA_REMAINING = _gauge("provider_quota_remaining", "Messages the provider still takes in its period.", PROVIDER)
ACCOUNT_STANDING = _gauge(
    "provider_account_standing",
    "1 for what the provider says of our account, 0 for the rest.",
    PROVIDER,
    Label("standing", ("healthy", "probation", "paused", "shutdown", "unknown")),
)
QUOTA_LIMIT = _gauge("provider_quota_limit", "Messages the provider takes in its period.", PROVIDER)
BREAKER_STATE = _gauge("breaker_state", "1 for the state the breaker is in, else 0.", PROVIDER, Label("state", STATE))
BREAKER_TRANSITIONS = _counter("breaker_transitions", "Changes of the breaker's state.", PROVIDER, Label("to", STATE))
FAILOVERS = _counter(
    "failovers",
    "Messages that took another provider than the first choice.",
    Label("from", limit=16),
    Label("to", limit=16),
)
SCHEDULED_MESSAGES = _gauge(
    "scheduled_messages", "Messages waiting for their time.", Label("kind", ("retry", "send_at"))
)
HELD_MESSAGES = _gauge("held_messages", "Messages parked behind a breaker, a pause or an account's trouble.", PROVIDER)
OLDEST_DUE = _gauge(
    "oldest_due_timestamp_seconds",
    "When the oldest waiting message was or is due; 0 for none.",
    Label("kind", ("retry", "send_at")),
)
MESSAGES_TERMINAL = _counter(
    "messages_terminal",
    "Messages that came to an end.",
    STREAM,
    Label(
        "result",
        ("delivered", "bounced", "rejected", "failed", "expired", "suppressed", "cancelled", "uncertain"),
    ),
)
HANDOFF_LATENCY = _histogram(
    "handoff_latency_seconds",
    "From the request's record to the provider's acceptance.",
    (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21600),
    STREAM,
)
OLDEST_OPEN = _gauge(
    "oldest_open_timestamp_seconds",
    "When the oldest message that is not handed over was asked for; 0 for none.",
    STREAM,
)
DELIVERY_EVENTS = _counter("delivery_events", "Events published.", PROVIDER, Label("type", tuple(EventType)))
DELIVERY_LATENCY = _histogram(
    "delivery_latency_seconds",
    "From the provider's acceptance to delivery.",
    (1, 5, 15, 60, 300, 900, 3600, 14400, 86400),
    PROVIDER,
)
TENANT_EVENTS = _counter(
    "tenant_events",
    "Events of a tenant: the busiest 50 by name.",
    TENANT,
    Label("type", ("sent", "delivered", "bounced_hard", "complained")),
)
DOUBLE_SENDS = _counter("double_sends", "Messages of which a second acceptance became known.", PROVIDER)
INGRESS_REQUESTS = _counter(
    "ingress_requests",
    "Webhooks, by what they were answered for.",
    PROVIDER,
    Label("result", ("accepted", "duplicate", "bad_signature", "stale", "malformed", "too_large", "unavailable")),
)
INGRESS_DURATION = _histogram("ingress_duration_seconds", "From a webhook's headers to its answer.", _QUICK, PROVIDER)
TRACKING_VISITS = _counter(
    "tracking_visits",
    "Visits of our own links, by what came of them; lost ones were answered, but not told.",
    Label("kind", ("open", "click", "page", "unsubscribe")),
    Label("result", ("stored", "shown", "repeated", "lost", "forged", "unavailable")),
)
WEBHOOK_EVENT_AGE = _histogram(
    "webhook_event_age_seconds",
    "How old an event is when its webhook arrives.",
    (1, 5, 15, 60, 300, 900, 3600, 14400, 28800, 86400),
    PROVIDER,
)
POLL_SOURCE = Label("source", limit=64)
POLLS = _counter(
    "polls",
    "Polls of a queue or mailbox, by what came of it.",
    POLL_SOURCE,
    Label("result", ("received", "empty", "error", "kafka_error", "done_error", "extended")),
)
POLL_MESSAGES = _counter("poll_messages", "Items fetched from a queue or mailbox and stored in Kafka.", POLL_SOURCE)
POLL_REPEATS = _counter("poll_repeats", "Items that a queue had to hand out three times or more.", POLL_SOURCE)
POLL_MESSAGE_AGE = _histogram(
    "poll_message_age_seconds",
    "How long an item lay in a queue or mailbox before it was fetched.",
    (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400),
    POLL_SOURCE,
)
POLL_WAITING = _gauge("poll_waiting_messages", "Items that lie in a queue or mailbox.", POLL_SOURCE)
POLL_DEAD_LETTERS = _gauge("poll_dead_letters", "Items in the dead-letter queue of a queue.", POLL_SOURCE)
WEBHOOK_ORPHANS = _counter("webhook_orphans", "Provider events of which no message was found.", PROVIDER)
WEBHOOK_FOREIGN = _counter(
    "webhook_foreign", "Provider events about an attempt that another provider has; they are not believed.", PROVIDER
)
GAP_EVENTS = _counter(
    "gap_events",
    "Events fetched from a provider to fill gaps that lost webhooks left, and those of them that were new.",
    PROVIDER,
    Label("result", ("read", "filled", "failed")),
)
GAP_WATERMARK = _gauge(
    "gap_watermark_timestamp_seconds", "Up to when the events of a provider have been compared.", PROVIDER
)
WEBHOOK_OUT_OF_ORDER = _counter("webhook_out_of_order", "Provider events that came before what they follow.", PROVIDER)
UNKNOWN_VOCABULARY = _counter("unknown_vocabulary", "Words of a provider that are in none of our tables.", PROVIDER)
CONSUMER_LAG = _gauge("consumer_lag_records", "Records not yet committed.", TOPIC, PARTITION)
LAST_COMMIT = _gauge(
    "consumer_last_commit_timestamp_seconds", "When the partition was last committed.", TOPIC, PARTITION
)
REBALANCES = _counter("rebalances", "Assignments of partitions to this worker.")
TABLE_RESTORE = _histogram(
    "table_restore_seconds", "Time to restore a table.", (0.1, 0.5, 1, 5, 15, 60, 300), Label("table", limit=32)
)
RESTORE_REMAINING = _gauge(
    "table_restore_remaining_records", "Records that are still to be restored before this worker begins; else 0."
)
TABLE_ENTRIES = _gauge("table_entries", "Entries of a table on this worker.", Label("table", limit=32))
DATA_DIR_FREE = _gauge(
    "data_dir_free_bytes", "Free space where a worker keeps its tables on disk.", Label("store", ("rocksdb",))
)
REQUESTS_FOREIGN = _counter(
    "requests_foreign", "Requests for a tenant that their topic may not speak for ([doors]); they are refused.", TOPIC
)
DEAD_LETTERS = _counter("dead_letters", "Records that nobody could process.", TOPIC, Label("reason", limit=10))
SUPPRESSIONS = _gauge("suppressions", "Suppressed addresses.", Label("reason", limit=16))
SUPPRESSION_CHANGES = _counter(
    "suppression_changes",
    "Suppressions of tenants that began or were lifted.",
    Label("change", ("complaint", "bounce", "manual", "unsubscribe", "lifted")),
)
SUPPRESSION_SYNCS = _counter(
    "suppression_sync_entries",
    "Entries that a comparison with a provider's lists carried over, and comparisons that failed.",
    PROVIDER,
    Label("result", ("pulled", "pushed", "removed", "failed")),
)
RECONCILIATIONS = _counter(
    "reconciliations",
    "Uncertain messages that were looked into.",
    PROVIDER,
    Label("result", ("found", "not_found", "unknown")),
)
ALERTS = _counter(
    "alerts",
    "Mails to tenants about messages that were given up, by what came of them.",
    Label("result", ("asked", "no_address", "unsendable")),
)
CREDENTIAL_EXPIRY = _gauge("credential_expiry_timestamp_seconds", "When a credential or certificate expires.", PROVIDER)
CLOCK_OFFSET = _gauge(
    "clock_offset_seconds", "By how much this machine's clock is ahead of Kafka's, by which the fleet goes."
)
CREDENTIAL_RELOADS = _counter(
    "credential_reloads",
    "Changed secrets that this process noticed: now in use, or not to be read, so that the old ones stay in use.",
    PROVIDER,
    Label("result", ("read", "failed")),
)
EVENT_LOOP_DELAY = _gauge("event_loop_delay_seconds", "By how much the event loop was last late.")
BUILD_INFO = _gauge("build_info", "1, with the version as label.", Label("version", limit=1))

CATALOGUE: tuple[Series, ...] = (
    REQUESTS,
    STAGE_DURATION,
    PROVIDER_ATTEMPTS,
    PROVIDER_REQUEST_DURATION,
    PROVIDER_BATCH_SIZE,
    INFLIGHT_SENDS,
    QUOTA_REMAINING,
    QUOTA_LIMIT,
    ACCOUNT_STANDING,
    BREAKER_STATE,
    BREAKER_TRANSITIONS,
    FAILOVERS,
    SCHEDULED_MESSAGES,
    HELD_MESSAGES,
    OLDEST_DUE,
    MESSAGES_TERMINAL,
    HANDOFF_LATENCY,
    OLDEST_OPEN,
    DELIVERY_EVENTS,
    DELIVERY_LATENCY,
    TENANT_EVENTS,
    DOUBLE_SENDS,
    INGRESS_REQUESTS,
    INGRESS_DURATION,
    TRACKING_VISITS,
    WEBHOOK_EVENT_AGE,
    POLLS,
    POLL_MESSAGES,
    POLL_REPEATS,
    POLL_MESSAGE_AGE,
    POLL_WAITING,
    POLL_DEAD_LETTERS,
    WEBHOOK_ORPHANS,
    WEBHOOK_FOREIGN,
    GAP_EVENTS,
    GAP_WATERMARK,
    WEBHOOK_OUT_OF_ORDER,
    UNKNOWN_VOCABULARY,
    CONSUMER_LAG,
    LAST_COMMIT,
    REBALANCES,
    TABLE_RESTORE,
    RESTORE_REMAINING,
    TABLE_ENTRIES,
    DATA_DIR_FREE,
    REQUESTS_FOREIGN,
    DEAD_LETTERS,
    SUPPRESSIONS,
    SUPPRESSION_CHANGES,
    SUPPRESSION_SYNCS,
    RECONCILIATIONS,
    ALERTS,
    CREDENTIAL_EXPIRY,
    CREDENTIAL_RELOADS,
    CLOCK_OFFSET,
    EVENT_LOOP_DELAY,
    BUILD_INFO,
)
"""All of them, in the order in which a message meets them."""

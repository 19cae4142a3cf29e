"""Every table: its name, its key, what a row is, and who alone writes it.

Rules:

1. One writer per table. Others of the same worker may read it on their partition, where lag is harmless.
2. All tables have the deployment's partition count and are co-partitioned with their source topics: the row of a
   message lies where its receipts and commands arrive.
3. A table's changelog is a compacted topic; who writes the table also forgets its rows when their time has come.
"""

from __future__ import annotations

from dataclasses import dataclass

from streams.topics import (
    ALERTS,
    LOOKUPS,
    OUTBOUND,
    OUTBOUND_BULK,
    PROVIDER_OUTCOMES,
    RECEIPTS,
    WEBHOOK_TYPES,
    WEBHOOKS,
)


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table to be. ``key`` and ``row`` are for people; ``sources`` are the topics whose partitions it follows."""

    name: str
    owner: str
    key: str
    row: str
    sources: tuple[str, ...]


ATTEMPTS = "attempts"
MESSAGES = "messages"
SUPPRESSIONS = "suppressions"
TOKENS = "tokens"
PROVIDER_IDS = "provider_ids"
BREAKER_WINDOWS = "breaker_windows"
WATERMARKS = "watermarks"
ALERT_DIGESTS = "alert_digests"

TABLES: tuple[TableSpec, ...] = (
    TableSpec(ATTEMPTS, "dispatch", "message_id", "core.ledger.AttemptRow", (OUTBOUND, OUTBOUND_BULK)),
    TableSpec(MESSAGES, "track", "message_id", "core.message_state.MessageState", (RECEIPTS,)),
    TableSpec(SUPPRESSIONS, "track", "recipient key", "core.suppression.Suppression", (RECEIPTS,)),
    TableSpec(
        TOKENS,
        "normalise",
        "provider type, ':', webhook token",
        "when the token was first seen and the hash of its payload (agents.normalise)",
        tuple(WEBHOOKS + kind for kind in WEBHOOK_TYPES),
    ),
    TableSpec(
        PROVIDER_IDS,
        "lookups",
        "provider and provider message id, then nothing, an address hash, or the mark of questions that wait",
        "agents.lookups.Binding or agents.lookups.Waiting",
        (LOOKUPS,),
    ),
    TableSpec(BREAKER_WINDOWS, "breakers", "provider name", "core.breaker.BreakerWindow", (PROVIDER_OUTCOMES,)),
    TableSpec(
        WATERMARKS, "gaps", "source of events", "up to when it was read: epoch ms (agents.gaps)", (PROVIDER_OUTCOMES,)
    ),
    TableSpec(ALERT_DIGESTS, "alerts", "tenant", "core.alerts.AlertRow", (ALERTS,)),
)
"""All of them; see the rules above."""

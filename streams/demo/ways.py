"""Through which ways in the reports came: counted from the records that ingress and poller stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from streams.kafka import Record

WAYS: Final[Mapping[tuple[str, str], str]] = {
    ("mailgun", "1"): "Mailgun webhooks",
    ("ses", "1"): "SNS over HTTP",
    ("ses", "sqs"): "SNS over SQS",
    ("directmail", "1"): "MNS push",
    ("directmail", "mns"): "MNS pull",
    ("bounces", "mailbox"): "bounce mailbox",
    ("tracking", "1"): "links of our own",
}
"""By type of the topic, and by who vouched for the record (its header `verified`)."""

TYPES: Final = tuple(dict.fromkeys(kind for kind, _ in WAYS))


def count_ways(records: Mapping[str, Iterable[Record]]) -> dict[str, int]:
    """How many records came by each way, from the records of the `webhooks` topics by type; every way is named."""
    count = Counter(
        WAYS.get((kind, record.headers.get("verified", b"").decode()), f"{kind} by an unknown way")
        for kind, found in records.items()
        for record in found
    )
    return {way: count.pop(way, 0) for way in WAYS.values()} | dict(count)


def unused(ways: Mapping[str, int]) -> list[str]:
    """By which nothing came."""
    return [way for way, count in ways.items() if not count]

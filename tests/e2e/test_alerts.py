"""Tenants are told what was given up of theirs, on real processes that are killed while they tell it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from streams.core.alerts import ALERTS_TENANT
from streams.core.event import EventType
from streams.failpoints import OF_ALERTS
from tests.brokers import KafkaServer
from tests.fleet import Fleet, single

pytestmark = pytest.mark.timeout(150)

ALERTS = """
[alerts]
from = "Mail <alerts@mg.example.com>"
every_min = 0.05
provider = "mailgun"
[tenants.acme]
alert = "success+ops@acme.example"
"""
OPS = "success+ops@acme.example"


def too_late(number: int, tenant: str = "acme") -> dict[str, Any]:
    return single(number, tenant=tenant, expires_at=int(1000 * (time.time() - 60)))


def mails(fleet: Fleet) -> list[dict[str, Any]]:
    """What the provider was given for the tenant's address."""
    return [line for line in fleet.ledger() if "plan" in line and line.get("recipient") == OPS]


def told(fleet: Fleet) -> int:
    """Of how many messages the mails speak."""
    return sum(int(line["subject"].removeprefix("acme: ").split()[0]) for line in mails(fleet))


def alerts(fleet: Fleet) -> set[str]:
    """The messages of ours that the events speak of."""
    return {event.message_id for event in fleet.seen.events if event.tenant == ALERTS_TENANT}


def killed_at(fleet: Fleet, failpoints: Sequence[str]) -> None:
    for number, failpoint in enumerate(failpoints):
        worker = fleet.start_worker("w1", STREAMS_FAILPOINT=failpoint)
        if not number:
            fleet.produce(too_late(number) for number in range(20))
            fleet.produce(too_late(number, "quiet") for number in range(5))
        fleet.until(f"the worker dies at {failpoint}", lambda died=worker: died.returncode is not None, 40)  # type: ignore[misc]
    fleet.start_worker("w1")
    fleet.until("all that failed is told", lambda: told(fleet) >= 20, 40)
    fleet.produce(too_late(number) for number in range(100, 130))
    fleet.until("what failed later is told", lambda: told(fleet) >= 50, 40)
    seen = mails(fleet)
    assert told(fleet) == 50
    assert len({line["variables"]["message_id"] for line in seen}) == len(seen), "no alert went out twice"
    assert len(seen) <= 6, "gathered, not one mail for each"
    mailed = {line["variables"]["message_id"] for line in seen}
    fleet.until("every alert has its events", lambda: mailed <= alerts(fleet), 20)
    assert alerts(fleet) == mailed
    rejected = [e for e in fleet.seen.events if e.tenant == ALERTS_TENANT and e.type is EventType.REJECTED]
    assert rejected == [], "asked for again after a crash it was the same request"


@pytest.mark.kafka  # slow: it runs beside its like
def test_every_failure_is_told_once_though_the_worker_is_killed_while_it_tells(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    with Fleet(tmp_path, embedded_kafka, prefix=topic_prefix, profile="embedded", ses=ALERTS) as fleet:
        killed_at(fleet, ["alerts.after_request"])


@pytest.mark.kafka
def test_every_failure_is_told_once_on_apache_kafka_wherever_the_worker_is_killed(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path
) -> None:
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix, ses=ALERTS) as fleet:
        killed_at(fleet, OF_ALERTS)

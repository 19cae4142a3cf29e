"""Doors on real processes: who sends through a topic of its own, by the client, by the command, in bulk, and for others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streams.client import Client
from streams.core.event import DeliveryEvent, EventType
from streams.core.ids import message_id, recipient_key
from tests.fleet import ROOT, SECRETS, Fleet

pytestmark = pytest.mark.timeout(120)

DOORS = {
    "STREAMS_DOORS__ACME__TOPIC": "send-requests.acme",
    "STREAMS_DOORS__ACME__TENANTS": "acme",
    "STREAMS_DOORS__NEWS__TOPIC": "send-requests.news",
    "STREAMS_DOORS__NEWS__TENANTS": "acme,shop",
    "STREAMS_DOORS__NEWS__BULK": "true",
}


def events_of(fleet: Fleet, *identities: str) -> list[DeliveryEvent]:
    return [event for event in list(fleet.seen.events) if event.message_id in identities]


def client(fleet: Fleet, topic: str, tenant: str) -> Client:
    return Client(fleet.bootstrap, prefix=fleet.prefix, sender="shop@mg.example.com", tenant=tenant, topic=topic)


def command(fleet: Fleet, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**SECRETS, **DOORS, "STREAMS_CONFIG": str(fleet.config), "PYTHONPATH": str(ROOT), "PATH": ""}
    argv = [sys.executable, "-m", "streams", *arguments]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_each_door_speaks_for_its_own_tenants(embedded_kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    with Fleet(tmp_path, embedded_kafka, prefix=topic_prefix, profile="embedded", environment=DOORS) as fleet:
        fleet.start_worker("w1")
        with client(fleet, "send-requests.acme", "acme") as acme:
            own = acme.send("own", to="success+own@example.net", subject="Hello", text="Hello")
            foreign = acme.send("x", to="success+x@example.net", subject="Hello", text="Hello", tenant="victim")
        with client(fleet, "send-requests.news", "shop") as news:
            bulk = news.send("news", to="success+news@example.net", subject="News", text="News")
            refused = news.send("y", to="success+y@example.net", subject="News", text="News", tenant="victim")
        sent = command(
            fleet, "send", "--topic", "send-requests.acme", "--tenant", "acme", "--key", "k", "--from",
            "shop@mg.example.com", "--to", "success+k@example.net", "--subject", "Hello", "--text", "Hello",
        )  # fmt: skip
        assert sent.returncode == 0, sent.stderr
        by_command = message_id("acme", "k", recipient_key("acme", "success+k@example.net"))
        told = message_id("acme", "x", recipient_key("acme", "success+x@example.net"))
        wanted = {own.message_id, bulk.message_id, by_command, told}
        fleet.until("all have ended", lambda: wanted <= fleet.seen.ended, 60)
        assert {event.stream for event in events_of(fleet, bulk.message_id)} == {"bulk"}
        assert {event.stream for event in events_of(fleet, own.message_id)} == {"transactional"}
        assert [event.type for event in events_of(fleet, told)] == [EventType.REJECTED]
        assert events_of(fleet, foreign.message_id, refused.message_id) == []
        assert {event.tenant for event in list(fleet.seen.events)} == {"acme", "shop"}
        assert fleet.metric("w1", "streams_requests_foreign_total") == 2
        accepted = {line["variables"]["message_id"] for line in fleet.ledger() if "plan" in line}
        assert accepted == {own.message_id, bulk.message_id, by_command}
        assert command(fleet, "topics", "check").returncode == 0
        assert fleet.stop_worker("w1") == 0

"""Secrets and mail content, followed through a whole running system: where they may lie, and nowhere else."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.fleet import SECRETS, Fleet

WRONG_KEY = "canary-refused-api-key"
ADDRESS_SECRET = "canary-address-secret"
BODY = "canary-of-a-body"
SUBJECT = "canary-of-a-subject"
LOCAL = "success+canary-of-an-address"

SECRET_BYTES = {
    name: value.encode()
    for name, value in (
        *SECRETS.items(),
        ("refused key", WRONG_KEY),
        ("address secret", ADDRESS_SECRET),
        ("authorization", b64encode(f"api:{SECRETS['FLEET_MAILGUN_KEY']}".encode()).decode()),
        ("refused authorization", b64encode(f"api:{WRONG_KEY}".encode()).decode()),
    )
    if name != "FLEET_SES_ACCESS"  # an access key id is a name; it stands in every signed request
}
MAY_HOLD_BODIES = frozenset({"send-requests", "outbound", "contents", "dead-letters"})
PREFIX = "bird."


def request(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "idempotency_key": f"canary-{number}",
        "tenant": "acme",
        "stream": "transactional",
        "from": {"email": "shop@mg.example.com"},
        "recipients": [{"email": f"{LOCAL}{number}@example.net", "name": BODY}],
        "subject": SUBJECT,
        "text": BODY,
        "provider": "ses",
    } | changes


def everything(bootstrap: str) -> dict[str, bytes]:
    """All keys, values and headers of every topic, and of the tables' changelogs."""
    metadata = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10)
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "canary-reader", "enable.auto.commit": False})
    found: dict[str, list[bytes]] = {}
    left: dict[tuple[str, int], int] = {}
    try:
        for name, topic in metadata.topics.items():
            for number in topic.partitions if PREFIX in name else ():
                low, high = consumer.get_watermark_offsets(TopicPartition(name, number), timeout=10)
                if high > low:
                    left[name, number] = high
        consumer.assign([TopicPartition(name, number, OFFSET_BEGINNING) for name, number in left])
        deadline = time.monotonic() + 15
        while left and time.monotonic() < deadline:
            for message in consumer.consume(500, timeout=0.2):
                if message.error():
                    continue
                held = found.setdefault(message.topic().partition(PREFIX)[2], [])
                held += [message.key() or b"", message.value() or b"", repr(message.headers() or []).encode()]
                place = message.topic(), message.partition()
                if message.offset() + 1 >= left.get(place, 1 << 62):
                    del left[place]
        assert not left, f"not read to the end: {left}"
    finally:
        consumer.close()
    return {name: b"\0".join(held) for name, held in found.items()}


@pytest.fixture(scope="module")
def traces(embedded_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a system leaves behind that has sent, failed to send, refused and been attacked: logs, topics, pages."""
    folder: Path = tmp_path_factory.mktemp("canaries")
    with Fleet(folder, embedded_kafka, prefix=PREFIX, profile="embedded") as fleet:
        worker = {
            "FLEET_MAILGUN_KEY": WRONG_KEY,
            "CANARY_ADDRESS_SECRET": ADDRESS_SECRET,
            "STREAMS_KAFKA_ADDRESS_SECRET": "env:CANARY_ADDRESS_SECRET",
            "STREAMS_LOG": "DEBUG",
        }
        fleet.start_worker("worker", **worker)
        fleet.produce([request(n) for n in range(3)])
        fleet.produce([request(10, provider="mailgun")])
        fleet.produce([request(11, recipients=[{"email": f"{LOCAL}\n@example.net"}])])
        fleet.produce([request(12, subject=f"{SUBJECT}\nBcc: x"), request(0, text=f"other {BODY}")])
        ingress = fleet.ingress_url
        for path in ("mailgun", "ses"):
            block = {"timestamp": str(int(time.time())), "token": "t" * 50, "signature": "0" * 64}
            forged = json.dumps({"signature": block, "event-data": {"event": BODY}, "Type": "Notification"})
            assert httpx.post(f"{ingress}/webhooks/{path}", content=forged).status_code in (400, 403, 406)

        def come_to_rest() -> bool:
            types = [event.type.value for event in fleet.seen.events]
            return (
                types.count("message.delivered") >= 3 and types.count("message.rejected") >= 3 and _asked_mailgun(fleet)
            )

        fleet.until("sent, refused and held", come_to_rest, 40)
        pages = {
            "page of ingress": httpx.get(f"{ingress}/metrics").content,
            "page of the worker": httpx.get(f"{fleet.url('worker')}/metrics").content,
        }
        assert b"streams_" in pages["page of the worker"]
        found = {f"topic {name}": held for name, held in everything(embedded_kafka).items()}
    logs = {f"log {name}": (folder / f"{name}.log").read_bytes() for name in ("worker", "ingress")}
    assert b"" not in logs.values()
    return found | pages | logs


def _asked_mailgun(fleet: Fleet) -> bool:
    log = (fleet.folder / "worker.log").read_text(errors="replace")
    return "credentials" in log or "401" in log


@pytest.mark.parametrize("secret", SECRET_BYTES)
@pytest.mark.timeout(90)
def test_no_secret_lies_in_a_log_a_topic_or_a_page(traces: dict[str, bytes], secret: str) -> None:
    assert [place for place, held in traces.items() if SECRET_BYTES[secret] in held] == []


def test_a_body_lies_only_where_mail_is_on_its_way(traces: dict[str, bytes]) -> None:
    assert "topic outbound" in traces
    for word, more in ((BODY, set[str]()), (SUBJECT, {"webhooks.ses"})):  # SES repeats the subject in its events
        holding = {place.removeprefix("topic ") for place, held in traces.items() if word.encode() in held}
        assert {place for place in holding if not place.startswith("log")} <= MAY_HOLD_BODIES | more


def test_no_page_names_an_address_a_message_or_a_key(traces: dict[str, bytes]) -> None:
    for place in ("page of ingress", "page of the worker"):
        for word in (b"canary", b"example.net", BODY.encode()):
            assert word not in traces[place], place


def test_our_own_log_lines_name_no_address_and_no_content(traces: dict[str, bytes]) -> None:
    """Libraries are left out: they speak at DEBUG only, and then also of what they carry."""
    lines = [line for place in ("log worker", "log ingress") for line in traces[place].splitlines()]
    own = [line for line in lines if b" streams." in line[:80]]
    assert own
    for word in (b"example.net", LOCAL.encode(), BODY.encode()):
        assert [line for line in own if word in line] == []

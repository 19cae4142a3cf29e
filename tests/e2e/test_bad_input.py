"""Bad input on a running system: each piece becomes a dead letter or a refusal with its reason, and nothing else is lost.

What a command refuses before anything starts (wrong keys, Kafka down, taken ports, other partition counts) is in
tests/cli/test_usage.py and tests/cli/test_commands.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from streams.core.ids import message_id, recipient_key
from streams.demo.system import DemoSystem
from streams.kafka import NewRecord
from streams.serde.records import encode
from tests.e2e.waiting import Recorded, kafka_of, until

pytestmark = pytest.mark.timeout(120)

TEN_MEGABYTES = 10 * 1024 * 1024


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoSystem]:
    with DemoSystem(tmp_path_factory.mktemp("bad"), "bad") as running:
        running.start(lambda _: None)
        yield running


def request_to(address: str, key: str, **changes: Any) -> dict[str, Any]:
    return {
        "idempotency_key": key,
        "from": {"email": "shop@mg.example.com", "name": ""},
        "recipients": [{"email": address, "name": "", "data": {}}],
        "subject": "Hello",
        "text": "How are you?",
        **changes,
    }


def identity(address: str, key: str) -> str:
    return message_id("default", key, recipient_key("default", address))


def produce(system: DemoSystem, values: list[bytes], topic: str = "send-requests") -> None:
    with kafka_of(system) as kafka:
        for value in values:
            kafka.send(NewRecord(topic, b"key", value))


def good(name: str) -> tuple[bytes, str]:
    """A request that must go through, and its message."""
    address = f"success+{name}@mail.example.net"
    return encode("SendRequest", request_to(address, name)), identity(address, name)


AVRO = encode("SendRequest", request_to("success+x@mail.example.net", "x"))
UNREADABLE: dict[str, tuple[bytes, str, str]] = {
    "cut-off Avro": (AVRO[:-20], "malformed", ""),
    "Avro with bytes at the end": (AVRO + b"more", "malformed", "after the end"),
    "Avro with lengths that lie": (AVRO[:10] + b"\xff" * 40, "malformed", ""),
    "schema that nobody knows": (AVRO[:2] + b"\x00" * 8 + AVRO[10:], "unknown_schema", "fingerprint"),
    "schema id without a registry": (b"\x00\x00\x00\x00\x07" + AVRO[10:], "no_registry", "no schema registry"),
    "broken JSON": (b'{"idempotency_key": "k", ', "malformed", ""),
    "JSON nested too deep": (b'{"data":' * 20_000, "malformed", ""),
    "JSON with a field that nobody knows": (b'{"idempotency_key": "k", "colour": 1}', "malformed", "colour"),
    "no encoding at all": (b"hello", "unknown_encoding", "0x68"),
    "nothing": (b"", "empty", ""),
    "ten megabytes of nothing": (b"\x01" * TEN_MEGABYTES, "unknown_encoding", "0x01"),
}


def test_what_nobody_can_read_is_a_dead_letter_and_its_neighbours_are_sent(system: DemoSystem) -> None:
    values: list[bytes] = []
    wanted = set()
    for number, (value, _, _) in enumerate(UNREADABLE.values()):
        request, message = good(f"neighbour-{number}")
        values += [value, request]
        wanted.add(message)
    produce(system, values)
    recorded = Recorded(system)
    until("the neighbours are sent", lambda: wanted <= recorded.of_type("message.sent"), system)
    until("all dead letters are there", lambda: len(recorded.dead_letters()) >= len(UNREADABLE), system)
    letters = recorded.dead_letters()
    for name, (value, reason, detail) in UNREADABLE.items():
        (letter,) = [letter for letter in letters if (letter.value or b"") == value[: len(letter.value or b"") or None]
                     and letter.headers["dlq.reason"] == reason.encode()
                     and detail.encode() in letter.headers["dlq.detail"]
                     and _same_length(letter, value)]  # fmt: skip
        assert letter.headers["dlq.topic"] == b"send-requests", name
        assert letter.headers["dlq.offset"].isdigit(), name
        assert letter.key == b"key", name
    assert len(letters) == len(UNREADABLE)


def _same_length(letter: Any, value: bytes) -> bool:
    cut = letter.headers.get("dlq.truncated_from")
    return int(cut) == len(value) if cut else len(letter.value or b"") == len(value)


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "bad address": ({"recipients": [{"email": "no-address", "name": "", "data": {}}]}, "no-address", "invalid_address"),
    "missing template": (
        {"subject": None, "text": None, "template_id": "nobody/wrote-this"},
        "success+template@mail.example.net",
        "template",
    ),
    "no content": ({"subject": None, "text": None}, "success+empty@mail.example.net", "invalid_request"),
    "header injection": (
        {"subject": "Hello\r\nBcc: victim@example.org"},
        "success+inject@mail.example.net",
        "invalid_request",
    ),
    "unknown provider": ({"provider": "pigeon"}, "success+pigeon@mail.example.net", "no_route"),
}


def test_what_cannot_be_sent_is_rejected_with_its_reason(system: DemoSystem) -> None:
    values, messages = [], {}
    for number, (name, (changes, address, kind)) in enumerate(REFUSED.items()):
        key = f"refused-{number}"
        values.append(encode("SendRequest", request_to(address, key, **changes)))
        messages[identity(address, key)] = (name, kind)
    produce(system, values)
    recorded = Recorded(system)
    until("all are rejected", lambda: set(messages) <= recorded.of_type("message.rejected"), system,
          describe=lambda: [messages[key][0] for key in set(messages) - recorded.of_type("message.rejected")])  # fmt: skip
    for event in recorded.events():
        if event["message_id"] in messages and event["type"] == "message.rejected":
            name, kind = messages[event["message_id"]]
            assert event["reason"]["kind"] == kind, name
            assert event["reason"]["detail"], name
    taken = {json.loads(line).get("variables", {}).get("message_id") for line in system.ledger()}
    assert not taken & set(messages)


def test_a_request_of_ten_megabytes_is_sent_or_refused_but_not_lost(system: DemoSystem) -> None:
    address = "success+giant@mail.example.net"
    attachment = {
        "filename": "noise.bin",
        "content_type": "application/octet-stream",
        "data": os.urandom(TEN_MEGABYTES),
    }
    produce(system, [encode("SendRequest", request_to(address, "giant", attachments=[attachment]))])
    recorded = Recorded(system)
    message = identity(address, "giant")
    until("the giant has an end", lambda: message in recorded.ended(), system)
    assert sum(recorded.counts(message)[f"message.{kind}"] for kind in ("sent", "rejected")) == 1
    request, small = good("after-the-giant")
    produce(system, [request])
    until("the next one is sent", lambda: small in recorded.of_type("message.sent"), system)


def test_the_same_key_with_other_content_is_a_conflict_and_sends_nothing(system: DemoSystem) -> None:
    address = "success+conflict@mail.example.net"
    first = request_to(address, "conflict")
    produce(system, [encode("SendRequest", first)])
    recorded = Recorded(system)
    message = identity(address, "conflict")
    until("the first is delivered", lambda: message in recorded.of_type("message.delivered"), system)
    produce(system, [encode("SendRequest", first), encode("SendRequest", first | {"subject": "Something else"})])
    until("the other is rejected", lambda: message in recorded.of_type("message.rejected"), system)
    (rejection,) = [e for e in recorded.events() if e["message_id"] == message and e["type"] == "message.rejected"]
    assert rejection["reason"]["kind"] == "idempotency_conflict"
    assert rejection["status"] == "delivered"
    assert recorded.counts(message)["message.sent"] == 1


def test_forged_and_broken_webhooks_are_refused_at_the_door(system: DemoSystem) -> None:
    url = f"http://127.0.0.1:{system.settings.ingress.port}/webhooks"
    before = len(Recorded(system).dead_letters())
    with httpx.Client(trust_env=False) as client:
        forged = {"signature": {"timestamp": "1", "token": "t" * 50, "signature": "0" * 64}, "event-data": {}}
        assert client.post(f"{url}/mailgun", json=forged).status_code == 406
        assert client.post(f"{url}/mailgun", content=b"\xff\xfe").status_code == 406
        assert client.post(f"{url}/ses", content=b"{").status_code == 400
        assert client.post(f"{url}/nobody", content=b"{}").status_code == 404
    assert len(Recorded(system).dead_letters()) == before


def test_a_webhook_that_nobody_vouched_for_is_a_dead_letter(system: DemoSystem) -> None:
    recorded = Recorded(system)
    before = len(recorded.dead_letters())
    produce(system, [b'{"event-data": {}}'], "webhooks.mailgun")
    until("it is a dead letter", lambda: len(recorded.dead_letters()) == before + 1, system)
    assert recorded.dead_letters()[-1].headers["dlq.topic"] == b"webhooks.mailgun"

"""Mail over SMTP, through real processes: worker, sandbox, TLS on both ports; broken connections, a held doubt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.broker import free_port
from streams.core.event import DeliveryEvent, EventType
from tests.fleet import Fleet, ids_of

pytestmark = pytest.mark.timeout(120)

PROVIDER = """
[providers.{name}]
type = "smtp"
host = "localhost"
port = {port}
tls = "{tls}"
ca_file = "{folder}/sandbox/smtp-certificate.pem"
username = "sandbox"
password = "file:{folder}/password"
return_path = "bounces.example.com"
return_path_key = "file:{folder}/password"
deadline_s = 3
visibility_delay_s = 2
"""


@pytest.fixture(scope="module")
def fleet(embedded_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder: Path = tmp_path_factory.mktemp("smtp")
    (folder / "password").write_text("password-sandbox")
    ports = free_port(), free_port()
    providers = "".join(
        PROVIDER.format(name=name, port=port, tls=tls, folder=folder)
        for name, port, tls in (("relay", ports[0], "implicit"), ("submission", ports[1], "starttls"))
    )
    options = ["--smtp-port", str(ports[0]), "--starttls-port", str(ports[1])]
    with Fleet(folder, embedded_kafka, prefix="smtp.", profile="embedded", sandbox=options, ses=providers) as running:
        running.start_worker("w1")
        yield running


def request(key: str, *addresses: str, provider: str = "relay", stream: str = "transactional") -> dict[str, Any]:
    return {
        "idempotency_key": key,
        "tenant": "acme",
        "stream": stream,
        "from": {"email": "hello@example.com", "name": "Shop"},
        "recipients": [{"email": address} for address in addresses],
        "subject": "Grüße",
        "html": "<p>Hello</p>",
        "provider": provider,
    }


def sent(fleet: Fleet, *requests: dict[str, Any]) -> set[str]:
    """Hand over and wait until all have left."""
    identities = fleet.produce(requests)
    fleet.until("all are sent", lambda: identities <= fleet.seen.sent, 60)
    return identities


def events(fleet: Fleet, identities: set[str], kind: EventType) -> list[DeliveryEvent]:
    return [event for event in fleet.seen.events if event.message_id in identities and event.type is kind]


def accepted(fleet: Fleet, identities: set[str]) -> Counter[str]:
    lines = [line for line in fleet.ledger() if line.get("provider") == "smtp"]
    return Counter(
        str(line["variables"]["message_id"]) for line in lines if line["variables"].get("message_id") in identities
    )


@pytest.mark.parametrize("provider", ["relay", "submission"])
def test_every_message_leaves_once_over_tls(fleet: Fleet, provider: str) -> None:
    single = [request(f"{provider}-{n}", f"success+{n}@example.net", provider=provider) for n in range(40)]
    many = request(
        f"{provider}-bulk", *(f"success+b{n}@example.net" for n in range(100)), provider=provider, stream="bulk"
    )
    identities = sent(fleet, *single, many)
    assert accepted(fleet, identities) == dict.fromkeys(identities, 1)
    told = events(fleet, identities, EventType.SENT)
    assert {event.provider for event in told} == {provider}
    assert all(event.provider_message_id.startswith(f"{event.message_id}.1.") for event in told)


def test_what_breaks_before_the_message_is_sent_again_and_arrives_once(fleet: Fleet) -> None:
    for fault in (
        {"kind": "reset_before", "stage": "data", "count": 2},
        {"kind": "status", "stage": "rcpt", "status": 450, "body": "4.2.0 greylisted", "count": 1},
        {"kind": "throttle", "count": 1},
        {"kind": "status", "stage": "greeting", "count": 1},
    ):
        fleet.fault(provider="smtp", **fault)
    identities = sent(fleet, *(request(f"broken-{n}", f"success+x{n}@example.net") for n in range(10)))
    assert accepted(fleet, identities) == dict.fromkeys(identities, 1)
    assert not events(fleet, identities, EventType.UNCERTAIN)


def test_an_unknown_address_is_refused_once_and_not_written_to_again(fleet: Fleet) -> None:
    first = fleet.produce([request("unknown-1", "suppressionlist+u@example.net")])
    fleet.until("it is rejected", lambda: bool(events(fleet, first, EventType.REJECTED)), 30)
    [rejected] = events(fleet, first, EventType.REJECTED)
    assert rejected.reason is not None and rejected.reason.kind == "bad_mailbox"
    assert rejected.bounce_type == "hard"
    again: list[DeliveryEvent] = []

    def suppressed() -> bool:  # the suppression reaches dispatch a moment later
        identities = fleet.produce([request(f"unknown-{len(again)}-{id(again)}", "suppressionlist+u@example.net")])
        ends = (EventType.SUPPRESSED, EventType.REJECTED)
        fleet.until("it ends", lambda: any(events(fleet, identities, kind) for kind in ends), 30)
        again.extend(events(fleet, identities, EventType.REJECTED))
        return bool(events(fleet, identities, EventType.SUPPRESSED))

    fleet.until("the address is suppressed", suppressed, 30)


def test_doubt_is_told_and_held_and_nothing_is_sent_twice(fleet: Fleet) -> None:
    fleet.fault(provider="smtp", kind="reset_after", count=1)
    identities = fleet.produce([request("doubt", "success+doubt@example.net")])
    assert identities == ids_of(request("doubt", "success+doubt@example.net"))
    fleet.until("it is held", lambda: len(events(fleet, identities, EventType.UNCERTAIN)) == 2, 60)
    assert accepted(fleet, identities) == dict.fromkeys(identities, 1)

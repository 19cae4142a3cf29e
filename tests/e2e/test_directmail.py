"""DirectMail from request to event: worker, ingress, poller and sandbox as real processes; told by push and by pull."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.core.event import BounceType, DeliveryEvent, EventType, ReasonKind
from streams.kafka import KafkaClient
from tests.fleet import Fleet, single

pytestmark = pytest.mark.timeout(120)

SECRETS = {"DM_KEY": "LTAIsandbox", "DM_SECRET": "sandbox-secret"}
CONFIG = """\
[kafka]
bootstrap = "{bootstrap}"
profile = "embedded"
partitions = 4
replication_factor = 1
min_insync_replicas = 1
prefix = "{prefix}"
group = "{prefix}streams"

[worker]
port = 0
session_timeout_s = 6
commit_interval_s = 0.2

[ingress]
port = {ingress_port}

[poll]
port = 0

[providers.dm]
type = "directmail"
endpoint_url = "{sandbox}"
access_key_id = "env:DM_KEY"
access_key_secret = "env:DM_SECRET"
signature = "{signature}"
topics = ["1234567890123456/directmail-events"]
pinned_certificates = "{folder}/sandbox/certificates"
mns_queue = "directmail-events"
mns_endpoint_url = "{sandbox}"
mns_wait_s = 1
deadline_s = 5
visibility_delay_s = 2

[dispatch]
retry = "backoff"
"""
E = EventType
FATES = {
    "success": {E.ACCEPTED, E.SENT, E.DELIVERED},
    "bounce": {E.ACCEPTED, E.SENT, E.BOUNCED},
    "softbounce": {E.ACCEPTED, E.SENT, E.BOUNCED},
    "blocked": {E.ACCEPTED, E.SENT, E.BOUNCED},
    "complaint": {E.ACCEPTED, E.SENT, E.DELIVERED, E.COMPLAINED},
    "open": {E.ACCEPTED, E.SENT, E.DELIVERED, E.OPENED},
    "click": {E.ACCEPTED, E.SENT, E.DELIVERED, E.OPENED, E.CLICKED},
}
EACH = 6


class DirectMailFleet(Fleet):
    """The fleet with DirectMail alone, half of its notifications in the queue, and a poller for them."""

    def __init__(self, folder: Path, bootstrap: str, *, prefix: str, signature: str, own_ids: bool) -> None:
        super().__init__(folder, bootstrap, prefix=prefix, profile="embedded")
        self.own_ids = own_ids
        self.config.write_text(
            CONFIG.format(
                bootstrap=bootstrap,
                prefix=prefix,
                folder=folder,
                sandbox=self.sandbox_url,
                ingress_port=self.ingress_port,
                signature=signature,
            )
        )

    def _start(self) -> None:
        webhooks = f"{self.ingress_url}/webhooks"
        data = str(self.folder / "sandbox")
        options = ["--webhooks", webhooks, "--data", data, "--event-delay", "0.05", "--mns-share", "0.5"]
        options += ["--own-message-ids"] if self.own_ids else []
        self._spawn("sandbox", ["sandbox", "--port", str(self.sandbox_port), "--smtp-port", "-1", *options])
        assert self._spawn("topics", ["topics", "create"]).wait(30) == 0, self.log("topics")
        self._await(f"{self.sandbox_url}/sandbox/stats")
        self._spawn("ingress", ["ingress"], SECRETS)
        self._spawn("poll", ["poll"], SECRETS)
        self._await(f"{self.ingress_url}/health/ready")
        self._watcher.start()
        self.start_worker("w1", **SECRETS)


@pytest.fixture(
    scope="module",
    params=[("1.0", False), ("acs3", True)],
    ids=["signature 1.0, our Message-ID", "ACS3, only the EnvId"],
)
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DirectMailFleet]:
    from streams.broker import EmbeddedBroker

    with EmbeddedBroker() as broker:
        folder = tmp_path_factory.mktemp("dm")
        signature, own_ids = request.param
        with DirectMailFleet(folder, broker.bootstrap, prefix="dm.", signature=signature, own_ids=own_ids) as running:
            yield running


def types_of(fleet: Fleet) -> dict[str, Counter[EventType]]:
    found: dict[str, Counter[EventType]] = {}
    for event in {event.event_id: event for event in fleet.seen.events}.values():
        found.setdefault(event.message_id, Counter())[event.type] += 1
    return found


def test_every_fate_comes_home_by_push_and_by_pull(fleet: DirectMailFleet) -> None:
    wanted: dict[str, set[EventType]] = {}
    for index, (fate, types) in enumerate(FATES.items()):
        for number in range(EACH):
            request = single(100 * index + number, fate, **{"from": {"email": "n@mail.example.com", "name": "Shop"}})
            (identity,) = fleet.produce([request])
            wanted[identity] = types

    def told() -> bool:
        seen = types_of(fleet)
        return all(wanted[identity] <= set(seen.get(identity, ())) for identity in wanted)

    fleet.until("every event has come home", told, 60)
    seen = {identity: types for identity, types in types_of(fleet).items() if identity in wanted}
    assert {identity: set(types) for identity, types in seen.items()} == wanted
    assert all(count == 1 for types in seen.values() for count in types.values())

    account = fleet.account(set(wanted))
    assert (len(account.lost), len(account.twice)) == (0, 0)
    lines = [line for line in fleet.ledger() if "plan" in line and line["variables"].get("message_id") in wanted]
    assert len(lines) == len(wanted)
    assert {line["provider"] for line in lines} == {"directmail"}
    assert {line["variables"]["attempt"] for line in lines} == {"1"}

    client = KafkaClient(fleet.bootstrap, {"bootstrap.servers": fleet.bootstrap})
    records = list(client.read("dm.webhooks.directmail"))
    ways = {dict(record.headers)["verified"] for record in records}
    assert ways == {b"1", b"mns"}
    assert {dict(record.headers)["provider"] for record in records} == {b"dm"}


def test_an_answer_that_was_lost_is_settled_by_the_notification_and_nothing_is_sent_twice(
    fleet: DirectMailFleet,
) -> None:
    fleet.fault(kind="status_after", provider="directmail", count=1)
    (identity,) = fleet.produce([single(800, on_uncertain="hold")])
    end = E.UNCERTAIN if fleet.own_ids else E.DELIVERED  # without our Message-ID nobody can tell whose it is
    fleet.until("it is settled", lambda: end in types_of(fleet).get(identity, ()), 30)
    taken = [line for line in fleet.ledger() if line.get("variables", {}).get("message_id") == identity]
    assert len([line for line in taken if "plan" in line]) == 1
    assert E.UNCERTAIN in types_of(fleet)[identity]


def test_a_bounce_says_why_and_suppresses(fleet: DirectMailFleet) -> None:
    fates = ("bounce", "softbounce", "blocked") * 3
    sender = {"from": {"email": "n@mail.example.com", "name": "Shop"}}
    identities = fleet.produce(
        single(2000 + n, fate, idempotency_key=f"why-{n}", **sender) for n, fate in enumerate(fates)
    )
    fleet.until("they have bounced", lambda: all(E.BOUNCED in types_of(fleet).get(i, ()) for i in identities), 30)
    bounced: dict[ReasonKind, DeliveryEvent] = {
        event.reason.kind: event for event in fleet.seen.events if event.type is E.BOUNCED and event.reason is not None
    }
    hard = bounced[ReasonKind.BAD_MAILBOX]
    assert hard.bounce_type is BounceType.HARD
    assert hard.reason is not None
    assert (hard.reason.code, hard.reason.enhanced_code) == ("SmtpNxBox", "5.1.1")
    assert hard.provider == "dm" and hard.provider_message_id
    assert bounced[ReasonKind.MAILBOX_FULL].bounce_type is BounceType.SOFT
    assert bounced[ReasonKind.REPUTATION].bounce_type is BounceType.BLOCK
    again = {**single(1, "bounce"), "recipients": [{"email": hard.recipient}], "idempotency_key": "again"}
    (identity,) = fleet.produce([again])
    fleet.until("the address is suppressed", lambda: E.SUPPRESSED in types_of(fleet).get(identity, ()), 30)


def test_what_the_api_cannot_carry_is_rejected_with_the_reason_and_never_called(fleet: DirectMailFleet) -> None:
    file: dict[str, Any] = {"filename": "a.txt", "content_type": "text/plain", "data": "YQ=="}
    (identity,) = fleet.produce([single(900, attachments=[file])])
    fleet.until("it is rejected", lambda: E.REJECTED in types_of(fleet).get(identity, ()), 30)
    (event,) = [e for e in fleet.seen.events if e.message_id == identity and e.type is E.REJECTED]
    assert event.reason is not None and "attachments" in event.reason.detail
    assert identity not in json.dumps(fleet.ledger())

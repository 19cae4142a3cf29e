"""A thousand tenants with credentials of their own, on real processes: start-up, memory, rotation, mistakes.

Every tenant has its own Mailgun account in the sandbox, whose API key lies in a file that the tenant's record refers to.
Figures are printed; the bounds are generous enough for a busy machine.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer

from streams.broker import free_port
from streams.core.event import EventType, ReasonKind
from streams.core.message import Mailbox
from streams.core.tenant import Tenant
from streams.serde.configuration import encode_tenant
from tests.fleet import Fleet, ids_of, single

pytestmark = pytest.mark.timeout(170)

TENANTS = 1000
_NOT_SENT = {EventType.FAILED, EventType.REJECTED, EventType.BOUNCED, EventType.EXPIRED}


class Office:
    """A fleet, the tenants' secrets, and the accounts that they open."""

    def __init__(self, folder: Path, bootstrap: str, prefix: str) -> None:
        self.secrets = folder / "secrets"
        self.secrets.mkdir()
        self.fleet = Fleet(folder / "fleet", bootstrap, prefix=prefix, profile="embedded")
        self.port = free_port()
        self.client = httpx.Client(timeout=10, trust_env=False)

    def account(self, number: int, key: str) -> None:
        """The key that the provider takes from now on."""
        url = f"{self.fleet.sandbox_url}/sandbox/mailgun/accounts/t{number}.example"
        self.client.put(url, json={"api_key": key}).raise_for_status()

    def secret(self, number: int, key: str, suffix: str = "") -> str:
        """Put a key where the tenant's record says; answers the reference."""
        path = self.secrets / f"t{number}{suffix}"
        path.with_suffix(".new").write_text(f"{key}\n")
        path.with_suffix(".new").rename(path)  # as secrets are mounted: all at once
        return f"file:{path}"

    def put(self, tenants: list[Tenant]) -> None:
        producer = Producer({"bootstrap.servers": self.fleet.bootstrap, "acks": "all"})
        for tenant in tenants:
            producer.produce(f"{self.fleet.prefix}tenants", encode_tenant(tenant), key=tenant.tenant.encode())
        assert producer.flush(30) == 0

    def start(self, name: str) -> float:
        """Start a worker; answers the seconds until it is ready."""
        began = time.monotonic()
        self.fleet.start_worker(
            name,
            STREAMS_WORKER__PORT=str(self.port),
            STREAMS_DISPATCH__TENANT_SECRETS=f'["file:{self.secrets}/"]',
            STREAMS_ROUTING__DEFAULT='["mailgun"]',
            STREAMS_ROUTING__RULES="[]",
        )
        self.fleet.until("the worker is ready", self._ready, 60)
        return time.monotonic() - began

    def memory_mb(self, name: str) -> float:
        """Resident memory of a worker."""
        status = Path(f"/proc/{self.fleet.worker(name).pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def metrics(self) -> str:
        return self.client.get(f"http://127.0.0.1:{self.port}/metrics").text

    def events(self, identities: set[str], *types: EventType) -> list[Any]:
        return [e for e in list(self.fleet.seen.events) if e.message_id in identities and e.type in types]

    def _ready(self) -> bool:
        try:
            return self.client.get(f"http://127.0.0.1:{self.port}/health/ready").is_success
        except httpx.HTTPError:
            return False


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, embedded_kafka: str) -> Iterator[Office]:
    found = Office(tmp_path_factory.mktemp("tenants"), embedded_kafka, f"t{uuid.uuid4().hex[:12]}.")
    with found.fleet:
        yield found
    found.client.close()


def tenant(number: int, reference: str, **changes: Any) -> Tenant:
    settings = {"domain": f"t{number}.example", "api_key": reference}
    sender = Mailbox(f"news@t{number}.example", f"Tenant {number}")
    return Tenant(f"t{number}", sender=sender, account_settings={"mailgun": settings}, **changes)


def mail(number: int, key: str) -> dict[str, Any]:
    request = single(0, tenant=f"t{number}", idempotency_key=key, recipients=[{"email": f"success+{key}@example.net"}])
    del request["from"]  # the tenant's own
    return request


def test_a_thousand_tenants_send_with_their_own_credentials_and_a_new_password_is_in_use_within_five_seconds(
    office: Office,
) -> None:
    fleet = office.fleet
    bare_s = office.start("bare")
    bare_mb = office.memory_mb("bare")
    assert fleet.stop_worker("bare") == 0
    for number in range(TENANTS):
        office.account(number, f"key-{number}")
    office.put([tenant(n, office.secret(n, f"key-{n}")) for n in range(TENANTS)])

    start_s = office.start("w1")
    before_mb = office.memory_mb("w1")
    began = time.monotonic()
    sent = fleet.produce(mail(n, f"first{n}") for n in range(TENANTS))
    fleet.until("everybody's mail is taken", lambda: sent <= fleet.seen.sent, 60)
    first_s = time.monotonic() - began
    after_mb = office.memory_mb("w1")
    domains = {line["sender"].rpartition("@")[2].rstrip(">") for line in fleet.ledger() if "plan" in line}
    assert len(domains) == TENANTS
    providers = set(re.findall(r'provider="([^"]*)"', office.metrics()))
    assert providers <= {"", "mailgun", "ses"}  # accounts are no labels

    rotated = range(0, TENANTS, 10)
    for number in rotated:
        office.account(number, f"new-{number}")
    refused = fleet.produce(mail(n, f"between{n}") for n in rotated)  # with the old passwords: held, not failed
    fleet.until("all are held", lambda: len(office.events(refused, EventType.DEFERRED)) >= len(refused), 30)
    assert {e.reason.kind for e in office.events(refused, EventType.DEFERRED)} == {ReasonKind.CREDENTIALS}
    changed = time.monotonic()
    for number in rotated:
        if number % 20:
            office.secret(number, f"new-{number}")
        else:  # a new record, with another reference
            office.put([tenant(number, office.secret(number, f"new-{number}", ".b"), updated_by="ann")])
    fleet.until("the new passwords are in use", lambda: refused <= fleet.seen.sent, 20)
    change_s = time.monotonic() - changed
    print(
        f"\n{TENANTS} tenants: ready after {start_s:.1f} s ({bare_s:.1f} s without any), "
        f"{before_mb:.0f} MB at start ({bare_mb:.0f} MB), {after_mb:.0f} MB after all have sent; "
        f"first message of each within {first_s:.1f} s; {len(refused)} changed credentials in use after {change_s:.1f} s"
    )
    assert change_s < 5
    assert office.events(sent | refused, *_NOT_SENT) == []
    account = fleet.account(sent | refused)
    assert not account.twice
    assert start_s < bare_s + 10
    assert after_mb < bare_mb + 150
    assert fleet.worker("w1").returncode is None


def test_a_reference_that_leads_nowhere_holds_the_tenants_mail_with_the_reason_and_nobody_elses(office: Office) -> None:
    fleet = office.fleet
    one, two, three = TENANTS + 1, TENANTS + 2, TENANTS + 3
    office.account(one, "key-1")
    office.account(two, "key-2")
    missing = f"file:{office.secrets}/none"
    office.put([tenant(one, missing), tenant(two, office.secret(two, "key-2")), tenant(three, "env:HOME")])
    if "w1" not in fleet.restarts:
        office.start("w1")
    held = fleet.produce([mail(one, "held")])
    forbidden = fleet.produce([mail(three, "forbidden")])
    sent = fleet.produce([mail(two, "sent")])
    fleet.until("the other tenant's mail is sent", lambda: sent <= fleet.seen.sent, 30)
    fleet.until("it is said", lambda: len(office.events(held | forbidden, EventType.DEFERRED)) == 2, 30)
    (event,) = office.events(held, EventType.DEFERRED)
    assert event.reason.kind is ReasonKind.CREDENTIALS
    assert f"tenant t{one}" in event.reason.detail
    assert "cannot be read" in event.reason.detail
    (event,) = office.events(forbidden, EventType.DEFERRED)
    assert "tenant_secrets" in event.reason.detail
    assert 'streams_held_messages{provider="mailgun"} 2.0' in office.metrics()
    office.put([tenant(one, office.secret(one, "key-1"))])
    fleet.until("the held mail is sent", lambda: held <= fleet.seen.sent, 10)
    assert office.events(held | forbidden, *_NOT_SENT) == []
    assert ids_of(mail(one, "held")) == held

"""``streams tenants`` and what ``streams doctor`` says of them, on the embedded broker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streams.core.message import Mailbox
from streams.core.tenant import Tenant
from streams.doctor.tenants import check_tenants
from streams.kafka import KafkaClient
from streams.serde.configuration import decode_tenant
from streams.settings import load_settings
from tests.cli.conftest import Streams

CONFIG = """
[kafka]
bootstrap = "{bootstrap}"
profile = "embedded"
prefix = "{prefix}"
[providers.mailgun]
type = "mailgun"
domain = "mg.example.com"
api_key = "env:MAIN_KEY"
[providers.mailgun.accounts.shop]
domain = "shop.example.com"
[dispatch]
tenant_secrets = ["env:TENANT_", "file:{folder}/"]
"""


@pytest.fixture
def office(on_kafka: Streams, embedded_kafka: str, topic_prefix: str, tmp_path: Path) -> Path:
    path = tmp_path / "tenants.toml"
    path.write_text(CONFIG.format(bootstrap=embedded_kafka, prefix=topic_prefix, folder=tmp_path))
    return path


def stored(bootstrap: str, prefix: str) -> dict[str, Tenant]:
    with KafkaClient(bootstrap) as kafka:
        found = {key.decode(): decode_tenant(value) for key, value in kafka.table(f"{prefix}tenants").items()}
    assert all(isinstance(tenant, Tenant) for tenant in found.values())
    return found  # type: ignore[return-value]


def test_a_tenant_is_stored_listed_and_removed(
    on_kafka: Streams, office: Path, embedded_kafka: str, topic_prefix: str
) -> None:
    ran = on_kafka(
        "-c", str(office), "tenants", "put", "acme", "--from", "Acme <news@acme.example>", "--rate", "5",
        "--set", "mailgun.domain=acme.example", "--set", "mailgun.api_key=env:TENANT_ACME", "--retry", "cubed",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    tenant = stored(embedded_kafka, topic_prefix)["acme"]
    assert tenant.sender == Mailbox("news@acme.example", "Acme")
    assert tenant.account_settings == {"mailgun": {"domain": "acme.example", "api_key": "env:TENANT_ACME"}}
    assert (tenant.rate, tenant.retry_policy, bool(tenant.updated_by)) == (5, "cubed", True)
    (listed,) = on_kafka("-c", str(office), "tenants", "list", "--json").json
    assert listed["tenant"] == "acme"
    assert "mailgun (own)" in on_kafka("-c", str(office), "tenants", "list").out
    assert on_kafka("-c", str(office), "tenants", "remove", "acme").code == 0
    assert stored(embedded_kafka, topic_prefix) == {}
    assert on_kafka("-c", str(office), "tenants", "remove", "acme").code == 1


def test_many_tenants_come_from_a_file(
    on_kafka: Streams, office: Path, embedded_kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    lines = [{"tenant": f"t{n}", "accounts": {"mailgun": "shop"}} for n in range(50)]
    path = tmp_path / "tenants.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    ran = on_kafka("-c", str(office), "tenants", "put", "--file", str(path), "--json")
    assert ran.code == 0, ran.err
    assert len(ran.json["stored"]) == len(stored(embedded_kafka, topic_prefix)) == 50


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        pytest.param(["acme", "--set", "mailgun.api_key=key-123"], "is a secret: give a reference", id="literal"),
        pytest.param(["acme", "--set", "mailgun.api_key=env:HOME"], "tenant_secrets", id="forbidden"),
        pytest.param(["acme", "--set", "mailgun.domian=x"], "did you mean domain?", id="misspelt key"),
        pytest.param(["acme", "--set", "mailgum.domain=x"], "did you mean mailgun?", id="unknown provider"),
        pytest.param(["acme", "--account", "mailgun=shopp"], "did you mean shop?", id="unknown account"),
        pytest.param(["acme", "--retry", "cubedd"], "did you mean cubed?", id="unknown policy"),
        pytest.param(["acme", "--from", "nobody"], "must be an address", id="sender"),
        pytest.param(["acme", "--set", "mailgun"], "PROVIDER.KEY=VALUE", id="no value"),
        pytest.param(["acme", "--alert", "ops@acme.example"], "[alerts] from is not set", id="alert without sender"),
        pytest.param([], "give the NAME", id="no name"),
    ],
)
def test_what_no_worker_would_take_is_refused(
    on_kafka: Streams, office: Path, embedded_kafka: str, topic_prefix: str, arguments: list[str], complaint: str
) -> None:
    ran = on_kafka("-c", str(office), "tenants", "put", *arguments)
    assert ran.code == 2
    assert complaint in ran.complaint
    assert "key-123" not in ran.err
    assert stored(embedded_kafka, topic_prefix) == {}


def test_the_doctor_names_the_tenant_whose_secret_is_missing(on_kafka: Streams, office: Path, tmp_path: Path) -> None:
    put = ["-c", str(office), "tenants", "put"]
    (tmp_path / "beta").write_text("key-beta\n")
    own = ["--set", "mailgun.domain=acme.example", "--set"]
    assert on_kafka(*put, "beta", *own, f"mailgun.api_key=file:{tmp_path}/beta").code == 0
    env = {"MAIN_KEY": "key", "TENANT_ACME": "key-acme"}
    settings = load_settings(office, env)
    (finding,) = check_tenants(settings, env)
    assert finding.ok and "1 known, 1 with accounts" in finding.detail
    assert on_kafka(*put, "acme", *own, "mailgun.api_key=env:TENANT_ACME").code == 0
    assert [one.ok for one in check_tenants(settings, env)] == [True]
    (finding,) = check_tenants(settings, {"MAIN_KEY": "key"})
    assert not finding.ok
    assert (finding.check, "TENANT_ACME is not set" in finding.detail) == ("tenant acme", True)


def test_a_topic_for_a_tenants_events_is_made_checked_and_looked_after(
    on_kafka: Streams, office: Path, embedded_kafka: str, topic_prefix: str
) -> None:
    ran = on_kafka("-c", str(office), "tenants", "put", "acme", "--events-topic", "events.acme")
    assert ran.code == 0, ran.err
    assert stored(embedded_kafka, topic_prefix)["acme"].events_topic == "events.acme"
    full = f"{topic_prefix}events.acme"
    with KafkaClient(embedded_kafka) as kafka:
        assert kafka.topics()[full] == kafka.topics()[f"{topic_prefix}delivery-events"]
    assert on_kafka("-c", str(office), "topics", "create").code == 0
    checked = on_kafka("-c", str(office), "topics", "check", "--json")
    assert checked.code == 0, checked.err
    assert full in {row["topic"] for row in checked.json}
    with office.open("a") as file:
        file.write('[tenants.shop]\nevents_topic = "events.shop"\n')
    missing = on_kafka("-c", str(office), "topics", "check")
    assert (missing.code, "events.shop does not exist" in missing.complaint) == (1, True)
    found = check_tenants(load_settings(str(office), {"MAIN_KEY": "k"}))
    assert [one.detail for one in found if not one.ok] == [f"its topic {topic_prefix}events.shop does not exist"]
    assert on_kafka("-c", str(office), "topics", "create").code == 0
    assert on_kafka("-c", str(office), "topics", "check").code == 0
    refused = on_kafka("-c", str(office), "tenants", "put", "acme", "--events-topic", "outbound")
    assert (refused.code, "is a topic of the system itself" in refused.complaint) == (2, True)


def test_an_alert_address_is_taken_where_alerts_have_a_sender(
    on_kafka: Streams, office: Path, embedded_kafka: str, topic_prefix: str
) -> None:
    before = office.read_text()
    office.write_text(before + '\n[alerts]\nfrom = "Mail <alerts@example.com>"\n')
    wrong = on_kafka("-c", str(office), "tenants", "put", "acme", "--alert", "nobody")
    assert wrong.code == 2 and "alert address" in wrong.complaint
    assert on_kafka("-c", str(office), "tenants", "put", "acme", "--alert", "ops@acme.example").code == 0
    office.write_text(before)  # and then somebody takes the sender away
    env = {"MAIN_KEY": "key", "TENANT_ACME": "key-acme"}
    found = check_tenants(load_settings(office, env), env)
    assert any(one.check == "tenant acme" and "[alerts] from is not set" in one.detail for one in found)

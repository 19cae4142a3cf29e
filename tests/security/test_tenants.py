"""What a record of the topic ``tenants`` can make a worker read, tell and reach, and that it never stops one."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from streams.accounts import Accounts
from streams.agents.configuration import tenants
from streams.agents.dispatch.account_source import Opened
from streams.core.accounts import account_of
from streams.core.tenant import Tenant
from streams.providers._smtp.opening import NotOpened, open_wire
from streams.providers._smtp.server import Server, Tls
from streams.providers.smtp import Smtp
from streams.serde.configuration import decode_tenant, encode_tenant
from streams.settings import KafkaSettings, ProviderSettings, Settings
from streams.settings.model import DispatchSettings
from tests.agents.fake_engine import FakeReader

ENV = {"OURS": "our-secret", "TENANT_ACME": "their-secret"}
PROVIDERS: dict[str, dict[str, Any]] = {
    "mailgun": {"domain": "mg.example.com", "api_key": "env:OURS", "signing_keys": ["env:OURS"]},
    "ses": {"region": "eu-west-1", "access_key_id": "env:OURS", "secret_access_key": "env:OURS"},
    "directmail": {"access_key_id": "env:OURS", "access_key_secret": "env:OURS"},
    "smtp": {"host": "mail.example.com", "username": "us", "password": "env:OURS"},
}


def opened(provider: str, given: dict[str, str], folder: str = "/run/secrets/tenants/", **dispatch: Any) -> Opened:
    settings = Settings(
        kafka=KafkaSettings(bootstrap="localhost:9"),
        providers={name: ProviderSettings(name, name, options=options) for name, options in PROVIDERS.items()},
        dispatch=DispatchSettings(tenant_secrets=("env:TENANT_", f"file:{folder}"), **dispatch),
    )
    account = account_of(Tenant("acme", account_settings={provider: given}), provider)
    return Accounts(settings, tenants(FakeReader(), {}), ENV).open(account, 1)


def why(found: Opened) -> str:
    assert found.adapter is None
    assert found.reason is not None
    return found.reason.detail


@pytest.mark.parametrize(
    "value",
    [
        "file:~nobody-of-that-name/x", "file:~", "file:/run/secrets/tenants/\0", "file:/run/secrets/tenants/\x7f",
        f"file:/run/secrets/tenants/{'x' * 70_000}", "file:/run/secrets/tenants/../../../etc/shadow", "file:",
        "[" * 100_000, '["env:OURS"]', "env:TENANT_ACME,env:OURS", "env:TENANT_\0", "{", "",
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["signing_keys", "api_key", "domain", "rate", "gap_events", "max_webhook_age_s"])
def test_no_setting_of_a_tenant_stops_a_worker_or_reads_what_is_ours(key: str, value: str) -> None:
    found = opened("mailgun", {"domain": "acme.example", "api_key": "env:TENANT_ACME", key: value})
    if found.adapter is not None:
        config = found.adapter.config  # type: ignore[attr-defined]
        assert config.api_key == "their-secret"
        assert ("our-secret" in config.signing_keys) == (key != "signing_keys")
    else:
        assert "our-secret" not in why(found)


@pytest.mark.parametrize("rate", ["nan", "inf", "-inf", "-1", "1e999", "0x10", "١"])
def test_a_rate_is_a_number_that_one_can_wait_by(rate: str) -> None:
    found = opened("mailgun", {"domain": "acme.example", "api_key": "env:TENANT_ACME", "rate": rate})
    assert found.adapter is None or rate == "١"


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1.0, 1e-300, 1e300, 5.0])
def test_the_rate_of_a_tenants_record_is_one_too(rate: float) -> None:
    decoded = decode_tenant(encode_tenant(Tenant("acme", rate=rate)))
    assert isinstance(decoded, Tenant)
    assert decoded.rate == 0 or 0.001 <= decoded.rate <= 1_000_000
    assert decoded.rate == 5 or rate != 5


def test_a_file_is_not_even_looked_at_where_it_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("x")
    found = opened("mailgun", {"api_key": f"file:{tmp_path}/other"}, folder=f"{tmp_path}/tenants/")
    assert "tenant_secrets" in why(found)
    assert found.files == ()


@pytest.mark.parametrize(
    ("provider", "given"),
    [
        ("mailgun", {"base_url": "http://169.254.169.254"}),
        ("mailgun", {"base_url": "http://localhost:9200", "api_key": "env:TENANT_ACME"}),
        ("ses", {"endpoint_url": "http://10.0.0.1"}),
        ("ses", {"sns_endpoint_url": "https://evil.example"}),
        ("ses", {"sqs_endpoint_url": "https://evil.example"}),
        ("directmail", {"endpoint_url": "http://[::1]"}),
        ("smtp", {"host": "127.0.0.1"}),
        ("smtp", {"host": "mail.evil.example", "username": "x", "password": "env:TENANT_ACME"}),
        ("smtp", {"ca_file": "/etc/shadow"}),
        ("ses", {"pinned_certificates": "/tmp"}),
    ],
)
def test_a_tenant_names_no_host_and_no_file_that_the_operator_does_not_allow(
    provider: str, given: dict[str, str]
) -> None:
    said = why(opened(provider, given))
    assert "tenant_hosts" in said or "files of ours" in said


@pytest.mark.parametrize(
    "moved",
    [{"host": "smtp.mailgun.org"}, {"port": "2525"}, {"tls": "none"}, {"tls": "none", "host": "mail.example.com"}],
)
def test_our_password_goes_to_no_other_place_and_over_no_other_wire(moved: dict[str, str]) -> None:
    found = opened("smtp", moved)
    assert "belong together" in why(found), "the password is left out, and nothing of ours takes its place"
    theirs = opened("smtp", {**moved, "username": "acme", "password": "env:TENANT_ACME"}).adapter
    assert isinstance(theirs, Smtp)
    assert theirs.config.password == "their-secret"


def test_a_host_that_the_operator_allows_may_be_named() -> None:
    given = {"host": "mail.acme.example", "username": "acme", "password": "env:TENANT_ACME"}
    assert opened("smtp", given, tenant_hosts=("mail.*.example",)).adapter is not None
    assert opened("smtp", {**given, "host": "mail.example.com"}).adapter is not None, "where our own account is"


@pytest.mark.parametrize("secret", ["AKIA\n\n", "AKIA\r\nX-Evil: 1", "AKIÄ", "AKIA\0"])
def test_a_secret_that_cannot_stand_in_a_header_holds_its_account_alone(tmp_path: Path, secret: str) -> None:
    """A blank line too many in one tenant's file would otherwise end every call that is signed with it."""
    (tmp_path / "key").write_text(secret)
    reference = f"file:{tmp_path}/key"
    for provider, name in (("ses", "access_key"), ("directmail", "access_key")):
        second = "secret_access_key" if provider == "ses" else "access_key_secret"
        for key, other in ((f"{name}_id", second), (second, f"{name}_id")):
            said = why(opened(provider, {key: reference, other: "env:TENANT_ACME"}, folder=f"{tmp_path}/"))
            assert key in said
            assert "AK" not in said


@pytest.mark.parametrize("server", [{"host": "a..b"}, {"host": f"{'a' * 70}.example"}, {"helo": "ä.example"}])
async def test_a_name_that_is_none_is_no_connection(server: dict[str, str]) -> None:
    sessions: list[asyncio.Task[None] | None] = []

    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sessions.append(asyncio.current_task())
        writer.write(b"220 here\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
            writer.close()
            await writer.wait_closed()

    async with await asyncio.start_server(hello, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(NotOpened):
            await open_wire(
                Server(port=port, tls=Tls.NONE, host=server.get("host", "127.0.0.1"), helo=server.get("helo", ""))
            )
        await asyncio.gather(*(session for session in sessions if session is not None))


def test_a_failure_that_nobody_expected_holds_the_account_and_is_told_without_what_it_says(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise LookupError("their-secret")

    monkeypatch.setattr("streams.providers.registry.create", fails)
    found = opened("mailgun", {"domain": "acme.example", "api_key": "env:TENANT_ACME"})
    assert "LookupError" in why(found)
    assert "LookupError" in caplog.text
    assert "their-secret" not in why(found) + caplog.text

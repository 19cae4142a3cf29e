"""The SMTP adapter against the look-alike server: real TLS on both ports, logins, messages as they arrive."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

import pytest

from streams.agents.normalise import NormaliseConfig
from streams.core import verp
from streams.core.event import ReasonKind
from streams.core.message import Attachment, Mailbox
from streams.core.outcome import Accepted, AttemptResult, Deferred, Outcome, Rejected, Scope, Uncertain
from streams.providers import mailgun, registry, smtp
from streams.providers.base import Batch, Dialogue, Entry, Slot, dialogue_of
from streams.providers.smtp import Config, Smtp
from streams.providers.smtp.config import Encryption, Service
from streams.sandbox import OutcomeMix, Sandbox, SandboxConfig, SmtpConfig
from streams.topics import Topics

NOW = 1_700_000_000_000


def message_id(number: int) -> str:
    return f"{'a' * 20}-{'b' * 19}{'abcdefghijklmnop'[number]}"


def batch(*addresses: str, **parts: Any) -> Batch:
    entries = tuple(
        Entry(message_id(n), 1, Mailbox(address), {"name": f"Ann {n}"}) for n, address in enumerate(addresses)
    )
    return Batch(Mailbox("s@example.com", "Shop"), entries, **{"subject": ("Hi",), "text": ("Hello",), **parts})


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    config = SandboxConfig(
        tmp_path / "ledger.jsonl", smtp=SmtpConfig(), mix=OutcomeMix.only_success(), webhook_delay_s=0.01
    )
    running = Sandbox(config)
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def relay(sandbox: Sandbox) -> AsyncIterator[Smtp]:
    adapter = opened(sandbox)
    yield adapter
    await adapter.aclose()


def opened(sandbox: Sandbox, **changes: Any) -> Smtp:
    assert sandbox.smtp is not None
    values: dict[str, Any] = {
        "host": "localhost",
        "port": sandbox.smtp.port,
        "tls": Encryption.IMPLICIT,
        "ca_file": str(sandbox.smtp.certificate),
        "username": "sandbox",
        "password": "password-sandbox",
    }
    return smtp.create("relay", Config(**(values | changes)))


async def sent(adapter: Smtp, mail: Batch, deadline_s: float = 10.0) -> tuple[Outcome, ...]:
    outcomes = await adapter.send(mail, deadline_s, NOW)
    assert isinstance(outcomes, tuple)
    return outcomes


async def one(adapter: Smtp, mail: Batch | None = None, deadline_s: float = 10.0) -> Outcome:
    [outcome] = await sent(adapter, mail or batch("a@example.net"), deadline_s)
    return outcome


def copies(sandbox: Sandbox) -> list[EmailMessage]:
    """What arrived, in order."""
    assert sandbox.smtp is not None
    found = []
    for record in sandbox.ledger.accepted_from("smtp", 0):
        copy = sandbox.control._recent.rendered(record.call_id, record.recipient)
        assert copy is not None
        found.append(cast(EmailMessage, email.message_from_string(copy["mime"], policy=email.policy.default)))
    return found


# ------------------------------------------------------------------ TLS and login


async def test_it_is_found_by_its_type_and_holds_a_dialogue(relay: Smtp) -> None:
    assert "smtp" in registry.types()
    assert registry.load("smtp").Config is Config
    assert isinstance(relay, Dialogue)
    assert dialogue_of(relay) is relay


async def test_mail_goes_out_over_tls_from_the_start(sandbox: Sandbox, relay: Smtp) -> None:
    assert await one(relay) == Accepted(f"{message_id(0)}.1@example.com")
    assert sandbox.ledger.accepted["smtp"] == 1


async def test_mail_goes_out_over_starttls(sandbox: Sandbox) -> None:
    assert sandbox.smtp is not None
    adapter = opened(sandbox, port=sandbox.smtp.starttls_port, tls=Encryption.STARTTLS)
    assert isinstance(await one(adapter), Accepted)
    assert isinstance(await one(adapter), Accepted)
    assert adapter.pool.opened == 1
    await adapter.aclose()


async def test_two_hundred_messages_one_by_one_use_two_connections(sandbox: Sandbox, relay: Smtp) -> None:
    for _ in range(200):
        assert isinstance(await one(relay), Accepted)
    assert relay.pool.opened == 2
    assert sandbox.ledger.accepted["smtp"] == 200


async def test_calls_at_the_same_time_have_connections_of_their_own(sandbox: Sandbox, relay: Smtp) -> None:
    outcomes = await asyncio.gather(*(one(relay) for _ in range(8)))
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert relay.pool.opened == 8
    await asyncio.gather(*(one(relay) for _ in range(8)))
    assert relay.pool.opened == 8


async def test_a_certificate_of_nobody_we_trust_holds_the_account(sandbox: Sandbox) -> None:
    assert sandbox.smtp is not None
    for changes in ({"ca_file": ""}, {"ca_file": "", "port": sandbox.smtp.starttls_port, "tls": Encryption.STARTTLS}):
        outcome = await one(opened(sandbox, **changes))
        assert isinstance(outcome, Deferred)
        assert (outcome.scope, outcome.reason.kind) == (Scope.ACCOUNT, ReasonKind.CONFIGURATION)
        assert "certificate" in outcome.reason.detail
    assert sandbox.ledger.accepted["smtp"] == 0


async def test_a_certificate_for_another_name_is_refused(sandbox: Sandbox) -> None:
    outcome = await one(opened(sandbox, host="127.0.0.2"))
    assert isinstance(outcome, Deferred)
    assert outcome.scope in (Scope.ACCOUNT, Scope.PROVIDER)  # where 127.0.0.2 is no address of this host


async def test_a_wrong_password_holds_the_account_and_is_tried_once(sandbox: Sandbox) -> None:
    assert sandbox.smtp is not None
    adapter = opened(sandbox, password="wrong")
    outcome = await one(adapter)
    assert isinstance(outcome, Deferred)
    assert (outcome.scope, outcome.result) == (Scope.ACCOUNT, AttemptResult.AUTH)
    assert (outcome.reason.kind, outcome.reason.code) == (ReasonKind.CREDENTIALS, "535")
    assert "wrong" not in str(outcome)


async def test_a_corrected_password_is_used_at_once(sandbox: Sandbox) -> None:
    adapter = opened(sandbox, password="wrong")
    assert isinstance(await one(adapter), Deferred)
    adapter.change(opened(sandbox).config)
    assert isinstance(await one(adapter), Accepted)
    await adapter.aclose()


async def test_a_changed_password_does_not_disturb_what_is_under_way(sandbox: Sandbox, relay: Smtp) -> None:
    assert sandbox.smtp is not None
    await one(relay)
    sandbox.faults.add({"kind": "slow", "provider": "smtp", "hold_s": 0.2, "count": 1})
    under_way = asyncio.create_task(one(relay))
    await asyncio.sleep(0)
    sandbox.smtp.users["sandbox"] = "another"
    relay.change(opened(sandbox, password="another").config)
    assert isinstance(await under_way, Accepted)
    assert isinstance(await one(relay), Accepted)
    assert relay.pool.opened == 2


async def test_a_server_that_does_not_offer_starttls_gets_nothing() -> None:
    ended = asyncio.Event()

    async def clear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 x\r\n")
        while line := await reader.readline():
            writer.write(b"250 x\r\n" if line.startswith(b"EHLO") else b"221 bye\r\n")
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(clear, "127.0.0.1", 0)
    adapter = smtp.create("relay", Config("127.0.0.1", server.sockets[0].getsockname()[1]))
    outcome = await one(adapter)
    assert isinstance(outcome, Deferred)
    assert (outcome.scope, outcome.reason.kind) == (Scope.ACCOUNT, ReasonKind.CONFIGURATION)
    await asyncio.wait_for(ended.wait(), 5)
    server.close()
    await server.wait_closed()


# ------------------------------------------------------------------ fates and faults


async def test_refusals_at_hand_off_are_the_recipients_own(sandbox: Sandbox, relay: Smtp) -> None:
    first, unknown, content, last = await sent(
        relay, batch("a@example.net", "suppressionlist@example.net", "reject@example.net", "b@example.net")
    )
    assert isinstance(first, Accepted) and isinstance(last, Accepted)
    assert isinstance(unknown, Rejected) and unknown.reason.kind is ReasonKind.BAD_MAILBOX
    assert isinstance(content, Rejected) and content.scope is Scope.MESSAGE


@pytest.mark.parametrize(
    ("fault", "kind", "scope", "taken"),
    [
        ({"kind": "throttle"}, Deferred, Scope.LANE, 0),
        ({"kind": "status", "status": 451, "body": "4.3.0 later"}, Deferred, Scope.MESSAGE, 0),
        ({"kind": "status", "status": 554, "body": "5.6.0 content"}, Rejected, Scope.MESSAGE, 0),
        ({"kind": "status", "stage": "greeting"}, Deferred, Scope.PROVIDER, 0),
        ({"kind": "status", "stage": "login"}, Deferred, Scope.PROVIDER, 0),
        ({"kind": "status", "stage": "mail", "status": 452, "body": "4.3.1 full"}, Deferred, Scope.PROVIDER, 0),
        ({"kind": "status", "stage": "rcpt", "status": 450, "body": "4.2.0 greylisted"}, Deferred, Scope.RECIPIENT, 0),
        ({"kind": "reset_before", "stage": "mail"}, Deferred, Scope.PROVIDER, 0),
        ({"kind": "reset_before", "stage": "rcpt"}, Deferred, Scope.PROVIDER, 0),
        ({"kind": "reset_before", "stage": "data"}, Deferred, Scope.PROVIDER, 0),
        ({"kind": "timeout_before", "stage": "data"}, Deferred, Scope.PROVIDER, 0),
        ({"kind": "reset_before"}, Uncertain, Scope.PROVIDER, 0),
        ({"kind": "reset_after"}, Uncertain, Scope.PROVIDER, 1),
        ({"kind": "timeout_after"}, Uncertain, Scope.PROVIDER, 1),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else str(value),
)
async def test_a_fault_is_certain_before_the_final_dot_and_doubt_after_it(
    sandbox: Sandbox, relay: Smtp, fault: dict[str, Any], kind: type, scope: Scope, taken: int
) -> None:
    sandbox.faults.add({"provider": "smtp", "count": 1, **fault})
    outcome = await one(relay, deadline_s=0.5 if "timeout" in fault["kind"] else 10.0)
    assert not isinstance(outcome, Accepted)
    assert (type(outcome), outcome.scope) == (kind, scope)
    await sandbox.ledger.committed()
    assert sandbox.ledger.accepted["smtp"] == taken
    assert isinstance(await one(relay), Accepted)


async def test_bounces_come_back_to_an_address_that_names_the_attempt(sandbox: Sandbox) -> None:
    assert sandbox.smtp is not None
    adapter = opened(sandbox, return_path="bounces.example.com", return_path_key="k")
    assert isinstance(await one(adapter, batch("bounce@example.net")), Accepted)
    async with asyncio.timeout(10):
        while sandbox.webhooks.pending:
            await asyncio.sleep(0.01)
    [path] = (sandbox.smtp.maildir / "new").iterdir()
    back = email.message_from_bytes(path.read_bytes())
    assert verp.trace(str(back["Delivered-To"]), [b"k"]) == verp.Trace(message_id(0), 1, signed=True)
    await adapter.aclose()


# ------------------------------------------------------------------ the message


async def test_each_recipient_gets_a_message_of_its_own(sandbox: Sandbox, relay: Smtp) -> None:
    await sent(
        relay,
        batch(
            "a@example.net",
            "b@example.net",
            subject=("Hé ", Slot("name")),
            html=("<p>", Slot("name"), "</p>"),
            personal_headers=(("List-Unsubscribe", ("<https://t.example.com/", Slot("name"), ">")),),
        ),
    )
    first, second = copies(sandbox)
    assert (first["to"], second["to"]) == ("a@example.net", "b@example.net")
    assert (first["subject"], second["subject"]) == ("Hé Ann 0", "Hé Ann 1")
    assert "Ann 1" in second["list-unsubscribe"]
    assert first["message-id"] != second["message-id"]
    assert verp.parse(second["message-id"]) == (message_id(1), 1)


async def test_files_and_inline_images_arrive(sandbox: Sandbox, relay: Smtp) -> None:
    files = (
        Attachment("Übersicht.pdf", "application/pdf", b"%PDF" * 50_000),
        Attachment("logo.png", "image/png", b"\x89PNG", content_id="logo"),
    )
    await one(relay, batch("a@example.net", html=("<img src='cid:logo'>",), attachments=files))
    [copy] = copies(sandbox)
    parts = {part.get_filename(): part.get_content() for part in copy.walk() if part.get_filename()}
    assert parts == {"Übersicht.pdf": b"%PDF" * 50_000, "logo.png": b"\x89PNG"}


async def test_a_finished_message_arrives_byte_by_byte(sandbox: Sandbox, relay: Smtp) -> None:
    mime = b"From: s@example.com\r\nMessage-ID:\r\n <own@example.com>\r\nSubject: signed\r\n\r\n.dot\r\n\r\n..\r\n"
    assert await one(relay, batch("a@example.net", mime=mime)) == Accepted("own@example.com")
    [record] = sandbox.ledger.accepted_from("smtp", 0)
    copy = sandbox.control._recent.rendered(record.call_id, "a@example.net")
    assert copy is not None and copy["mime"].encode() == mime


@pytest.mark.parametrize(
    "value", ["x\r\nBcc: evil@example.com", "x\nRCPT TO:<evil@example.com>", "x\r\n.\r\nMAIL FROM:<>"]
)
async def test_no_value_can_speak_to_the_server(sandbox: Sandbox, relay: Smtp, value: str) -> None:
    await one(relay, batch("a@example.net", subject=(value,), text=(value,), headers=(("X-Own", value),)))
    assert [record.recipient for record in sandbox.ledger.accepted_from("smtp", 0)] == ["a@example.net"]
    [copy] = copies(sandbox)
    assert copy["bcc"] is None


async def test_an_address_that_would_be_a_command_is_refused(sandbox: Sandbox, relay: Smtp) -> None:
    outcome = await one(relay, batch("a@example.net>\r\nRCPT TO:<evil@example.com"))
    assert not isinstance(outcome, Accepted) or [r.recipient for r in sandbox.ledger.accepted_from("smtp", 0)] != [
        "evil@example.com"
    ]
    assert all("evil" not in r.recipient or "@" in r.recipient for r in sandbox.ledger.accepted_from("smtp", 0))


# ------------------------------------------------------------------ services


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("smtp.mailgun.org", Service.MAILGUN),
        ("smtp.eu.mailgun.org", Service.MAILGUN),
        ("email-smtp.eu-west-1.amazonaws.com", Service.SES),
        ("smtpdm.aliyun.com", Service.DIRECTMAIL),
        ("smtpdm-ap-southeast-1.aliyuncs.com", Service.DIRECTMAIL),
        ("smtp.mailgun.org.evil.example", Service.PLAIN),
        ("mail.example.com", Service.PLAIN),
    ],
)
def test_a_service_is_known_by_its_servers_name(host: str, service: Service) -> None:
    assert Config(host).known_service is service


async def test_mailgun_is_told_tags_and_variables(sandbox: Sandbox) -> None:
    adapter = opened(sandbox, service=Service.MAILGUN, return_path="bounces.example.com")
    await one(adapter, batch("a@example.net", tags=("welcome", "two"), track_opens=True, track_clicks=False))
    [copy] = copies(sandbox)
    assert copy.get_all("x-mailgun-tag") == ["welcome", "two"]
    assert copy["x-mailgun-variables"] == f'{{"message_id": "{message_id(0)}", "attempt": "1"}}'
    assert (copy["x-mailgun-track-opens"], copy["x-mailgun-track-clicks"]) == ("yes", "no")
    [record] = sandbox.ledger.accepted_from("smtp", 0)
    assert record.detail == "s@example.com", "Mailgun owns the envelope sender"
    await adapter.aclose()


async def test_ses_is_told_configuration_set_and_tags_and_its_id_is_read(sandbox: Sandbox) -> None:
    adapter = opened(sandbox, service=Service.SES, configuration_set="cs1")
    await one(adapter, batch("a@example.net", tags=("wel come",)))
    [copy] = copies(sandbox)
    assert copy["x-ses-configuration-set"] == "cs1"
    assert copy["x-ses-message-tags"] == f"message_id={message_id(0)}, attempt=1, tag0=wel_come"
    fault = {"kind": "status", "provider": "smtp", "status": 250, "body": "Ok 0100018c-bbbb-000000-x", "count": 1}
    sandbox.faults.add(fault)
    assert await one(adapter) == Accepted("0100018c-bbbb-000000-x")
    await adapter.aclose()


async def test_directmail_is_told_our_id_and_its_envelope_id_is_read(sandbox: Sandbox) -> None:
    adapter = opened(sandbox, service=Service.DIRECTMAIL)
    await one(adapter)
    [copy] = copies(sandbox)
    assert copy["x-notify-message-id"] == f"{message_id(0)}.1"
    sandbox.faults.add({"kind": "status", "provider": "smtp", "status": 250, "body": "Data Ok ###envid=100000000001"})
    assert await one(adapter) == Accepted("100000000001")
    await adapter.aclose()


def test_a_services_webhooks_speak_for_mail_over_its_smtp_server() -> None:
    hooks = mailgun.create("mg", mailgun.Config(domain="mg.example.com", api_key="k", signing_keys=("s",)))
    relay = smtp.create("relay", Config("smtp.mailgun.org"))
    other = smtp.create("other", Config("smtp.mailgun.org", reported_by="elsewhere"))
    own = smtp.create("own", Config("mail.example.com"))
    config = NormaliseConfig(Topics(), 4, {"mg": hooks, "relay": relay, "other": other, "own": own})
    assert config.vouches(hooks, "mg") == ("mg", "relay")


# ------------------------------------------------------------------ configuration


@pytest.mark.parametrize(
    ("port", "tls", "expected"),
    [
        (465, Encryption.AUTO, "implicit"),
        (2465, Encryption.AUTO, "implicit"),
        (587, Encryption.AUTO, "starttls"),
        (25, Encryption.AUTO, "starttls"),
        (25, Encryption.NONE, "none"),
    ],
)
def test_nothing_goes_out_in_the_clear_unless_the_configuration_says_so(
    port: int, tls: Encryption, expected: str
) -> None:
    assert Config("mail.example.com", port, tls).server.tls == expected


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"host": "a b"}, "host"),
        ({"host": "mail.example.com", "username": "u"}, "username and password"),
        ({"host": "mail.example.com", "return_path": "bad domain"}, "return_path"),
        ({"host": "mail.example.com", "return_path": "a-very-long-mailbox-name-indeed@example.com"}, "return path"),
        ({"host": "mail.example.com", "configuration_set": "a b"}, "configuration_set"),
        ({"host": "mail.example.com", "helo": "a b"}, "helo"),
    ],
)
def test_a_wrong_key_is_named(keys: dict[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Config(**keys)


def test_the_password_is_not_shown() -> None:
    config = Config("mail.example.com", username="u", password="secret-word")
    assert "secret-word" not in f"{config!r} {config.server!r}"


async def test_a_thousand_accounts_are_opened_in_a_blink() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    adapters = [smtp.create(f"t{n}", Config("mail.example.com", username=f"u{n}", password="p")) for n in range(1000)]
    assert loop.time() - began < 1.0
    assert sum(adapter.pool.opened for adapter in adapters) == 0

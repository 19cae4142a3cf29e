"""The SMTP sandbox, met by the standard library's own client over real TLS on both ports."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Awaitable, Callable
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.policy import SMTP
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from streams.sandbox import Sandbox, SmtpConfig
from tests.sandbox.conftest import START, ledger_lines, settled

Speaks = Callable[..., Awaitable[Any]]


def mail(to: str, message_id: str = "m-1") -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = "Ann <ann@example.com>", to, "Hé"
    message["Message-ID"] = f"<{message_id}.1@example.com>"
    message.set_content("Hello\n.\nline\n")
    return message


def trusted(sandbox: Sandbox) -> ssl.SSLContext:
    assert sandbox.smtp is not None
    return ssl.create_default_context(cafile=str(sandbox.smtp.certificate))


def over_tls(sandbox: Sandbox) -> smtplib.SMTP:
    assert sandbox.smtp is not None
    return logged_in(smtplib.SMTP_SSL("localhost", sandbox.smtp.port, context=trusted(sandbox), timeout=10))


def logged_in(client: smtplib.SMTP) -> smtplib.SMTP:
    try:
        client.login("sandbox", "password-sandbox")
    except smtplib.SMTPException:
        client.close()
        raise
    return client


def over_starttls(sandbox: Sandbox) -> smtplib.SMTP:
    assert sandbox.smtp is not None
    client = smtplib.SMTP("localhost", sandbox.smtp.starttls_port, timeout=10)
    client.starttls(context=trusted(sandbox))
    return logged_in(client)


def sent(sandbox: Sandbox, opens: Callable[[Sandbox], smtplib.SMTP], *messages: EmailMessage, back: str) -> None:
    with opens(sandbox) as client:
        for message in messages:
            client.send_message(message, from_addr=back)


def returned(sandbox: Sandbox) -> list[Message]:
    assert sandbox.smtp is not None
    return [message_from_bytes(path.read_bytes()) for path in sorted((sandbox.smtp.maildir / "new").iterdir())]


@pytest.mark.parametrize("opens", [over_tls, over_starttls])
async def test_the_standard_librarys_client_sends_over_tls(
    start: START, opens: Callable[[Sandbox], smtplib.SMTP]
) -> None:
    sandbox = await start(smtp=SmtpConfig())
    await asyncio.to_thread(
        sent, sandbox, opens, mail("a@example.net"), mail("b@example.net", "m-2"), back="x@b.example"
    )
    lines = ledger_lines(sandbox)
    assert [(line["provider"], line["recipient"], line["subject"]) for line in lines] == [
        ("smtp", "a@example.net", "Hé"),
        ("smtp", "b@example.net", "Hé"),
    ]
    assert lines[0]["variables"] == {"message_id": "m-1", "attempt": "1"}
    assert lines[0]["provider_message_id"] == "m-1.1@example.com"
    assert sandbox.ledger.duplicates == 0


async def test_a_wrong_password_and_no_login_are_refused(start: START) -> None:
    sandbox = await start(smtp=SmtpConfig())
    assert sandbox.smtp is not None

    def attempt() -> tuple[int, int]:
        assert sandbox.smtp is not None
        with smtplib.SMTP_SSL("localhost", sandbox.smtp.port, context=trusted(sandbox), timeout=10) as client:
            with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
                client.login("sandbox", "wrong")
            client.ehlo()
            return refused.value.smtp_code, client.mail("ann@example.com")[0]

    assert await asyncio.to_thread(attempt) == (535, 530)


async def test_nothing_is_said_in_the_clear_at_the_starttls_port(start: START) -> None:
    sandbox = await start(smtp=SmtpConfig())

    def attempt() -> tuple[int, bytes]:
        assert sandbox.smtp is not None
        with smtplib.SMTP("localhost", sandbox.smtp.starttls_port, timeout=10) as client:
            client.ehlo()
            return client.mail("ann@example.com")

    code, _ = await asyncio.to_thread(attempt)
    assert code == 530


@pytest.mark.parametrize(
    ("to", "kind", "field", "value"),
    [
        ("bounce@example.net", "delivery-status", "status", "5.1.1"),
        ("softbounce@example.net", "delivery-status", "status", "5.2.2"),
        ("blocked@example.net", "delivery-status", "status", "5.7.1"),
        ("defer@example.net", "delivery-status", "action", "delayed"),
        ("complaint@example.net", "feedback-report", "feedback-type", "abuse"),
    ],
)
async def test_what_becomes_of_a_message_comes_back_as_mail_to_its_return_path(
    start: START, to: str, kind: str, field: str, value: str
) -> None:
    sandbox = await start(smtp=SmtpConfig())
    await asyncio.to_thread(sent, sandbox, over_tls, mail(to), back="b+m-1@bounces.example.com")
    await settled(sandbox)
    [back] = returned(sandbox)
    assert back["Delivered-To"] == "b+m-1@bounces.example.com"
    assert back["Return-Path"] == "<>"
    assert back.get_param("report-type") == kind
    parts = list(back.walk())
    groups = [part for part in parts if field in part]
    assert groups, "no group of fields has it"
    assert str(groups[-1][field]) == value
    assert "m-1.1@example.com" in str(parts[-1].get_payload())
    assert [line["event"] for line in ledger_lines(sandbox) if "webhook" in line] == [
        {"delivery-status": "delayed" if value == "delayed" else "failed", "feedback-report": "complaint"}[kind]
    ]


async def test_an_automatic_reply_is_no_report(start: START) -> None:
    sandbox = await start(smtp=SmtpConfig())
    await asyncio.to_thread(sent, sandbox, over_tls, mail("ooto@example.net"), back="b@bounces.example.com")
    await settled(sandbox)
    [back] = returned(sandbox)
    assert (back["Auto-Submitted"], back.get_content_type()) == ("auto-replied", "text/plain")


async def test_two_fates_are_refusals_at_hand_off(start: START) -> None:
    sandbox = await start(smtp=SmtpConfig())

    def attempt() -> tuple[int, int]:
        with over_tls(sandbox) as client:
            with pytest.raises(smtplib.SMTPRecipientsRefused) as unknown:
                client.send_message(mail("suppressionlist@example.net"))
            with pytest.raises(smtplib.SMTPDataError) as content:
                client.send_message(mail("reject@example.net"))
        return next(iter(unknown.value.recipients.values()))[0], content.value.smtp_code

    assert await asyncio.to_thread(attempt) == (550, 554)
    assert ledger_lines(sandbox) == []


@pytest.mark.parametrize(
    ("fault", "taken"),
    [
        ({"kind": "status", "status": 451, "body": "4.3.2 busy"}, 0),
        ({"kind": "throttle"}, 0),
        ({"kind": "status", "stage": "rcpt", "status": 450, "body": "4.2.0 greylisted"}, 0),
        ({"kind": "status", "stage": "data", "status": 554, "body": "5.5.1 no"}, 0),
        ({"kind": "reset_before"}, 0),
        ({"kind": "reset_before", "stage": "mail"}, 0),
        ({"kind": "reset_after"}, 1),
        ({"kind": "status_after", "status": 451}, 1),
    ],
)
async def test_faults_strike_before_or_after_acceptance(
    start: START, http: aiohttp.ClientSession, fault: dict[str, Any], taken: int
) -> None:
    sandbox = await start(smtp=SmtpConfig())
    async with http.post(f"{sandbox.url}/sandbox/faults", json={"provider": "smtp", "count": 1, **fault}) as answer:
        assert answer.status == 201

    def attempt() -> None:
        client = over_tls(sandbox)
        with pytest.raises((smtplib.SMTPException, OSError)):
            client.send_message(mail("a@example.net"))
        client.close()

    await asyncio.to_thread(attempt)
    assert sandbox.ledger.accepted["smtp"] == taken


async def test_a_slow_answer_comes_byte_by_byte_and_is_right(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start(smtp=SmtpConfig())
    rule = {"kind": "slow", "provider": "smtp", "hold_s": 0.2, "count": 1}
    async with http.post(f"{sandbox.url}/sandbox/faults", json=rule) as answer:
        assert answer.status == 201
    await asyncio.to_thread(sent, sandbox, over_tls, mail("a@example.net"), back="x@example.com")
    assert sandbox.ledger.accepted["smtp"] == 1


async def test_a_greeting_and_a_login_may_fail(start: START) -> None:
    sandbox = await start(smtp=SmtpConfig())
    sandbox.faults.add({"kind": "status", "provider": "smtp", "stage": "greeting", "count": 1})
    sandbox.faults.add({"kind": "status", "provider": "smtp", "stage": "login"})

    def attempt() -> tuple[int, int]:
        with pytest.raises(smtplib.SMTPConnectError) as busy:
            over_tls(sandbox)
        with pytest.raises(smtplib.SMTPAuthenticationError) as later:
            over_tls(sandbox)
        return busy.value.smtp_code, later.value.smtp_code

    assert await asyncio.to_thread(attempt) == (421, 454)


async def test_a_restart_delivers_what_was_not_reported_yet_once(start: START, tmp_path: Path) -> None:
    sandbox = await start(smtp=SmtpConfig(), webhook_delay_s=600.0)
    await asyncio.to_thread(sent, sandbox, over_tls, mail("bounce@example.net"), back="b@bounces.example.com")
    assert sandbox.webhooks.pending == 1
    await sandbox.stop()
    sandbox.url = ""
    again = await start(smtp=SmtpConfig(), webhook_delay_s=0.0)
    await settled(again)
    assert len(returned(again)) == 1
    await again.stop()
    again.url = ""
    third = await start(smtp=SmtpConfig())
    await settled(third)
    assert len(returned(third)) == 1
    assert third.ledger.accepted["smtp"] == 1


async def test_a_copy_can_be_seen_as_it_was_sent(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start(smtp=SmtpConfig())
    await asyncio.to_thread(sent, sandbox, over_tls, mail("a@example.net"), back="x@example.com")
    call_id = ledger_lines(sandbox)[0]["call_id"]
    async with http.get(f"{sandbox.url}/sandbox/rendered?call_id={call_id}&recipient=A@example.net") as answer:
        copy = await answer.json()
    assert "\r\n.\r\nline\r\n" in copy["mime"]

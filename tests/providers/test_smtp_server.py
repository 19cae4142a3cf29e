"""The SMTP adapter against a server that is not ours: Dovecot's submission service, which hands on to the look-alike."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streams.core.message import Mailbox
from streams.core.outcome import Accepted, Deferred, Rejected, Scope
from streams.providers import smtp
from streams.providers.base import Batch, Entry
from streams.providers.smtp import Config, Smtp
from streams.providers.smtp.config import Encryption
from streams.sandbox import OutcomeMix, Sandbox, SandboxConfig, SmtpConfig
from tests.dovecot import PASSWORD, Dovecot, Relay, executable, running

NOW = 1_700_000_000_000

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    config = SandboxConfig(tmp_path / "ledger.jsonl", smtp=SmtpConfig(), mix=OutcomeMix.only_success())
    beyond = Sandbox(config)
    await beyond.start()
    yield beyond
    await beyond.stop()


@pytest.fixture
async def dovecot(sandbox: Sandbox) -> AsyncIterator[Dovecot]:
    program = executable("submission")
    if program is None:
        pytest.skip("needs Dovecot's submission service (Debian: dovecot-submissiond)")
    assert sandbox.smtp is not None
    server = running(program, relay=Relay(sandbox.smtp.port, "sandbox", "password-sandbox"))
    yield await asyncio.to_thread(server.__enter__)
    await asyncio.to_thread(server.__exit__, None, None, None)


@pytest.fixture(params=[Encryption.IMPLICIT, Encryption.STARTTLS])
async def relay(dovecot: Dovecot, request: pytest.FixtureRequest) -> AsyncIterator[Smtp]:
    adapter = opened(dovecot, request.param)
    yield adapter
    await adapter.aclose()


def opened(dovecot: Dovecot, tls: Encryption, **changes: Any) -> Smtp:
    port = dovecot.submissions_port if tls is Encryption.IMPLICIT else dovecot.submission_port
    values: dict[str, Any] = {
        "host": "localhost",
        "port": port,
        "tls": tls,
        "ca_file": dovecot.ca_file,
        "username": "ann",
        "password": PASSWORD,
    }
    return smtp.create("relay", Config(**(values | changes)))


def batch(*addresses: str, **parts: Any) -> Batch:
    entries = tuple(
        Entry(f"{number:040d}".replace("0", "a", 20), 1, Mailbox(address)) for number, address in enumerate(addresses)
    )
    return Batch(
        Mailbox("s@example.com", "Shop"), entries, **{"subject": ("Grüße",), "text": ("Hello\n.\nBye",), **parts}
    )


def taken(sandbox: Sandbox) -> Counter[str]:
    return Counter(record.recipient for record in sandbox.ledger.accepted_from("smtp", 0))


async def test_every_message_of_a_batch_is_handed_on_once(sandbox: Sandbox, relay: Smtp) -> None:
    addresses = [f"reader{number}@example.net" for number in range(30)]
    outcomes = await relay.send(batch(*addresses), 20.0, NOW)
    assert isinstance(outcomes, tuple)
    assert [type(outcome) for outcome in outcomes] == [Accepted] * 30, outcomes[:2]
    assert taken(sandbox) == dict.fromkeys(addresses, 1)


async def test_what_a_limit_of_connections_turns_away_is_deferred_and_arrives_once_later(
    sandbox: Sandbox, relay: Smtp
) -> None:
    """Dovecot allows ten connections from one user and address."""
    addresses = [f"reader{number}@example.net" for number in range(40)]
    waiting, rounds = addresses, 0
    while waiting:
        found = await asyncio.gather(*(relay.send(batch(address), 20.0, NOW) for address in waiting))
        outcomes = [outcomes[0] for outcomes in found if isinstance(outcomes, tuple)]
        assert {type(outcome) for outcome in outcomes} <= {Accepted, Deferred}
        assert all(outcome.reason.code == "421" for outcome in outcomes if isinstance(outcome, Deferred))
        waiting = [address for address, one in zip(waiting, outcomes, strict=True) if isinstance(one, Deferred)]
        rounds += 1
        assert rounds < 20
    assert taken(sandbox) == dict.fromkeys(addresses, 1)


async def test_a_refused_recipient_does_not_stop_the_others(sandbox: Sandbox, relay: Smtp) -> None:
    addresses = ("reader1@example.net", "suppressionlist@example.net", "reader2@example.net")
    outcomes = await relay.send(batch(*addresses), 20.0, NOW)
    assert isinstance(outcomes, tuple)
    assert [type(outcome) for outcome in outcomes] == [Accepted, Rejected, Accepted]
    assert taken(sandbox).keys() == {"reader1@example.net", "reader2@example.net"}


async def test_a_wrong_password_holds_the_account(sandbox: Sandbox, dovecot: Dovecot) -> None:
    adapter = opened(dovecot, Encryption.STARTTLS, password="not this one")
    outcomes = await adapter.send(batch("reader@example.net"), 20.0, NOW)
    await adapter.aclose()
    outcome = outcomes[0] if isinstance(outcomes, tuple) else outcomes
    assert isinstance(outcome, Deferred)
    assert outcome.scope is Scope.ACCOUNT
    assert not taken(sandbox)

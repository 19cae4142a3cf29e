"""A bounce mailbox is read over IMAP: nothing is taken away before Kafka has it, nothing is lost, all over TLS."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from imapclient import IMAPClient

from streams.agents.normalise import Normalise, NormaliseConfig
from streams.bounces.configured import readers_of
from streams.core.receipt import Receipt, ReceiptKind
from streams.metrics import Metrics
from streams.pollers.build import build_sources
from streams.pollers.loop import Pace, Poller
from streams.pollers.mailbox import MailboxSource
from streams.pollers.source import SourceUnavailable
from streams.serde.internal import unpack
from streams.settings import load_settings
from streams.topics import Topics
from tests.agents.fake_engine import FakeBatch, FakeEngine, FakeUnit, record
from tests.dovecot import PASSWORD, Dovecot, executable, new_user, running
from tests.pollers.fakes import FakeProducer

BOUNCE = (Path(__file__).parent.parent / "payloads" / "bounces" / "002-code-5.1.1.eml").read_bytes()
NOW_MS = 1_800_000_000_000

Make = Callable[..., MailboxSource]


@pytest.fixture(scope="session")
def dovecot() -> Iterator[Dovecot]:
    program = executable()
    if program is None:
        pytest.skip("needs Dovecot (Debian: dovecot-imapd)")
    with running(program) as server:
        yield server


@dataclass
class Box:
    """The mailbox of one test, seen by somebody else."""

    user: str
    client: IMAPClient

    def put(self, *mails: bytes, folder: str = "INBOX") -> None:
        for mail in mails:
            self.client.append(folder, mail)

    def flags(self, folder: str = "INBOX") -> list[tuple[bytes, ...]]:
        """Of each mail in the folder, without ``\\Recent``."""
        self.client.select_folder(folder, readonly=True)
        found = self.client.fetch(self.client.search(), ["FLAGS"])
        self.client.unselect_folder()
        return [tuple(f for f in one[b"FLAGS"] if f != b"\\Recent") for one in found.values()]


@pytest.fixture
def box(dovecot: Dovecot) -> Iterator[Box]:
    user = new_user()
    client = dovecot.client(user)
    yield Box(user, client)
    client.logout()


@pytest.fixture
async def make(dovecot: Dovecot, box: Box, tmp_path: Path) -> AsyncIterator[Make]:
    made: list[MailboxSource] = []

    def source(**keys: Any) -> MailboxSource:
        given = {
            "host": "localhost", "port": dovecot.imaps_port, "ca_file": dovecot.ca_file, "user": box.user,
            "password": "env:BOX_PASSWORD", "wait_s": 0.1,
        } | keys  # fmt: skip
        lines = [f"{key} = {value if isinstance(value, int | float) else repr(value)}" for key, value in given.items()]
        file = tmp_path / "streams.toml"
        file.write_text('[kafka]\nbootstrap = "broker:9092"\n[mailboxes.returns]\n' + "\n".join(lines))
        settings = load_settings(file, {"BOX_PASSWORD": PASSWORD, "OTHER": "wrong-word"})
        built = build_sources(settings, {})["returns"]
        assert isinstance(built, MailboxSource)
        made.append(built)
        return built

    yield source
    for one in made:
        await one.aclose()


def payloads(items: Any) -> list[bytes]:
    return [item.payload.replace(b"\r\n", b"\n") for item in items]


async def test_mails_come_oldest_first_and_reading_changes_nothing(make: Make, box: Box) -> None:
    box.put(BOUNCE, b"Subject: second\n\nbody\n")
    source = make()
    items = await source.receive()
    assert payloads(items) == [BOUNCE, b"Subject: second\n\nbody\n"]
    assert (source.name, source.provider, source.topic) == ("returns", "returns", "webhooks.bounces")
    assert items[0].headers == (("verified", b"mailbox"),)
    assert items[0].sent_ms > 1_700_000_000_000
    assert items[0].key.startswith(b"returns/")
    assert box.flags() == [(), ()]


@pytest.mark.parametrize(
    ("after", "inbox", "stored"),
    [("delete", [()], []), ("move", [()], [()]), ("seen", [(b"\\Seen",), ()], [])],
)
async def test_what_kafka_has_is_dealt_with_as_configured_and_the_rest_stays(
    make: Make, box: Box, after: str, inbox: list[Any], stored: list[Any]
) -> None:
    box.client.create_folder("Stored")
    box.put(b"Subject: 1\n\n", b"Subject: 2\n\n")
    source = make(after=after)
    first, second = await source.receive()
    await source.done([first])
    assert (box.flags(), box.flags("Stored")) == (inbox, stored)
    again = await source.receive()
    assert [item.payload for item in again] == [second.payload]
    assert again[0].times == 2
    await source.done(again)
    assert await source.receive() == []


async def test_the_folder_for_stored_mails_is_made(make: Make, box: Box) -> None:
    box.put(BOUNCE)
    source = make(move_to="Read by machine")
    await source.done(await source.receive())
    assert box.flags("Read by machine") == [()]


async def test_a_server_without_move_and_uidplus_is_served_too(make: Make, box: Box) -> None:
    box.put(BOUNCE)
    source = make()
    items = await source.receive()
    connection: Any = source._connection
    capable = connection._client.has_capability
    connection._client.has_capability = lambda name: name not in ("MOVE", "UIDPLUS") and capable(name)
    await source.done(items)
    assert box.flags("Stored") == [()]
    assert box.flags() == [(b"\\Deleted",)]
    assert await source.receive() == []


async def test_a_wait_ends_when_a_mail_arrives(make: Make, box: Box) -> None:
    source = make(wait_s=30)
    receiving = asyncio.create_task(source.receive())
    await until(lambda: getattr(source._connection, "_idling", False))
    box.put(BOUNCE)
    assert payloads(await asyncio.wait_for(receiving, 10)) == [BOUNCE]


async def test_a_server_without_idle_is_looked_at_again(make: Make, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.pollers.mailbox._Connection.can_idle", lambda self: False)
    source = make(wait_s=0.2)
    receiving = asyncio.create_task(source.receive())
    await until(lambda: source._left == 0)
    box.put(BOUNCE)
    assert payloads(await receiving) == [BOUNCE]


async def test_a_wait_can_be_given_up_at_any_time(make: Make, box: Box) -> None:
    source = make(wait_s=30)
    receiving = asyncio.create_task(source.receive())
    await until(lambda: getattr(source._connection, "_idling", False))
    receiving.cancel()
    box.put(BOUNCE)
    assert payloads(await source.receive()) == [BOUNCE]


async def test_of_a_long_mail_the_beginning_is_fetched_and_its_length_told(make: Make, box: Box) -> None:
    box.put(BOUNCE.replace(b"The body of our mail.", b"x" * 70 + (b"\n" + b"x" * 70) * 2_000))
    (item,) = await make(max_bytes=8_192).receive()
    assert len(item.payload) == 8_192
    assert dict(item.headers)["truncated"].isdigit() and int(dict(item.headers)["truncated"]) > 140_000
    assert (await receipts_of([item]))[0].suppress


async def test_a_batch_is_bounded_and_the_next_one_follows(make: Make, box: Box) -> None:
    box.put(*(b"Subject: %d\n\n" % number for number in range(5)))
    source = make(batch=2, after="delete")
    seen = []
    while items := await source.receive():
        assert len(items) <= 2
        seen += payloads(items)
        await source.done(items)
    assert seen == [b"Subject: %d\n\n" % number for number in range(5)]
    waiting = await source.waiting()
    assert waiting is not None and waiting.items == 0


async def test_starttls_is_spoken_too(make: Make, box: Box, dovecot: Dovecot) -> None:
    box.put(BOUNCE)
    assert payloads(await make(tls="starttls", port=dovecot.imap_port).receive()) == [BOUNCE]


async def test_a_wrong_password_is_one_clear_sentence_without_it(make: Make, box: Box) -> None:
    with pytest.raises(SourceUnavailable, match=f"{box.user} cannot log in at localhost") as failure:
        await make(password="env:OTHER").receive()
    assert "wrong-word" not in str(failure.value)


async def test_a_certificate_that_nobody_vouches_for_is_not_talked_to(make: Make) -> None:
    with pytest.raises(SourceUnavailable, match="certificate verify failed"):
        await make(ca_file="").receive()


async def test_a_folder_that_is_not_there_is_told(make: Make) -> None:
    with pytest.raises(SourceUnavailable, match=r"(?i)nowhere|exist"):
        await make(folder="Nowhere").receive()


async def test_a_lost_connection_is_an_error_and_the_next_look_makes_a_new_one(make: Make, box: Box) -> None:
    box.put(BOUNCE)
    source = make()
    items = await source.receive()
    assert source._connection is not None
    source._connection._client.shutdown()
    with pytest.raises(SourceUnavailable):
        await source.done(items)
    again = await source.receive()
    assert [item.handle for item in again] == [item.handle for item in items]
    await source.done(again)
    assert await source.receive() == []


async def test_a_connection_that_ends_while_it_waits_is_noticed(make: Make) -> None:
    source = make(wait_s=30)
    receiving = asyncio.create_task(source.receive())
    await until(lambda: getattr(source._connection, "_idling", False))
    connection: Any = source._connection
    connection._client.socket().shutdown(2)
    with pytest.raises(SourceUnavailable):
        await asyncio.wait_for(receiving, 10)


async def test_a_mailbox_that_counts_anew_loses_nothing(make: Make, box: Box, caplog: pytest.LogCaptureFixture) -> None:
    box.client.create_folder("Returns")
    box.put(b"Subject: old\n\n", folder="Returns")
    source = make(folder="Returns", after="delete")
    old = await source.receive()
    await source.aclose()
    box.client.delete_folder("Returns")
    box.client.create_folder("Returns")
    box.put(b"Subject: new\n\n", folder="Returns")
    fresh = make(folder="Returns", after="delete")
    new = await fresh.receive()
    assert new[0].handle.uid == old[0].handle.uid and new[0].handle != old[0].handle
    with caplog.at_level(logging.WARNING):
        await fresh.done(old)
    assert "counts its mails anew" in caplog.text
    assert payloads(await fresh.receive()) == [b"Subject: new\n\n"]


async def test_while_kafka_is_away_every_mail_stays(make: Make, box: Box) -> None:
    box.put(BOUNCE, BOUNCE)
    source, producer = make(after="delete"), FakeProducer(refusals=1_000)
    poller = Poller(source, producer, Metrics(), lambda: NOW_MS, pace=Pace(0.001, 0.002))
    assert not await poller.once()
    assert len(box.flags()) == 2
    producer.refusals = 0
    assert await Poller(source, producer, Metrics(), lambda: NOW_MS).once()
    assert len(box.flags()) == 0
    assert [headers[-1] for *_, headers in producer.stored] == [("verified", b"mailbox")] * 2


async def test_a_bounce_in_the_mailbox_becomes_a_receipt_of_our_message(make: Make, box: Box) -> None:
    box.put(BOUNCE)
    (receipt,) = await receipts_of(await make().receive())
    assert (receipt.kind, receipt.attempt, receipt.suppress) == (ReceiptKind.BOUNCED, 1, True)
    assert receipt.receipt_id.startswith("bounces/")


async def receipts_of(items: Any) -> list[Receipt]:
    """What normalise makes of fetched mails."""
    settings = load_settings(
        None,
        {
            "STREAMS_KAFKA__BOOTSTRAP": "b:1",
            "STREAMS_MAILBOXES__RETURNS__HOST": "localhost",
            "STREAMS_MAILBOXES__RETURNS__USER": "u",
            "STREAMS_MAILBOXES__RETURNS__PASSWORD": "env:P",
            "P": "p",
        },
    )
    engine = FakeEngine()
    config = NormaliseConfig(Topics(), 12, readers_of(settings))
    normalise = Normalise(engine, engine.table("tokens"), FakeUnit, config, lambda: NOW_MS)
    found = []
    for item in items:
        headers = [("provider", b"returns"), ("account", b""), ("received_at", b"%d" % NOW_MS), *item.headers]
        await normalise.handle(FakeBatch("webhooks.bounces", 3, [record(item.payload, item.key, 1, NOW_MS, headers)]))
    found += [unpack(one.value or b"") for one in engine.on("receipts")]
    return [receipt for receipt in found if isinstance(receipt, Receipt)]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)

"""A tenant's password is wrong: tries after 8, 27, 64 and 125 minutes, then none; corrected in time or late, it is sent.

Everything is real but the clock and Kafka under the agents: the configuration, the accounts with their secret in a file,
dispatch with its ledger and timers, SMTP with TLS and AUTH to the look-alike server, track; and the commands, on a
broker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.accounts import Accounts
from streams.adapters import build_adapters
from streams.agents.configuration import tenants
from streams.agents.track import Track, TrackConfig
from streams.configured import dispatch_config
from streams.core.event import DeliveryEvent, EventType, ReasonKind
from streams.core.ids import partition_of
from streams.core.ledger import AttemptRow, LedgerState
from streams.core.message import Message
from streams.core.tenant import Tenant
from streams.kafka import KafkaClient, NewRecord
from streams.sandbox import OutcomeMix, Sandbox, SandboxConfig, SmtpConfig
from streams.serde.configuration import encode_tenant
from streams.serde.events import decode_event
from streams.serde.internal import unpack
from streams.settings import load_settings
from streams.topics import Topics
from tests.agents.dispatch_desk import PARTITIONS, Desk
from tests.agents.fake_engine import FakeBatch, FakeReader, FakeUnit, record
from tests.cli.conftest import Streams, kafka_settings, on_kafka, run_streams

__all__ = ["kafka_settings", "on_kafka", "run_streams"]  # fixtures

pytestmark = pytest.mark.timeout(60)

MINUTES = (8, 27, 64, 125)
CONFIG = """
[kafka]
bootstrap = "localhost:9092"
partitions = {partitions}
[providers.relay]
type = "smtp"
host = "localhost"
port = {port}
tls = "implicit"
ca_file = "{certificate}"
username = "operator"
password = "file:{folder}/operator"
deadline_s = 5
[dispatch]
tenant_secrets = ["file:{folder}/"]
"""


class Office:
    """A tenant with an account of its own at the sandbox, whose password lies in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        server = SmtpConfig(users={"acme": "right"})
        self.sandbox = Sandbox(SandboxConfig(folder / "l.jsonl", smtp=server, mix=OutcomeMix.only_success()))
        self.desk: Desk
        self.track: Track
        self._folded = 0
        (folder / "operator").write_text("not used\n")
        self.write_password("wrong")

    def write_password(self, text: str) -> None:
        """As secrets are mounted: all at once."""
        (self.folder / "new").write_text(f"{text}\n")
        (self.folder / "new").rename(self.folder / "acme")

    async def open(self) -> Office:
        await self.sandbox.start()
        assert self.sandbox.smtp is not None
        path = self.folder / "streams.toml"
        path.write_text(
            CONFIG.format(
                partitions=PARTITIONS,
                port=self.sandbox.smtp.port,
                certificate=self.sandbox.smtp.certificate,
                folder=self.folder,
            )
        )
        settings = load_settings(path, {})
        adapters = build_adapters(settings, {})
        config = dispatch_config(settings, adapters, "w1")
        own = {"relay": {"username": "acme", "password": f"file:{self.folder}/acme"}}
        known = tenants(FakeReader({b"acme": encode_tenant(Tenant("acme", account_settings=own))}))
        self.desk = Desk(
            lanes=dict(config.lanes),
            accounts=Accounts(settings, known, {}),
            policies=config.policies,
            default_policy=config.default_policy,
        )
        assert config.default_policy == "cubed"
        self.desk.providers |= adapters  # type: ignore[arg-type]
        self.desk.dispatch.lanes.active = True
        self.track = Track(
            self.desk.engine,
            self.desk.engine.table("messages"),
            self.desk.engine.table("suppressions"),
            FakeUnit,
            TrackConfig(Topics(), PARTITIONS),
            self.desk.clock,
        )
        await self.desk.open()
        return self

    async def close(self) -> None:
        await self.desk.dispatch.lanes.aclose()
        self.desk.dispatch.tasks.stop()
        await self.sandbox.stop()
        assert not self.desk.crashes

    @property
    def arrived(self) -> int:
        return self.sandbox.ledger.accepted["smtp"]

    async def rested(self, message: Message, attempt: int) -> AttemptRow:
        """The row after that attempt."""
        async with asyncio.timeout(20):
            while (row := self.desk.row(message)) is None or row.attempt < attempt or row.state is LedgerState.SENDING:
                await asyncio.sleep(0.005)
        await self.desk.settled()
        return row

    async def refused(self, message: Message, times: int) -> AttemptRow:
        """Hand it over and let time pass until it has been refused so often, each time when it is due."""
        await self.desk.give(message)
        row = await self.rested(message, 1)
        for attempt in range(2, times + 1):
            assert row.state is LedgerState.PARKED
            self.desk.clock.now_ms = row.due_ms
            await self.desk.wake(0)
            row = await self.rested(message, attempt)
        return row

    async def events(self) -> list[DeliveryEvent]:
        """What track makes of everything that dispatch has told."""
        told = self.desk.engine.on("receipts")
        for number, emitted in enumerate(told[self._folded :], self._folded):
            await self.track.handle(
                FakeBatch("receipts", emitted.partition, [record(emitted.value, emitted.key, number)])
            )
        self._folded = len(told)
        found = [decode_event(emitted.value) for emitted in self.desk.engine.on("delivery-events")]
        assert all(isinstance(event, DeliveryEvent) for event in found)
        return found  # type: ignore[return-value]


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


@pytest.fixture
def office(tmp_path: Path, runner: asyncio.Runner) -> Iterator[Office]:
    folder = tmp_path / "office"
    folder.mkdir()
    opened = runner.run(Office(folder).open())
    yield opened
    runner.run(opened.close())


def test_the_cubed_policy_tries_after_8_27_64_and_125_minutes_and_then_stops_at_5_attempts(
    office: Office, runner: asyncio.Runner
) -> None:
    async def story() -> None:
        desk, message = office.desk, office.desk.message()
        await desk.give(message)
        row = await office.rested(message, 1)
        for attempt, minutes in enumerate(MINUTES, 2):
            assert (row.state, row.tries) == (LedgerState.PARKED, attempt - 1)
            await desk.wake(minutes * 60 - 1)
            assert desk.row(message) == row, "not a second too early"
            await desk.wake(1)
            row = await office.rested(message, attempt)
        assert (row.state, row.attempt, row.tries) == (LedgerState.FAILED, 5, 5)
        assert row.reason is not None and row.reason.kind is ReasonKind.CREDENTIALS
        office.write_password("right")
        await desk.dispatch.lanes.look()
        await desk.wake(20 * 86_400)
        assert desk.row(message) == row, "given up is given up, whatever comes"
        events = await office.events()
        retries = [event for event in events if event.type is EventType.DEFERRED]
        waits = [(event.retry_at_ms - event.occurred_ms) / 60_000 for event in retries]
        assert waits == list(MINUTES)
        assert [event.type for event in events][-1] is EventType.FAILED
        assert office.arrived == 0

    runner.run(story())


@pytest.mark.parametrize("refusals", [1, 2, 3, 4])
@pytest.mark.parametrize("where", ["in the file", "at the provider"])
def test_a_password_corrected_within_that_time_is_delivered(
    office: Office, runner: asyncio.Runner, where: str, refusals: int
) -> None:
    """Corrected in the file it goes at once; where nobody can know of it, with the next try of the policy."""

    async def story() -> None:
        desk, message = office.desk, office.desk.message()
        row = await office.refused(message, refusals)
        assert row.state is LedgerState.PARKED and office.arrived == 0
        if where == "in the file":
            office.write_password("right")
            await desk.dispatch.lanes.look()
            async with asyncio.timeout(10):
                while (found := desk.row(message)) is None or found.attempt == refusals:
                    await desk.dispatch.waker.wake_due()
                    await asyncio.sleep(0.005)
        else:
            assert office.sandbox.smtp is not None
            office.sandbox.smtp.users["acme"] = "wrong"  # now it is the one that we have
            desk.clock.now_ms = row.due_ms
            await desk.wake(0)
        row = await office.rested(message, refusals + 1)
        assert row.state is LedgerState.SENT
        await desk.wake(20 * 86_400)
        assert office.arrived == 1

    runner.run(story())


def test_one_corrected_later_is_listed_with_its_cause_and_one_command_delivers_it_once(
    office: Office, runner: asyncio.Runner, on_kafka: Streams, embedded_kafka: str, topic_prefix: str
) -> None:
    desk, message = office.desk, office.desk.message()
    assert runner.run(office.refused(message, 5)).state is LedgerState.FAILED
    runner.run(office.events())
    with KafkaClient(embedded_kafka) as kafka:
        for emitted in desk.engine.on("delivery-events"):
            key = emitted.key or b""
            place = partition_of(key.decode(), PARTITIONS)
            kafka.send(NewRecord(f"{topic_prefix}delivery-events", key, emitted.value, place, emitted.headers))

    (failure,) = on_kafka("failures", "--tenant", "acme", "--json").json
    assert (failure["message_id"], failure["status"], failure["attempt"]) == (message.message_id, "failed", 5)
    assert failure["reason"]["kind"] == "credentials"
    assert failure["cause"]["happened"] == "the provider refused the account's user name, password or key"
    listed = on_kafka("failures")
    assert "tenant acme: 1 message" in listed.out and "correct the credentials" in listed.out

    office.write_password("right")
    runner.run(desk.dispatch.lanes.look())
    command = ("retry", "--all", "--tenant", "acme", "--reason", "credentials", "--yes")
    assert on_kafka(*command).code == 0
    assert on_kafka(*command).code == 0, "somebody presses it twice"
    with KafkaClient(embedded_kafka) as kafka:
        orders = [unpack(one.value or b"") for one in kafka.read(f"{topic_prefix}outbound")]
    assert len(orders) == 2 and orders[0] == orders[1]

    async def obeyed() -> None:
        for order in (*orders, *orders):  # and Kafka delivers them once more
            await desk.give(order)
            await desk.wake(1)
            assert (await office.rested(message, 6)).state is LedgerState.SENT
        await desk.wake(20 * 86_400)
        row = desk.row(message)
        assert row is not None and (row.state, row.attempt) == (LedgerState.SENT, 6)
        assert office.arrived == 1
        assert [event.type for event in await office.events()][-1] is EventType.SENT

    runner.run(obeyed())

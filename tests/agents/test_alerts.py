"""Alerts on an engine in memory: one mail at once, then digests; none twice and none lost, wherever the worker dies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streams.agents.alerts import Alerts, AlertsConfig
from streams.agents.track import Track, TrackConfig
from streams.core.alerts import ALERTS_TENANT, AlertRow
from streams.core.event import Reason, ReasonKind
from streams.core.ids import message_id, partition_of, partition_of_text, recipient_key
from streams.core.message import Mailbox
from streams.core.receipt import Facts, Receipt, ReceiptKind
from streams.engine.errors import PartitionLost
from streams.serde.internal import pack, unpack, unpacker
from streams.serde.public import decode_request
from streams.topics import Topics
from tests.agents.dispatch_desk import Clock
from tests.agents.fake_engine import FakeBatch, FakeEngine, FakeUnit, record

PARTITIONS = 4
HOME = partition_of_text("acme", PARTITIONS)
PASSWORD = Reason(ReasonKind.CREDENTIALS, "535", "5.7.8", "no")
INTERVAL_S = 600.0
_row = unpacker(AlertRow)


class Desk:
    """Track and alerts over the same engine; receipts go in, requests for mails come out."""

    def __init__(self, *, automatic: bool = True) -> None:
        self.engine = FakeEngine(automatic=automatic)
        self.clock = Clock()
        self.addresses = {"acme": "ops@acme.example", "shop": "ops@shop.example"}
        self.heard: list[tuple[str, int]] = []
        self.alerts = self._alerts()
        self.track = Track(
            self.engine,
            self.engine.table("messages"),
            self.engine.table("suppressions"),
            FakeUnit,
            TrackConfig(Topics(), PARTITIONS, alerts=lambda tenant: bool(self.addresses.get(tenant))),
            self.clock,
        )
        self._offsets = dict.fromkeys(range(PARTITIONS), 0)
        self._handed_on = 0

    def _alerts(self) -> Alerts:
        config = AlertsConfig(
            Topics(), PARTITIONS, Mailbox("mail@example.com"), lambda t: self.addresses.get(t, ""), INTERVAL_S
        )
        return Alerts(self.engine, self.engine.table("alert_digests"), FakeUnit, config, self.clock, self)

    def alert(self, result: str, troubles: int) -> None:
        self.heard.append((result, troubles))

    def restarted(self) -> None:
        """A new process over the same tables."""
        self.alerts = self._alerts()
        for partition in range(PARTITIONS):
            self.alerts.partition_ready(partition)

    async def failed(self, number: int, tenant: str = "acme", **more: Any) -> FakeBatch:
        """A receipt of dispatch reaches track, and what track says the alerts."""
        batch = self.receipt(number, tenant, **more)
        await self.track.handle(batch)
        await self.hand_on()
        return batch

    def receipt(self, number: int, tenant: str = "acme", **more: Any) -> FakeBatch:
        key = recipient_key(tenant, f"u{number}@example.net")
        identity = message_id(tenant, f"k{number}", key)
        fields = {"kind": ReceiptKind.FAILED, "reason": PASSWORD, "attempt": 5, "provider": "relay"} | more
        receipt = Receipt(
            message_id=identity,
            receipt_id=f"{fields['kind']}:{fields['attempt']}",
            occurred_ms=self.clock(),
            facts=Facts(tenant, "transactional", f"k{number}", f"u{number}@example.net", self.clock()),
            **fields,
        )
        partition = partition_of(identity, PARTITIONS)
        offset = self._offsets[partition]
        self._offsets[partition] += 1
        return FakeBatch("receipts", partition, [record(pack(receipt), identity.encode(), offset)])

    async def hand_on(self) -> None:
        """What track has emitted reaches the alerts, a batch for each."""
        told = self.engine.on("alerts")
        for emitted in told[self._handed_on :]:
            await self.alerts.handle(FakeBatch("alerts", emitted.partition, [record(emitted.value, emitted.key)]))
        self._handed_on = len(told)

    async def look(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        await self.alerts.look()

    def mails(self) -> list[dict[str, Any]]:
        found = [decode_request(emitted.value) for emitted in self.engine.on("send-requests")]
        assert all(isinstance(request, dict) for request in found)
        return found  # type: ignore[return-value]

    def sent(self) -> dict[str, dict[str, Any]]:
        """What the pipeline sends of it: each key once, and the same content whenever it is asked for."""
        by_key: dict[str, dict[str, Any]] = {}
        for mail in self.mails():
            assert by_key.setdefault(mail["idempotency_key"], mail) == mail
        return by_key

    def row(self, tenant: str = "acme") -> AlertRow:
        kept = self.engine.table("alert_digests").get(partition_of_text(tenant, PARTITIONS), tenant.encode())
        row = _row(kept or b"")
        assert isinstance(row, AlertRow)
        return row


async def test_the_first_failure_is_told_at_once_and_the_next_ones_in_one_mail() -> None:
    desk = Desk()
    await desk.failed(1)
    await desk.look()
    (mail,) = desk.mails()
    assert mail["recipients"][0]["email"] == "ops@acme.example"
    assert mail["tenant"] == ALERTS_TENANT
    assert mail["subject"] == "acme: 1 message given up"
    for number in range(2, 52):
        await desk.failed(number)
        await desk.look(1)
    assert len(desk.mails()) == 1, "not one mail for each"
    await desk.look(INTERVAL_S)
    (_, digest) = desk.mails()
    assert digest["subject"] == "acme: 50 messages given up"
    await desk.look(10 * INTERVAL_S)
    assert len(desk.mails()) == 2, "nothing new, no mail"
    assert desk.heard == [("asked", 1), ("asked", 50)]


async def test_every_tenant_is_told_of_its_own_and_those_without_an_address_of_nothing() -> None:
    desk = Desk()
    await desk.failed(1)
    await desk.failed(2, "shop")
    await desk.failed(3, "quiet")
    await desk.look()
    assert {mail["recipients"][0]["email"]: mail["subject"] for mail in desk.mails()} == {
        "ops@acme.example": "acme: 1 message given up",
        "ops@shop.example": "shop: 1 message given up",
    }
    assert all(unpack(e.value or b"").tenant != "quiet" for e in desk.engine.on("alerts"))


async def test_an_address_that_was_taken_away_meanwhile_gets_nothing_more() -> None:
    desk = Desk()
    await desk.failed(1)
    del desk.addresses["acme"]
    await desk.look()
    assert desk.mails() == []
    assert desk.heard == [("no_address", 1)]
    await desk.look(INTERVAL_S)
    assert desk.heard == [("no_address", 1)]


async def test_an_alert_that_fails_leads_to_no_other() -> None:
    desk = Desk()
    desk.addresses[ALERTS_TENANT] = "ops@example.com"
    await desk.failed(1, ALERTS_TENANT)
    await desk.look(INTERVAL_S)
    assert desk.engine.on("alerts") == [] and desk.mails() == []


async def test_an_account_that_is_refused_is_told_before_anything_is_given_up() -> None:
    desk = Desk()
    await desk.failed(1, kind=ReceiptKind.RETRY, attempt=1)
    await desk.look()
    (mail,) = desk.mails()
    assert mail["subject"] == "acme: an account is refused"
    assert "correct the credentials" in mail["text"]


async def test_what_went_well_in_the_end_and_what_merely_bounced_is_no_trouble() -> None:
    desk = Desk()
    await desk.failed(1, kind=ReceiptKind.RETRY, reason=Reason(ReasonKind.THROTTLED), attempt=1)
    await desk.failed(2, kind=ReceiptKind.REJECTED, reason=Reason(ReasonKind.BAD_MAILBOX), attempt=1)
    assert desk.engine.on("alerts") == []


async def test_receipts_that_are_folded_again_after_a_crash_count_once() -> None:
    desk = Desk()
    batch = desk.receipt(1)
    await desk.track.handle(batch)
    await desk.hand_on()
    desk.engine.table("messages").rows.clear()  # the state was not logged before the crash, the trouble was
    await desk.track.handle(FakeBatch("receipts", batch.partition, batch.records))
    await desk.hand_on()
    assert len(desk.engine.on("alerts")) == 2
    await desk.look()
    assert [mail["subject"] for mail in desk.mails()] == ["acme: 1 message given up"]


async def test_a_receipt_that_is_told_twice_is_one_trouble() -> None:
    desk = Desk()
    batch = desk.receipt(1)
    await desk.track.handle(batch)
    await desk.track.handle(FakeBatch("receipts", batch.partition, [record(batch.records[0].value, b"", 99)]))
    assert len(desk.engine.on("alerts")) == 1


@pytest.mark.parametrize("acknowledged", range(4))
async def test_wherever_the_worker_dies_the_alert_is_sent_once(acknowledged: int) -> None:
    """Killed after that many acknowledgements: of the frozen row, the request, the row without it."""
    desk = Desk()
    await desk.failed(1)
    desk.engine.automatic = False
    telling = asyncio.create_task(desk.alerts.look())
    durable = dict(desk.engine.table("alert_digests").rows[HOME])
    for _ in range(acknowledged):
        await asyncio.sleep(0)
        desk.engine.acknowledge()
        durable = dict(desk.engine.table("alert_digests").rows[HOME])
        await asyncio.sleep(0)
    telling.cancel()
    await asyncio.sleep(0)
    desk.engine.acknowledge()
    desk.engine.automatic = True
    desk.engine.table("alert_digests").rows[HOME] = durable  # what Kafka had
    desk.restarted()
    desk.clock.advance(1)
    await desk.failed(2)
    await desk.look()
    await desk.look(INTERVAL_S)
    await desk.look(INTERVAL_S)
    subjects = [mail["subject"] for mail in desk.sent().values()]
    assert sum(int(subject.split()[1]) for subject in subjects) == 2, subjects
    assert desk.row().frozen is None


async def test_troubles_that_come_while_an_alert_is_under_way_are_told_by_the_next() -> None:
    desk = Desk()
    await desk.failed(1)
    desk.engine.automatic = False
    telling = asyncio.create_task(desk.alerts.look())
    await asyncio.sleep(0)
    await desk.failed(2)
    while not telling.done():
        desk.engine.acknowledge()
        await asyncio.sleep(0)
    desk.engine.automatic = True
    desk.engine.acknowledge()
    assert desk.row().open.groups[0].count == 1
    await desk.look(INTERVAL_S)
    assert [mail["subject"] for mail in desk.mails()] == ["acme: 1 message given up"] * 2
    assert len(desk.sent()) == 2


async def test_the_next_owner_goes_on_and_the_last_one_stops() -> None:
    desk = Desk()
    await desk.failed(1)
    old = desk.alerts
    desk.restarted()
    old.lost(HOME)
    await old.look()
    assert desk.mails() == []
    await desk.look()
    assert len(desk.mails()) == 1


async def test_a_partition_that_leaves_in_the_middle_is_left_to_its_next_owner() -> None:
    desk = Desk()
    await desk.failed(1)
    desk.engine.automatic = False
    telling = asyncio.create_task(desk.alerts.look())
    await asyncio.sleep(0)
    desk.engine.acknowledge(error=PartitionLost("alert_digests", HOME))
    await telling
    assert desk.mails() == []


async def test_a_worker_without_the_partition_tells_nobody() -> None:
    desk = Desk()
    await desk.failed(1)
    desk.engine.owned = set()
    await desk.look()
    assert desk.mails() == []


async def test_an_address_that_no_mail_can_have_is_told_to_the_log_and_stops_nothing() -> None:
    desk = Desk()
    desk.addresses["acme"] = 7  # type: ignore[assignment]
    await desk.failed(1)
    await desk.look()
    assert desk.heard == [("unsendable", 1)]
    assert desk.row().frozen is None


async def test_bytes_that_are_no_trouble_become_a_dead_letter() -> None:
    desk = Desk()
    batch = FakeBatch("alerts", 0, [record(b"\xff"), record(None)])
    await desk.alerts.handle(batch)
    assert len(desk.engine.on("dead-letters")) == 2
    assert batch.done


async def test_a_tenant_of_which_nothing_was_heard_for_long_is_forgotten_unless_something_is_left_to_tell() -> None:
    desk = Desk()
    await desk.failed(1)
    month_ms = 32 * 86_400_000
    await desk.alerts.sweep(HOME, desk.clock() + month_ms)
    assert desk.row().open.groups
    await desk.look()
    await desk.alerts.sweep(HOME, desk.clock())
    assert desk.row().number == 1
    await desk.alerts.sweep(HOME, desk.clock() + month_ms)
    assert desk.engine.table("alert_digests").rows[HOME] == {}


async def test_where_nobody_is_told_track_looks_at_nothing() -> None:
    desk = Desk()
    desk.track.config = TrackConfig(Topics(), PARTITIONS)
    await desk.failed(1)
    assert desk.engine.on("alerts") == []

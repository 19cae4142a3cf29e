from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from streams.agents.bindings import Bind
from streams.agents.track import Track, TrackConfig
from streams.agents.track_counts import TrackCounts
from streams.core.audit import AuditRecord
from streams.core.command import NoProof, Retry, Settle
from streams.core.event import BounceType, EventType, Status
from streams.core.ids import message_id, partition_of_text, recipient_key, recipient_key_of
from streams.core.message_state import MessageState
from streams.core.receipt import Receipt, ReceiptKind
from streams.core.suppression import Hold, Suppression, SuppressionChange, SuppressionKind
from streams.serde.configuration import decode_audit
from streams.serde.events import decode_event
from streams.serde.internal import pack, packer, unpack, unpacker
from streams.topics import Topics
from tests.agents.fake_engine import FakeBatch, FakeEngine, FakeUnit, record
from tests.core.receipts import MESSAGE_ID, NOW_MS, facts, receipt

K = ReceiptKind
PARTITION = 3
KEY = MESSAGE_ID.encode()
read_state, read_suppression = unpacker(MessageState), unpacker(Suppression)


class Listener:
    def __init__(self) -> None:
        self.heard: list[TrackCounts] = []
        self.in_force: dict[str, int] = {}

    def batch(self, counts: TrackCounts) -> None:
        self.heard.append(counts)

    def suppressions(self, in_force: Mapping[str, int]) -> None:
        self.in_force = {kind: count for kind, count in in_force.items() if count}


class Desk:
    """Track on an engine in memory."""

    def __init__(
        self,
        *,
        automatic: bool = True,
        bind: frozenset[str] = frozenset(),
        tenant_topics: Mapping[str, str] | None = None,
    ) -> None:
        self.engine = FakeEngine(automatic=automatic)
        self.listener = Listener()
        self.messages = self.engine.table("messages")
        self.suppressions = self.engine.table("suppressions")
        self.track = Track(
            self.engine,
            self.messages,
            self.suppressions,
            FakeUnit,
            TrackConfig(
                Topics("t."),
                partitions=12,
                bind_provider_ids=bind,
                retention_ms=1_000,
                tenant_topics=tenant_topics or {},
            ),
            lambda: NOW_MS,
            self.listener,
        )

    async def take(self, *receipts: Receipt | bytes) -> FakeBatch:
        records = [record(r if isinstance(r, bytes) else pack(r), b"key", n) for n, r in enumerate(receipts)]
        batch = FakeBatch("t.receipts", PARTITION, records)
        await self.track.handle(batch)
        return batch

    @property
    def counts(self) -> TrackCounts:
        return self.listener.heard[-1]

    def events(self) -> list[str]:
        out = []
        for emitted in self.engine.on("t.delivery-events"):
            event = decode_event(emitted.value, emitted.headers)
            out.append(event.type.value.removeprefix("message."))  # type: ignore[union-attr]
        return out

    def state(self) -> MessageState:
        row = self.messages.get(PARTITION, KEY)
        assert row is not None
        state = read_state(row)
        assert isinstance(state, MessageState)
        return state

    def suppression(self) -> Suppression:
        row = self.suppressions.get(PARTITION, recipient_key_of(MESSAGE_ID).encode())
        assert row is not None
        found = read_suppression(row)
        assert isinstance(found, Suppression)
        return found

    def audits(self) -> list[AuditRecord]:
        found = [decode_audit(e.value) for e in self.engine.on("t.audit-log")]
        assert all(isinstance(a, AuditRecord) for a in found)
        return found  # type: ignore[return-value]

    def commands(self, topic: str = "t.outbound") -> list[object]:
        return [unpack(e.value or b"") for e in self.engine.on(topic)]


async def test_a_send_result_becomes_two_events_in_the_same_partition_with_cloud_events_headers() -> None:
    desk = Desk()
    batch = await desk.take(receipt(K.SENT, 1))
    assert desk.events() == ["accepted", "sent"]
    sent = desk.engine.on("t.delivery-events")[1]
    assert (sent.partition, sent.key) == (PARTITION, KEY)
    event = decode_event(sent.value)
    headers = dict(sent.headers)
    assert headers["ce_id"] == event.event_id.encode()  # type: ignore[union-attr]
    assert (headers["ce_type"], headers["ce_subject"]) == (b"message.sent", KEY)
    assert desk.state().status is Status.SENT
    assert batch.done


async def test_a_tenants_own_topic_gets_the_same_events_before_any_state_is_kept() -> None:
    topics = {"acme": "t.events.acme", "other": "t.events.other"}
    desk = Desk(automatic=False, tenant_topics=topics)
    batch = await desk.take(receipt(K.SENT, 1))
    copies, events = desk.engine.on("t.events.acme"), desk.engine.on("t.delivery-events")
    assert [(e.partition, e.key, e.value, e.headers) for e in copies] == [
        (e.partition, e.key, e.value, e.headers) for e in events
    ]
    assert len(copies) == 2
    assert desk.engine.on("t.events.other") == []
    desk.engine.acknowledge("t.delivery-events")
    assert (desk.engine.writes, batch.done) == ([], False)  # rows wait until the copies are acknowledged, too
    desk.engine.acknowledge("t.events.acme")
    assert [write.topic for write in desk.engine.writes] == ["messages"]
    del topics["acme"]
    desk = Desk(tenant_topics=topics)
    await desk.take(receipt(K.SENT, 1))
    assert desk.engine.on("t.events.acme") == []


async def test_receipts_of_one_message_in_one_batch_fold_on_each_other_and_write_one_row() -> None:
    desk = Desk()
    await desk.take(receipt(K.SENT, 1), receipt(K.DELIVERED, 1, at_s=3), receipt(K.DELIVERED, 1, at_s=3))
    assert desk.events() == ["accepted", "sent", "delivered"]
    assert len(desk.engine.writes) == 1
    assert desk.state().status is Status.DELIVERED
    assert (desk.counts.receipts, desk.counts.duplicates) == (3, 1)


async def test_a_state_survives_from_batch_to_batch() -> None:
    desk = Desk()
    await desk.take(receipt(K.DELIVERED, 1, at_s=3))
    assert desk.events() == []
    assert desk.counts.early == 1
    assert desk.counts.out_of_order == {"mailgun-eu": 1}
    await desk.take(receipt(K.SENT, 1))
    assert desk.events() == ["accepted", "sent", "delivered"]


async def test_rule_22_no_row_is_logged_and_no_offset_let_go_before_the_events_are_acknowledged() -> None:
    desk = Desk(automatic=False)
    batch = await desk.take(receipt(K.SENT, 1, suppress=True))
    assert desk.engine.writes == []
    desk.engine.acknowledge("t.audit-log")
    assert desk.engine.writes == []
    desk.engine.acknowledge("t.delivery-events")
    assert {w.topic for w in desk.engine.writes} == {"messages", "suppressions"}
    assert not batch.done
    desk.engine.acknowledge()
    assert batch.done


async def test_rule_22_a_crash_after_the_events_repeats_them_under_the_same_ids() -> None:
    first, second = Desk(automatic=False), Desk()
    receipts = [receipt(K.SENT, 1), receipt(K.DELIVERED, 1), receipt(K.OPENED, 1)]
    await first.take(*receipts)
    await second.take(*receipts)
    assert first.engine.writes == []
    ids = [[dict(e.headers)["ce_id"] for e in d.engine.on("t.delivery-events")] for d in (first, second)]
    assert ids[0] == ids[1]


async def test_rule_22_a_suppression_that_a_crash_lost_comes_back_with_the_repeated_receipt() -> None:
    desk = Desk()
    bounce = receipt(K.BOUNCED, 1, suppress=True, bounce_type=BounceType.HARD)
    await desk.take(receipt(K.SENT, 1), bounce)
    desk.suppressions.rows.clear()  # the row of the message was logged, this one was not
    await desk.take(bounce)
    assert desk.suppression().active(NOW_MS) == (SuppressionKind.BOUNCE,)


async def test_commands_go_to_the_outbound_topic_of_the_messages_stream() -> None:
    desk = Desk()
    await desk.take(receipt(K.PROBE, 1), receipt(K.PROVIDER_SENT, 1, at_s=2))
    assert desk.commands() == [NoProof(MESSAGE_ID, 1), Settle(MESSAGE_ID, 1, "theirs-1", NOW_MS + 2000)]
    assert {(e.partition, e.key) for e in desk.engine.on("t.outbound")} == {(PARTITION, KEY)}


async def test_a_final_soft_failure_asks_dispatch_for_a_retry() -> None:
    desk = Desk()
    willing = facts(retry_final=True)
    await desk.take(receipt(K.SENT, 1, facts=willing), receipt(K.BOUNCED, 1, bounce_type=BounceType.SOFT))
    assert desk.commands() == [Retry(MESSAGE_ID, 1, final_soft=True)]


async def test_a_suppression_and_its_lifting_are_kept_and_noted() -> None:
    desk = Desk()
    key = recipient_key_of(MESSAGE_ID)
    await desk.take(receipt(K.SENT, 1), receipt(K.COMPLAINED, 1, at_s=5, suppress=True))
    assert desk.suppression().active(NOW_MS) == (SuppressionKind.COMPLAINT,)
    assert desk.suppression().recipient == "ann@example.com"
    await desk.take(receipt(K.UNSUPPRESS, at_s=9, message_id=key, receipt_id="lift", actor="bob"))
    assert desk.suppression().active(NOW_MS) == ()
    audits = desk.audits()
    assert [(a.action, a.actor, a.target, a.tenant) for a in audits] == [
        ("suppression.add", "mailgun-eu", key, "acme"),
        ("suppression.remove", "bob", key, ""),
    ]
    assert audits[0].attributes == {"kind": "complaint", "message_id": MESSAGE_ID}
    assert key.encode() not in desk.messages.rows.get(PARTITION, {})


async def test_rule_13_a_conflict_is_an_event_and_an_audit_record() -> None:
    desk = Desk()
    conflict = receipt(K.CONFLICT, receipt_id="conflict:x")
    await desk.take(receipt(K.SENT, 1), conflict, conflict)
    assert desk.events() == ["accepted", "sent", "rejected"]
    assert [(a.action, a.target, a.result.value) for a in desk.audits()] == [
        ("message.conflict", MESSAGE_ID, "refused")
    ]
    assert desk.state().status is Status.SENT


async def test_a_binding_is_written_only_for_providers_that_need_it() -> None:
    for bind, count in ((frozenset({"mailgun-eu"}), 1), (frozenset({"ses"}), 0)):
        desk = Desk(bind=bind)
        await desk.take(receipt(K.SENT, 1), receipt(K.SENT, 1))
        emitted = desk.engine.on("t.lookups")
        assert len(emitted) == count
        if count:
            assert emitted[0].partition == partition_of_text("theirs-1", 12)
            assert unpack(emitted[0].value or b"") == Bind(
                "mailgun-eu", "theirs-1", MESSAGE_ID, 1, "ann@example.com", NOW_MS
            )


@pytest.mark.parametrize("value", [b"", b"\x03", b"garbage", b"\x04\x80", pack(Retry(MESSAGE_ID, 1))])
async def test_what_is_no_receipt_is_a_dead_letter_and_the_batch_goes_on(value: bytes) -> None:
    desk = Desk()
    batch = await desk.take(value, receipt(K.SENT, 1))
    (letter,) = desk.engine.on("t.dead-letters")
    headers = dict(letter.headers)
    assert letter.value == value
    assert (headers["dlq.topic"], headers["dlq.partition"], headers["dlq.offset"]) == (b"t.receipts", b"3", b"0")
    assert headers["dlq.reason"] == b"malformed"
    assert desk.events() == ["accepted", "sent"]
    assert batch.done


async def test_an_event_too_large_for_a_record_is_a_dead_letter_and_the_state_goes_on() -> None:
    desk = Desk()
    desk.engine.max_record_bytes = 8_000
    await desk.take(receipt(K.SENT, 1))
    await desk.take(receipt(K.CLICKED, 1, url="https://example.com/" + "x" * 7_480))
    assert [dict(e.headers)["dlq.reason"] for e in desk.engine.on("t.dead-letters")] == [b"too_large"]
    assert desk.state().clicks == 1


async def test_counts_name_providers_tenants_ends_latencies_and_double_sends() -> None:
    desk = Desk()
    await desk.take(
        receipt(K.SENT, 1, at_s=1),
        receipt(K.DELIVERED, 1, at_s=4),
        receipt(K.PROVIDER_SENT, 2, at_s=2),
        receipt(K.SENT, 2),
    )
    counts = desk.counts
    assert counts.events["mailgun-eu", EventType.DELIVERED] == 1
    assert counts.tenant_events == {("acme", "sent"): 2, ("acme", "delivered"): 1}
    assert counts.ended == {("transactional", Status.DELIVERED): 1}
    assert counts.delivery_s == [("mailgun-eu", 3.0)]
    assert counts.double_sends == {"mailgun-eu": 1}


async def test_the_sweep_forgets_old_ended_messages_and_unclaimed_reports_and_nothing_else() -> None:
    desk = Desk()
    names = {"ended": [K.SENT, K.DELIVERED], "open": [K.SCHEDULED], "unclaimed": [K.OPENED]}
    ids = {n: message_id("acme", n, recipient_key("acme", n)) for n in names}
    await desk.take(*(receipt(k, 1, message_id=ids[n]) for n, kinds in names.items() for k in kinds))
    await desk.track.sweep(PARTITION, NOW_MS + 2_000)
    assert len(desk.messages.rows[PARTITION]) == 3
    await desk.track.sweep(PARTITION, NOW_MS + 2_001)
    assert set(desk.messages.rows[PARTITION]) == {ids["open"].encode()}
    assert desk.counts.orphans == {"mailgun-eu": 1}
    await desk.track.sweep(PARTITION, NOW_MS + 2_001)


async def test_the_sweep_keeps_suppressions_in_force_and_forgets_lifted_ones() -> None:
    desk = Desk()
    one, two = (recipient_key("acme", name) for name in ("one", "two"))
    await desk.take(
        receipt(K.SUPPRESS, message_id=one, receipt_id="a"),
        receipt(K.SUPPRESS, message_id=two, receipt_id="b"),
        receipt(K.UNSUPPRESS, at_s=2, message_id=two, receipt_id="c"),
    )
    await desk.track.sweep(PARTITION, NOW_MS + 10_000)
    assert set(desk.suppressions.rows[PARTITION]) == {one.encode()}
    assert desk.listener.in_force == {"manual": 1}


async def test_suppressions_of_all_partitions_are_counted_until_a_partition_leaves() -> None:
    desk = Desk()
    row = packer(Suppression)(Suppression((Hold(SuppressionKind.BOUNCE, 1), Hold(SuppressionKind.COMPLAINT, 2))))
    for partition in (1, 2):
        for n in range(3_000):
            desk.suppressions.put(partition, b"%d" % n, row)
        await desk.track.sweep(partition, NOW_MS)
    assert desk.listener.in_force == {}, "no walk has come to its end"
    for partition in (1, 2):
        await desk.track.sweep(partition, NOW_MS)
    assert sum(desk.listener.in_force.values()) == 6_000
    desk.track.lost(2)
    assert sum(desk.listener.in_force.values()) == 3_000


async def test_a_sweep_does_a_bounded_amount_of_work_per_call() -> None:
    desk = Desk()
    row = packer(MessageState)(MessageState(None, Status.SENT))
    for n in range(5_000):
        desk.messages.put(PARTITION, b"%d" % n, row)
    left = []
    for _ in range(3):
        await desk.track.sweep(PARTITION, NOW_MS)
        left.append(len(desk.messages.rows[PARTITION]))
    assert left == [3_000, 1_000, 0]


async def test_an_unreadable_row_is_counted_and_begins_again() -> None:
    desk = Desk()
    desk.messages.put(PARTITION, KEY, b"\xc1")
    await desk.take(receipt(K.SENT, 1))
    assert desk.counts.unreadable_rows == 1
    assert desk.state().status is Status.SENT


def test_rule_13_only_track_writes_delivery_events() -> None:
    agents = Path(__file__).parents[2] / "streams"
    users = set()
    for path in agents.rglob("*.py"):
        if path.relative_to(agents).parts[0] in ("cli", "demo", "bench"):
            continue  # they read, or measure
        names = {n.id for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Name)}
        if "encode_event" in names:
            users.add(path.relative_to(agents).as_posix())
    assert users <= {"agents/track.py", "serde/events.py", "serde/public.py"}


async def test_a_complaint_about_a_message_that_nobody_remembers_is_heard_after_some_hours_and_once() -> None:
    desk = Desk()
    desk.track.config = replace(desk.track.config, retention_ms=30 * 86_400_000)
    complaint = receipt(K.COMPLAINED, 1, at_s=0, suppress=True)
    await desk.take(complaint, receipt(K.DELIVERED, 1, at_s=0))
    assert not desk.engine.on("t.receipts")
    await desk.track.sweep(PARTITION, NOW_MS + 6 * 3_600_000)
    assert not desk.engine.on("t.receipts"), "dispatch may still claim it"
    for _ in range(2):
        await desk.track.sweep(PARTITION, NOW_MS + 6 * 3_600_000 + 1)
    (emitted,) = desk.engine.on("t.receipts")
    change = unpack(emitted.value or b"")
    assert isinstance(change, SuppressionChange)
    assert (change.kind, change.changed_ms, emitted.partition) == (SuppressionKind.COMPLAINT, NOW_MS, PARTITION)


async def test_what_a_tenants_own_keys_say_of_a_message_that_nobody_remembers_is_not_heard() -> None:
    """Whose message it was cannot be told any more: they could suppress every address of every tenant."""
    desk = Desk()
    await desk.take(receipt(K.COMPLAINED, 1, at_s=0, suppress=True, vouches=("mailgun-eu/@acme",)))
    await desk.track.sweep(PARTITION, NOW_MS + 6 * 3_600_000 + 1)
    assert not desk.engine.on("t.receipts")


async def test_what_a_foreign_provider_says_is_counted_and_never_heard() -> None:
    desk = Desk()
    forged = receipt(K.COMPLAINED, 1, at_s=0, provider="other", suppress=True)
    await desk.take(receipt(K.SENT, 1), forged)
    assert desk.counts.foreign == {"other": 1}
    await desk.track.sweep(PARTITION, NOW_MS + 24 * 3_600_000)
    assert not desk.engine.on("t.receipts")
    assert not list(desk.suppressions.items(PARTITION))


async def test_what_was_fetched_counts_as_filled_only_if_its_webhook_had_not_come() -> None:
    desk = Desk()
    await desk.take(receipt(K.SENT, 1), receipt(K.DELIVERED, 1), receipt(K.DELIVERED, 1, filled=True))
    assert not desk.counts.filled
    await desk.take(receipt(K.OPENED, 1, filled=True))
    assert desk.counts.filled == {"mailgun-eu": 1}


async def test_a_doubtful_bounce_is_remembered_and_a_second_one_suppresses_and_is_audited() -> None:
    desk = Desk()
    other = f"{MESSAGE_ID[:21]}{'b' * 20}"
    for message_id_, expected in ((MESSAGE_ID, {}), (other, {"bounce": 1})):
        first = replace(receipt(K.SENT, 1), message_id=message_id_)
        bounced = replace(receipt(K.BOUNCED, 1, bounce_type=BounceType.HARD), message_id=message_id_)
        await desk.take(first, bounced)
        assert dict(desk.listener.heard[-1].suppressed) == expected
    assert desk.suppression().active(NOW_MS) == (SuppressionKind.BOUNCE,)

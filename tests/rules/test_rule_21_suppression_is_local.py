"""Rule 21: whether an address may be written to is read where its messages are, per tenant; what holds for everybody,
and domains, are a compacted topic that every process has read before its first send.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.agents.suppression_orders import order_of
from streams.agents.track import Track, TrackConfig
from streams.app import StreamsApp
from streams.configured import topic_specs
from streams.core import ids
from streams.core.receipt import Receipt, ReceiptKind
from streams.core.suppression import SuppressionKind
from streams.core.suppression_rules import SuppressionRule
from streams.engine import ensure_topics
from streams.kafka import KafkaClient, NewRecord
from streams.serde.internal import pack
from streams.settings import load_settings
from streams.tables import SUPPRESSIONS
from streams.topics import Topics
from tests.agents.dispatch_desk import NOW, PARTITIONS, Desk
from tests.agents.fake_engine import FakeBatch, FakeUnit, record


@given(st.text(), st.text(), st.emails(), st.integers(1, 64))
def test_rule_21_every_message_lies_in_the_partition_of_its_address(
    tenant: str, key: str, address: str, partitions: int
) -> None:
    home = ids.recipient_key(tenant, address)
    message_id = ids.message_id(tenant, key, home)
    assert ids.partition_of(message_id, partitions) == ids.partition_of(home, partitions)
    assert ids.recipient_key_of(message_id) == home == ids.recipient_key(tenant, address.upper())


async def test_rule_21_a_complaint_stops_the_next_message_of_that_tenant_and_of_no_other() -> None:
    """Track writes the row, dispatch reads it in the same partition of the same table."""
    desk = await Desk().open()
    complained = desk.message()
    home = desk.dispatch.partition_of(complained.message_id)
    await desk.give(complained)
    (sent,) = desk.receipts()
    complaint = Receipt(complained.message_id, ReceiptKind.COMPLAINED, "c", NOW + 1, 1, "mailgun", suppress=True)
    track = Track(
        desk.engine,
        desk.engine.table("messages"),
        desk.engine.table(SUPPRESSIONS),
        FakeUnit,
        TrackConfig(Topics(), PARTITIONS),
        desk.clock,
    )
    records = [record(pack(one), b"k", n) for n, one in enumerate((sent, complaint))]
    await track.handle(FakeBatch("receipts", home, records))
    assert set(desk.engine.table(SUPPRESSIONS).rows) == {home}
    next_one = desk.message(key="k2")
    theirs = ids.message_id("globex", "k1", ids.recipient_key("globex", "u@example.net"))
    await desk.give(next_one, desk.message(tenant="globex", message_id=theirs))
    assert [r.message_id for r in desk.receipts(ReceiptKind.SUPPRESSED)] == [next_one.message_id]
    assert [b.entries[0].message_id for b in desk.providers["mailgun"].batches] == [complained.message_id, theirs]


async def test_rule_21_what_holds_for_everybody_is_read_to_its_end_before_a_worker_may_send(
    embedded_kafka: str, topic_prefix: str
) -> None:
    """A worker that begins knows the rules; none of its own rows is needed for them."""
    settings = load_settings(
        None,
        {
            "STREAMS_KAFKA_BOOTSTRAP": embedded_kafka,
            "STREAMS_KAFKA_PROFILE": "embedded",
            "STREAMS_KAFKA_PREFIX": topic_prefix,
            "STREAMS_WORKER_PORT": "0",
        },
    )
    assert await ensure_topics(embedded_kafka, topic_specs(settings)) == []
    rules = [
        SuppressionRule(SuppressionKind.MANUAL, 1, address="ann@example.net"),
        SuppressionRule(SuppressionKind.MANUAL, 1, pattern="*.gone.example"),
    ]
    with KafkaClient(embedded_kafka) as kafka:
        for rule in rules:
            order = order_of(rule, Topics(topic_prefix), PARTITIONS)
            kafka.send(NewRecord(order.topic, order.key, order.value, order.partition))
    parts = StreamsApp(settings, {}).parts
    await parts.start()
    try:
        for address, stopped in (("ANN@example.net", True), ("b@x.gone.example", True), ("b@example.net", False)):
            message = Desk().message(address)
            assert (parts.everywhere.blocked(message, NOW) is not None) is stopped
    finally:
        await parts.stop()

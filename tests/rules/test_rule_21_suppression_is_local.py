"""Rule 21: whether an address may be written to is read where its messages are, per tenant.

The scope `everywhere` and patterns of domains are not there yet.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.agents.track import Track, TrackConfig
from streams.core import ids
from streams.core.receipt import Receipt, ReceiptKind
from streams.serde.internal import pack
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

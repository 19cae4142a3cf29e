from __future__ import annotations

from itertools import permutations

import pytest

from streams.agents.bindings import Bind, Find
from streams.agents.lookups import MAX_WAITING, Lookups, LookupsConfig, LookupsCounts
from streams.core.ids import message_id, partition_of, recipient_key
from streams.core.receipt import Receipt, ReceiptKind
from streams.serde.internal import pack, unpack
from streams.topics import Topics
from tests.agents.fake_engine import FakeBatch, FakeEngine, FakeUnit, record
from tests.core.receipts import NOW_MS

PARTITION = 2
ANN, BOB = "ann@example.com", "bob@example.com"
IDS = {who: message_id("acme", "order-1", recipient_key("acme", who)) for who in (ANN, BOB)}


def bind(who: str = ANN, *, attempt: int = 1, recipient: str | None = None, provider: str = "ses") -> Bind:
    return Bind(provider, "theirs", IDS[who], attempt, who if recipient is None else recipient, NOW_MS)


def find(recipient: str = ANN, *, name: str = "a", provider: str = "ses", attempt: int = 0) -> Find:
    receipt = Receipt("", ReceiptKind.BOUNCED, f"ses/{name}", NOW_MS, attempt, provider, "theirs")
    return Find(receipt, recipient, NOW_MS)


class Desk:
    def __init__(self, *, automatic: bool = True) -> None:
        self.engine = FakeEngine(automatic=automatic)
        self.table = self.engine.table("provider_ids")
        self.heard: list[LookupsCounts] = []
        config = LookupsConfig(Topics("t."), 12, binding_ms=10_000, orphan_ms=1_000)
        self.lookups = Lookups(self.engine, self.table, FakeUnit, config, lambda: NOW_MS, self)

    def batch(self, counts: LookupsCounts) -> None:
        self.heard.append(counts)

    async def take(self, *asked: Bind | Find | bytes) -> FakeBatch:
        values = [one if isinstance(one, bytes) else pack(one) for one in asked]
        batch = FakeBatch("t.lookups", PARTITION, [record(v, b"theirs", n) for n, v in enumerate(values)])
        await self.lookups.handle(batch)
        return batch

    def home(self) -> list[Receipt]:
        emitted = self.engine.on("t.receipts")
        found: list[Receipt] = [unpack(e.value or b"") for e in emitted]  # type: ignore[misc]
        for e, receipt in zip(emitted, found, strict=True):
            assert (e.partition, e.key) == (partition_of(receipt.message_id, 12), receipt.message_id.encode())
        return found


async def test_a_question_is_answered_with_the_message_and_the_attempt() -> None:
    desk = Desk()
    await desk.take(bind(attempt=2), find())
    (receipt,) = desk.home()
    assert (receipt.message_id, receipt.attempt, receipt.receipt_id) == (IDS[ANN], 2, "ses/a")
    assert desk.heard[-1].found == {"ses": 1}


async def test_an_attempt_that_was_echoed_is_kept() -> None:
    desk = Desk()
    await desk.take(bind(attempt=2), find(attempt=1))
    assert [r.attempt for r in desk.home()] == [1]


async def test_a_question_before_its_binding_waits_and_is_released_by_it() -> None:
    desk = Desk()
    await desk.take(find(name="a"), find(name="a"), find(name="b"))
    assert desk.home() == []
    assert desk.heard[-1].waiting == {"ses": 2}
    await desk.take(bind())
    assert [r.receipt_id for r in desk.home()] == ["ses/a", "ses/b"]
    assert len(desk.table.rows[PARTITION]) == 1


async def test_bindings_and_questions_in_any_order_find_the_same_messages() -> None:
    answers = set()
    for order in permutations([bind(ANN), bind(BOB), find(ANN, name="a"), find(BOB, name="b")]):
        desk = Desk()
        for one in order:
            await desk.take(one)
        answers.add(frozenset((r.receipt_id, r.message_id) for r in desk.home()))
    assert answers == {frozenset({("ses/a", IDS[ANN]), ("ses/b", IDS[BOB])})}


async def test_recipients_are_told_apart_without_regard_to_case() -> None:
    desk = Desk()
    await desk.take(bind(ANN), bind(BOB), find("Bob@Example.COM"))
    assert [r.message_id for r in desk.home()] == [IDS[BOB]]


async def test_a_shared_id_without_a_recipient_is_never_guessed() -> None:
    desk = Desk()
    await desk.take(bind(ANN), bind(BOB), find(""))
    assert desk.home() == []


async def test_an_unshared_id_needs_no_recipient() -> None:
    desk = Desk()
    await desk.take(bind(ANN), bind(ANN), find(""))
    assert [r.message_id for r in desk.home()] == [IDS[ANN]]


async def test_equal_ids_of_two_providers_do_not_meet() -> None:
    desk = Desk()
    await desk.take(bind(provider="ses"), find(provider="mg"))
    assert desk.home() == []


async def test_addresses_do_not_stand_in_keys_or_bindings() -> None:
    desk = Desk()
    await desk.take(bind(ANN), bind(BOB))
    for key, value in desk.table.rows[PARTITION].items():
        assert b"example.com" not in key + value


async def test_waiting_questions_are_bounded_and_the_oldest_becomes_an_orphan() -> None:
    desk = Desk()
    await desk.take(*(find(name=str(n)) for n in range(MAX_WAITING + 3)))
    assert desk.heard[-1].orphans == {"ses": 3}
    await desk.take(bind())
    assert len(desk.home()) == MAX_WAITING


async def test_an_orphan_is_given_up_and_counted_after_its_time() -> None:
    desk = Desk()
    await desk.take(find(name="a"), find(name="b"))
    await desk.lookups.sweep(PARTITION, NOW_MS + 1_000)
    assert len(desk.table.rows[PARTITION]) == 1
    await desk.lookups.sweep(PARTITION, NOW_MS + 1_001)
    assert not desk.table.rows[PARTITION]
    assert desk.heard[-1].orphans == {"ses": 2}


async def test_a_binding_outlives_orphans_and_is_forgotten_after_its_time() -> None:
    desk = Desk()
    await desk.take(bind())
    await desk.lookups.sweep(PARTITION, NOW_MS + 10_000)
    assert len(desk.table.rows[PARTITION]) == 1
    await desk.lookups.sweep(PARTITION, NOW_MS + 10_001)
    assert not desk.table.rows[PARTITION]
    assert not desk.heard[-1].orphans


async def test_answers_are_acknowledged_before_the_rows_are_logged() -> None:
    desk = Desk(automatic=False)
    batch = await desk.take(bind(), find())
    assert desk.engine.writes == []
    desk.engine.acknowledge("t.receipts")
    assert len(desk.engine.writes) == 1
    desk.engine.acknowledge()
    assert batch.done


@pytest.mark.parametrize("value", [b"", b"\x20\xff", pack(find().receipt)])
async def test_what_cannot_be_read_is_a_dead_letter(value: bytes) -> None:
    desk = Desk()
    batch = await desk.take(value, bind(), find())
    assert len(desk.engine.on("t.dead-letters")) == 1
    assert len(desk.home()) == 1
    assert batch.done

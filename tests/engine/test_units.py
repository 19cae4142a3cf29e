"""Units: events first, then state, then offset."""

from __future__ import annotations

import asyncio

import pytest

from streams.engine import RecordTooLarge, Unit
from tests.engine.fakes import FakeApp, batch_of

CHANGELOG = "fake-rows-changelog"


async def test_state_is_held_back_until_the_events_are_acknowledged_and_the_offset_until_the_state_is() -> None:
    app = FakeApp()
    table = app.table()
    batch = batch_of(app.assignment(), 0)
    unit = Unit(app, batch)
    unit.emit("out", 0, b"k", b"event")
    unit.put(table, b"k", b"1")
    assert table.get(0, b"k") == b"1", "visible at once"
    unit.finish()
    assert app.values(CHANGELOG) == [], "the event is not acknowledged yet"
    app.ack(0)
    assert app.values(CHANGELOG) == [b"1"]
    assert not batch.done, "the state is not acknowledged yet"
    app.ack(1)
    assert batch.done


async def test_units_of_a_partition_log_in_the_order_of_their_creation() -> None:
    app = FakeApp()
    table = app.table()
    assignment = app.assignment()
    first, second = (Unit(app, batch_of(assignment, n)) for n in range(2))
    for name, unit in ((b"first", first), (b"second", second)):
        unit.emit("out", 0, b"k", name)
        unit.put(table, b"k", name)
    second.finish()
    app.ack(1)
    assert app.values(CHANGELOG) == [], "the second waits for the first"
    first.finish()
    app.ack(0)
    assert app.values(CHANGELOG) == [b"first", b"second"]


async def test_the_last_write_of_a_key_within_a_unit_is_the_one_that_is_logged() -> None:
    app = FakeApp()
    table = app.table()
    unit = Unit(app, batch_of(app.assignment(), 0))
    unit.put(table, b"k", b"1")
    unit.put(table, b"k", b"2")
    unit.delete(table, b"gone")
    unit.finish()
    assert app.values(CHANGELOG) == [b"2", None]


async def test_a_unit_without_events_or_writes_releases_its_batch_at_once() -> None:
    app = FakeApp()
    batch = batch_of(app.assignment(), 0)
    Unit(app, batch).finish()
    assert batch.done


async def test_a_unit_whose_event_is_refused_never_logs_and_never_releases() -> None:
    app = FakeApp()
    table = app.table()
    batch = batch_of(app.assignment(), 0)
    unit = Unit(app, batch)
    unit.emit("out", 0, b"k", b"event")
    unit.put(table, b"k", b"1")
    unit.finish()
    app.refuse(0)
    assert app.values(CHANGELOG) == []
    assert not batch.done


async def test_a_worker_that_cannot_reach_its_group_logs_nothing_until_it_can() -> None:
    app = FakeApp()
    table = app.table()
    batch = batch_of(app.assignment(), 0)
    app.fence.open = False
    unit = Unit(app, batch)
    unit.put(table, b"k", b"1")
    unit.finish()
    assert app.values(CHANGELOG) == []
    app.fence.reopen()
    assert app.values(CHANGELOG) == [b"1"]
    app.ack()
    assert batch.done


async def test_a_unit_of_a_stale_batch_emits_and_writes_nothing() -> None:
    app = FakeApp()
    table = app.table()
    assignment = app.assignment()
    unit = Unit(app, batch_of(assignment, 0))
    unit.emit("out", 0, b"k", b"before")
    unit.put(table, b"k", b"before")
    assignment.tracker.close()
    assignment.lane.close()
    unit.emit("out", 0, b"k", b"after")
    unit.put(table, b"k", b"after")
    unit.finish()
    app.ack()
    assert app.values("out") == [b"before"]
    assert app.values(CHANGELOG) == []
    async with asyncio.timeout(1):
        await unit.room()


async def test_room_waits_while_too_many_units_are_in_flight() -> None:
    app = FakeApp(max_units=2)
    assignment = app.assignment()
    units = [Unit(app, batch_of(assignment, n)) for n in range(3)]
    for unit in units:
        unit.emit("out", 0, b"k", b"event")
        unit.finish()
    waiting = asyncio.create_task(units[2].room())
    await asyncio.sleep(0)
    assert not waiting.done()
    app.ack(0)
    async with asyncio.timeout(1):
        await waiting


async def test_a_row_that_is_too_large_is_refused_before_anything_is_visible() -> None:
    app = FakeApp(max_record_bytes=100)
    table = app.table()
    unit = Unit(app, batch_of(app.assignment(), 0))
    with pytest.raises(RecordTooLarge):
        unit.put(table, b"k", b"x" * 200)
    with pytest.raises(RecordTooLarge):
        table.put(0, b"k", b"x" * 200)
    assert table.get(0, b"k") is None
    unit.finish()


async def test_a_unit_is_finished_once() -> None:
    app = FakeApp()
    unit = Unit(app, batch_of(app.assignment(), 0))
    unit.finish()
    with pytest.raises(RuntimeError, match="once"):
        unit.finish()

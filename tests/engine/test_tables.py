"""Tables: what is read, what is logged, what survives losing the partition."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine import PartitionLost, Unit
from streams.engine.stores import MemoryStore
from tests.engine.fakes import FakeApp, FakeRecord, batch_of

CHANGELOG = "fake-rows-changelog"


def test_a_write_is_visible_and_logged_at_once() -> None:
    app = FakeApp()
    table = app.table()
    ticket = table.put(0, b"k", b"1")
    assert table.get(0, b"k") == b"1"
    assert app.emitted == [(CHANGELOG, 0, b"k", b"1")]
    assert not ticket.done
    table.delete(0, b"k")
    assert table.get(0, b"k") is None
    assert app.values(CHANGELOG) == [b"1", None]
    assert (table.count(0), list(table.items(0))) == (0, [])


def test_a_partition_that_is_not_ours_is_neither_read_nor_written() -> None:
    app = FakeApp()
    table = app.table()
    table.revoke()
    for access in (lambda: table.get(0, b"k"), lambda: table.put(0, b"k", b"v"), lambda: table.count(0)):
        with pytest.raises(PartitionLost, match="partition 0 of table rows"):
            access()
    assert app.emitted == []


async def test_a_staged_write_that_was_overtaken_is_not_logged_and_its_unit_waits_for_the_overtaker() -> None:
    app = FakeApp()
    table = app.table()
    batch = batch_of(app.assignment(), 0)
    unit = Unit(app, batch)
    unit.put(table, b"k", b"old")
    table.put(0, b"k", b"new")
    unit.finish()
    assert app.values(CHANGELOG) == [b"new"], "the log ends with what is read"
    assert not batch.done
    app.ack()
    assert batch.done


def test_rows_that_were_acknowledged_are_kept_over_a_rebalance_that_gives_the_partition_back() -> None:
    app = FakeApp()
    table = app.table()
    table.put(0, b"k", b"1")
    app.ack()
    table.revoke()
    store = table.assign({0})[0]
    assert store.next_offset == 1
    table.ready()
    assert table.get(0, b"k") == b"1"


@pytest.mark.parametrize("staged", [True, False], ids=["staged", "unacknowledged"])
def test_rows_that_the_changelog_may_not_have_are_forgotten_when_the_partition_is_lost(staged: bool) -> None:
    app = FakeApp()
    table = app.table()
    if staged:
        table.stage(0, b"k", b"1")
    else:
        table.put(0, b"k", b"1")
    table.revoke()
    store = table.assign({0})[0]
    app.ack()  # too late: it must not move the new store's offset
    assert (store.get(b"k"), store.next_offset) == (None, None)


def test_a_record_of_another_writer_in_between_stops_the_offset_so_that_it_is_read_later() -> None:
    app = FakeApp()
    table = app.table()
    table.put(0, b"k", b"1")
    app.tickets[0].resolve(0, 1)
    table.put(0, b"k", b"2")
    app.tickets[1].resolve(5, 1)  # offsets 1 to 4 were written by somebody else
    table.revoke()
    assert table.assign({0})[0].next_offset == 1


def test_behind_the_fence_writes_are_visible_but_logged_only_when_the_group_answers_again() -> None:
    app = FakeApp()
    table = app.table()
    app.fence.open = False
    first = table.put(0, b"k", b"1")
    app.fence.open = True  # the group has answered, but the held ones have not been logged yet: the order stays
    second = table.put(0, b"k", b"2")
    assert (table.get(0, b"k"), app.emitted) == (b"2", [])
    app.fence.reopen()
    assert app.values(CHANGELOG) == [b"1", b"2"]
    app.ack()
    assert first.done
    assert second.done
    assert first.error is second.error is None


def test_writes_behind_the_fence_are_dropped_with_their_partition() -> None:
    app = FakeApp()
    table = app.table()
    table.put(0, b"k", b"1")
    app.ack()
    app.fence.open = False
    ticket = table.put(0, b"k", b"2")
    table.revoke()
    assert isinstance(ticket.error, PartitionLost)
    store = table.assign({0})[0]
    assert store.get(b"k") is None, "forgotten, to be restored"
    table.ready()
    app.fence.reopen()
    assert app.values(CHANGELOG) == [b"1"]


def test_records_of_another_writer_are_noticed_once() -> None:
    app = FakeApp()
    table = app.table()
    for number, base in enumerate([0, 1, 5, 6]):
        table.put(0, b"k", b"%d" % number)
        app.tickets[number].resolve(base, 1)
    assert app.repairs.begun == [(0, 2, 5)]


def test_records_behind_our_last_one_are_noticed_when_the_logs_end_is_told() -> None:
    app = FakeApp()
    table = app.table()
    table.put(0, b"k", b"1")
    assert table.log_ends() == [], "ours is under way"
    app.tickets[0].resolve(0, 1)
    assert table.log_ends() == [(0, 1)]
    table.check_end(0, 1, 1)
    assert app.repairs.begun == []
    table.check_end(0, 1, 4)
    table.check_end(0, 1, 4)
    assert app.repairs.begun == [(0, 1, 4)], "once"


def test_an_end_that_was_asked_for_before_a_write_of_ours_says_nothing() -> None:
    app = FakeApp()
    table = app.table()
    table.put(0, b"k", b"1")
    app.tickets[0].resolve(0, 1)
    table.put(0, b"k", b"2")
    table.check_end(0, 1, 2)
    app.tickets[1].resolve(1, 1)
    table.check_end(0, 1, 2)
    table.revoke()
    table.check_end(0, 2, 3)
    assert app.repairs.begun == []


def test_rows_are_logged_again_as_they_are_read_except_those_a_unit_holds_back() -> None:
    app = FakeApp()
    table = app.table()
    table.put(0, b"a", b"1")
    table.delete(0, b"b")
    table.stage(0, b"c", b"staged")
    table.relog(0, [b"a", b"b", b"c"])
    assert app.values(CHANGELOG)[2:] == [b"1", None]


def test_restoring_applies_the_last_record_of_each_key() -> None:
    store = MemoryStore()
    store.apply([FakeRecord(0, b"a", b"1"), FakeRecord(1, b"b", b"1"), FakeRecord(2, b"a", None)], 3)
    assert dict(store.items()) == {b"b": b"1"}
    assert store.next_offset == 3


_keys = st.sampled_from([b"a", b"b", b"c"])
_steps = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "unit put", "unit delete", "finish", "ack"]), _keys), max_size=60
)


@given(steps=_steps)
@settings(max_examples=150, deadline=None)
def test_whatever_is_mixed_the_changelog_ends_with_what_is_read(steps: list[tuple[str, bytes]]) -> None:
    app = FakeApp(max_units=100)
    table = app.table()
    assignments = [app.assignment("one"), app.assignment("two")]
    units = [Unit(app, batch_of(assignment, 0)) for assignment in assignments]
    for number, (step, key) in enumerate(steps):
        unit, value = units[number % 2], b"%d" % number
        if step == "put":
            table.put(0, key, value)
        elif step == "delete":
            table.delete(0, key)
        elif step == "unit put":
            unit.emit("out", 0, key, value)
            unit.put(table, key, value)
        elif step == "unit delete":
            unit.delete(table, key)
        elif step == "finish":
            unit.finish()
            units[number % 2] = Unit(app, batch_of(assignments[number % 2], number + 1))
        else:
            app.ack()
    for unit in units:
        unit.finish()
    while not all(ticket.done for ticket in app.tickets):
        app.ack()
    logged = {key: value for topic, _, key, value in app.emitted if topic == CHANGELOG}
    assert {k: v for k, v in logged.items() if v is not None} == dict(table.items(0))
    assert all(assignment.tracker.unfinished == 0 for assignment in assignments)

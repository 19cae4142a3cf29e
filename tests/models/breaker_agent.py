"""The agent that decides about a breaker: the real one, on a table and a unit of work that keep what it does to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from streams.agents.breakers import Breakers
from streams.core.breaker import BreakerPolicy, BreakerWindow, OutcomeSum
from streams.serde.internal import pack, unpacker
from tests.models.breaker_scenario import NAME
from tests.models.log import Rec

_read = unpacker(BreakerWindow)


@dataclass(slots=True)
class Unit:
    """The work on one sum, in the order of :class:`streams.agents.ports.UnitPort`: emitted, kept, committed."""

    offset: int
    emitted: list[bytes]
    row: bytes | None = None

    def emit(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any = ()) -> None:
        assert value is not None
        self.emitted.append(value)

    def put(self, table: Any, key: bytes, value: bytes) -> None:
        self.row = table.rows[key] = value

    def finish(self) -> None: ...
    async def room(self) -> None: ...


class Windows:
    """The agent's table as its owner sees it."""

    name = "breaker_windows"

    def __init__(self, rows: dict[bytes, bytes]) -> None:
        self.rows = dict(rows)

    def get(self, partition: int, key: bytes) -> bytes | None:
        return self.rows.get(key)


@dataclass(slots=True)
class _Batch:
    topic: str
    partition: int
    records: list[Rec]


def fold(windows: Windows, offset: int, outcome: OutcomeSum, policy: BreakerPolicy) -> Unit:
    """Let the agent fold a sum; answers what it wants to be on Kafka."""
    unit = Unit(offset, [])
    agent = Breakers(None, windows, "breakers", lambda app, batch: unit, policy)  # type: ignore[arg-type]
    batch = _Batch("provider-outcomes", 0, [Rec(offset, NAME.encode(), pack(outcome))])
    try:
        agent.handle(batch).send(None)  # type: ignore[arg-type]
    except StopIteration:
        return unit
    raise AssertionError("the agent waits for something")


def window_in(rows: dict[bytes, bytes]) -> BreakerWindow | None:
    """The provider's window, if there is one yet."""
    kept = rows.get(NAME.encode())
    window = None if kept is None else _read(kept)
    assert window is None or isinstance(window, BreakerWindow)
    return window

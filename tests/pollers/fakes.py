"""A source that can be scripted and a producer that can refuse, for tests of the loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from streams.pollers.source import Item, SourceUnavailable, Waiting
from streams.producer import Headers, Unavailable


def item(payload: bytes, **more: object) -> Item:
    return Item(payload, b"k", (("verified", b"sqs"),), payload.decode("latin-1"), **more)  # type: ignore[arg-type]


@dataclass
class FakeSource:
    """Hands out ``script`` one by one: items, or an error to raise; then waits for ever (``ends``: then empty)."""

    script: deque[Sequence[Item] | Exception]
    name: str = "ses"
    provider: str = "ses"
    account: str = "eu"
    topic: str = "webhooks.ses"
    concurrency: int = 1
    batch: int = 10
    extend_every_s: float = 0.0
    stop_wait_s: float = 0.0
    ends: bool = True
    journal: list[tuple[str, list[str]]] = field(default_factory=list)
    done_fails: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    extended: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self) -> Sequence[Item]:
        if not self.script:
            if self.ends:
                return []
            self.idle.set()
            await asyncio.Event().wait()
        step = self.script.popleft()
        if isinstance(step, Exception):
            raise step
        return step

    async def done(self, items: Sequence[Item]) -> None:
        if self.done_fails:
            self.done_fails -= 1
            raise SourceUnavailable("no delete today")
        self._note("done", items)

    async def extend(self, items: Sequence[Item]) -> None:
        self._note("extend", items)
        self.extended.set()

    async def release(self, items: Sequence[Item]) -> None:
        self._note("release", items)

    async def waiting(self) -> Waiting | None:
        return Waiting(len(self.script))

    async def aclose(self) -> None:
        self.journal.append(("closed", []))

    def _note(self, what: str, items: Sequence[Item]) -> None:
        self.journal.append((what, [one.handle for one in items]))


@dataclass
class FakeProducer:
    """Keeps what it is sent; refuses the first ``refusals`` sends; ``gate`` holds acknowledgements back."""

    refusals: int = 0
    broken: str = ""
    stored: list[tuple[str, bytes, bytes, Headers]] = field(default_factory=list)
    gate: asyncio.Event | None = None

    async def send(self, topic: str, key: bytes, value: bytes, headers: Headers) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("Kafka is away")
        if self.gate is not None:
            await self.gate.wait()
        self.stored.append((topic, key, value, headers))

    async def ready(self) -> str:
        return ""

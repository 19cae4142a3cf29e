"""A TCP proxy that does to a connection what networks do: between a worker and a provider, or a client and a broker.

    with ChaosProxy(("127.0.0.1", 9092)) as proxy:
        proxy.trouble = Trouble(delay_s=0.2)          # for open connections and new ones
        proxy.trouble = Trouble(reset_after_bytes=500)
        proxy.cut()                                   # resets what is open now
        proxy.trouble = CALM

Rules:

1. A trouble acts on the next piece of data, whatever connection it comes by; the connection need not be new.
2. `silent` is a cut cable: nothing passes in either direction, nothing is reset, and new connections are taken but
   lead nowhere. What came in meanwhile passes when the cable is mended.
3. Answers and requests can be troubled alone (`on`): a provider that has heard everything but is not heard.
4. The proxy counts what passed, and keeps no content.

It runs in a thread of its own, with an event loop of its own; all methods may be called from any thread.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from streams.broker import free_port

_PIECE = 64 * 1024
_LOOK_S = 0.02
"""How often a connection that is held looks whether its trouble is over."""


class Way(StrEnum):
    """The direction that is troubled."""

    BOTH = "both"
    REQUESTS = "requests"
    ANSWERS = "answers"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens to each piece of data; the fields work together.

    `reset_after_bytes` counts the bytes of one direction of one connection. `corrupt_every` turns round one bit in
    each so many bytes.
    """

    on: Way = Way.BOTH
    delay_s: float = 0.0
    bytes_per_s: float = 0.0
    silent: bool = False
    drop: bool = False
    reset_after_bytes: int | None = None
    corrupt_every: int = 0
    refuse: bool = False

    def meets(self, way: Way) -> bool:
        return self.on in (Way.BOTH, way)


CALM = Trouble()


@dataclass(slots=True)
class Passed:
    """Since the start: connections taken, connections that the proxy reset, bytes in each direction."""

    connections: int = 0
    resets: int = 0
    requests: int = 0
    answers: int = 0


class ChaosProxy:
    """Use it as a context manager; `address` is where it listens."""

    def __init__(self, target: tuple[str, int], port: int | None = None) -> None:
        self.target = target
        self.address = ("127.0.0.1", port or free_port())
        self.trouble = CALM
        self.passed = Passed()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://{self.bootstrap}"

    @property
    def bootstrap(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"

    @property
    def connections(self) -> int:
        """Connections that are open to the target now."""
        return len(self._open) // 2

    def cut(self) -> None:
        """Reset every open connection on both sides."""
        self._do(self._cut())

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    # -- inside the loop

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, *self.address)

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _cut(self) -> None:
        for writer in list(self._open):
            _reset(writer)
        self._open.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._connect(reader, writer)
        except (OSError, asyncio.CancelledError):
            _reset(writer)
        finally:
            self._tasks.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.passed.connections += 1
        if self.trouble.refuse:
            self.passed.resets += 1
            _reset(writer)
            return
        await self._until_heard(Way.REQUESTS)
        there_reader, there = await asyncio.open_connection(*self.target)
        pair = {writer, there}
        self._open |= pair
        try:
            await asyncio.gather(
                self._pass(reader, there, Way.REQUESTS, pair), self._pass(there_reader, writer, Way.ANSWERS, pair)
            )
        finally:
            self._open -= pair
            for end in pair:
                end.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way, pair: set[asyncio.StreamWriter]
    ) -> None:
        count = 0
        while piece := await reader.read(_PIECE):
            await self._until_heard(way)
            trouble = self.trouble
            if trouble.meets(way):
                limit = trouble.reset_after_bytes
                if limit is not None and count + len(piece) > limit:
                    writer.write(piece[: max(0, limit - count)])
                    await _flushed(writer)
                    self.passed.resets += 1
                    for end in pair:
                        _reset(end)
                    return
                piece = await self._troubled(piece, writer, trouble)
            count += len(piece)
            self._count(way, len(piece))
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def _troubled(self, piece: bytes, writer: asyncio.StreamWriter, trouble: Trouble) -> bytes:
        """What is left of the piece to be written at once."""
        if trouble.drop:
            return b""
        if trouble.delay_s:
            await asyncio.sleep(trouble.delay_s)
        if trouble.corrupt_every:
            piece = _corrupted(piece, trouble.corrupt_every)
        if not trouble.bytes_per_s:
            return piece
        for position, byte in enumerate(piece):
            if self.trouble is not trouble:  # mended: the rest goes at once
                return piece[position:]
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(1 / trouble.bytes_per_s)
        return b""

    async def _until_heard(self, way: Way) -> None:
        while self.trouble.silent and self.trouble.meets(way):
            await asyncio.sleep(_LOOK_S)

    def _count(self, way: Way, size: int) -> None:
        if way is Way.REQUESTS:
            self.passed.requests += size
        else:
            self.passed.answers += size


def _corrupted(piece: bytes, every: int) -> bytes:
    changed = bytearray(piece)
    for position in range(every - 1, len(changed), every):
        changed[position] ^= 1 << (position % 7)
    return bytes(changed)


async def _flushed(writer: asyncio.StreamWriter) -> None:
    """What was written has left the process: a reset throws away what has not."""
    transport = writer.transport
    while transport.get_write_buffer_size():
        await asyncio.sleep(0)


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    if sock is not None and not writer.transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()

"""An append-only file with group commit: many requests, one fsync.

Rules: `append` only buffers; `committed` returns when everything appended before it is on the disk (written and
fsynced in a thread, so that the event loop never stalls). While one commit runs the next one collects. A torn last
line, left by a crash, is cut off when the file is opened: it was never acknowledged.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

_LAZY_COMMIT_S: Final = 0.05  # lines nobody waits for
_CHUNK: Final = 1 << 20


class Journal:
    """One file, one writer. `durable_end` is the offset up to which the file may be read."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self.durable_end = self._cut_torn_line()
        self._end = self.durable_end
        self._buffer: list[bytes] = []
        self._writer = ThreadPoolExecutor(1, "sandbox-ledger")
        self._waiters: asyncio.Future[None] | None = None
        self._busy = False
        self._lazy: asyncio.TimerHandle | None = None
        self._failure: OSError | None = None

    def _cut_torn_line(self) -> int:
        size = os.fstat(self._fd).st_size
        end = size
        while end > 0:
            start = max(0, end - _CHUNK)
            newline = os.pread(self._fd, end - start, start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end != size:
            os.ftruncate(self._fd, end)
            os.fsync(self._fd)
        return end

    def append(self, line: bytes) -> int:
        """Buffers a line (with its newline) and returns the offset that it will have."""
        offset = self._end
        self._end += len(line)
        self._buffer.append(line)
        if not self._busy and self._lazy is None:
            self._lazy = asyncio.get_running_loop().call_later(_LAZY_COMMIT_S, self._begin)
        return offset

    async def committed(self) -> None:
        """Returns when every line appended so far is durable. Raises OSError when the disk refused."""
        if self._failure is not None:
            raise self._failure
        if not self._buffer and not self._busy:
            return
        if self._waiters is None:
            self._waiters = asyncio.get_running_loop().create_future()
        waiters = self._waiters
        if not self._busy:
            self._begin()
        await asyncio.shield(waiters)

    def _begin(self) -> None:
        if self._lazy is not None:
            self._lazy.cancel()
            self._lazy = None
        if self._busy or self._failure is not None:
            return
        if not self._buffer:
            if self._waiters is not None:  # they waited for the commit that has just ended
                self._waiters.set_result(None)
                self._waiters = None
            return
        data, self._buffer = b"".join(self._buffer), []
        waiters, self._waiters = self._waiters, None
        self._busy = True
        future = asyncio.get_running_loop().run_in_executor(self._writer, self._write, data)
        future.add_done_callback(lambda done: self._finished(done, waiters, len(data)))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        os.fdatasync(self._fd)

    def _finished(self, done: asyncio.Future[None], waiters: asyncio.Future[None] | None, size: int) -> None:
        self._busy = False
        error = done.exception()
        if error is None:
            self.durable_end += size
        else:  # what follows a failed write cannot be trusted: every later commit fails too
            self._failure = error if isinstance(error, OSError) else OSError(str(error))
        if waiters is not None and not waiters.done():
            if error is None:
                waiters.set_result(None)
            else:
                waiters.set_exception(error)
        if self._failure is not None:
            if self._waiters is not None:
                self._waiters.set_exception(self._failure)
                self._waiters = None
        elif self._waiters is not None:
            self._begin()
        elif self._buffer:
            self._lazy = asyncio.get_running_loop().call_later(_LAZY_COMMIT_S, self._begin)

    def line_at(self, offset: int) -> bytes | None:
        """The line that begins at `offset`, or None when it is not durable yet."""
        if offset >= self.durable_end:
            return None
        data = os.pread(self._fd, 2048, offset)
        while (newline := data.find(b"\n")) < 0:
            data += os.pread(self._fd, 1 << 16, offset + len(data))
        return data[:newline]

    def chunks(self) -> Iterator[bytes]:
        """The durable part of the file in pieces that end at line ends (blocking reads)."""
        position, end, rest = 0, self.durable_end, b""
        while position < end:
            data = os.pread(self._fd, min(_CHUNK, end - position), position)
            position += len(data)
            cut = data.rfind(b"\n") + 1
            if cut:
                yield rest + data[:cut]
                rest = data[cut:]
            else:
                rest += data
        if rest:
            yield rest

    async def close(self) -> None:
        """Commits what is buffered and closes the file."""
        try:
            await self.committed()
        finally:
            self._writer.shutdown(wait=True)
            os.close(self._fd)

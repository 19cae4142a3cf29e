"""A standard queue as SQS keeps it: at least once, invisible while somebody has it, moved away when it comes too often.

Kept in memory: what lies in a queue does not outlive the process.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

_POLL_S: Final = 0.5  # a receive that waits looks again at least so often: the clock may be a test's


@dataclass(slots=True)
class Message:
    """One message. ``handle`` is what the last receive gave out; empty while nobody has it."""

    id: str
    body: str
    sent_ms: int
    receives: int = 0
    first_received_ms: int = 0
    visible_ms: int = 0
    handle: str = ""


class Queue:
    """``max_receives`` and ``dead`` are its redrive policy; without ``dead`` messages stay for ever."""

    def __init__(
        self,
        name: str,
        now_ms: Callable[[], int],
        *,
        visibility_s: int = 30,
        max_receives: int = 5,
        dead: Queue | None = None,
    ) -> None:
        self.name = name
        self.visibility_s = visibility_s
        self.max_receives = max_receives
        self.dead = dead
        self.sent = 0
        self.deleted = 0
        self._now_ms = now_ms
        self._messages: dict[str, Message] = {}
        self._ready: deque[Message] = deque()
        self._hidden: list[tuple[int, str, Message]] = []
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def visible(self) -> int:
        """How many anybody could receive now."""
        self._show_due()
        return sum(message.id in self._messages for message in self._ready)

    def send(self, body: str) -> Message:
        """Puts a message in; two sends are two messages."""
        message = Message(str(uuid4()), body, self._now_ms())
        self.put(message)
        self.sent += 1
        return message

    async def receive(self, most: int, wait_s: float, visibility_s: int) -> list[Message]:
        """Up to ``most`` messages, as soon as there is one, at the latest after ``wait_s``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        while True:
            taken = self._take(most, visibility_s)
            left = deadline - loop.time()
            if taken or left <= 0:
                return taken
            self._changed.clear()
            try:
                async with asyncio.timeout(min(left, _POLL_S)):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def delete(self, handle: str) -> bool:
        """Whether the handle is one of this queue; an older handle of a message deletes it too, as in SQS it may."""
        message = self._by_handle(handle)
        if message is None:
            return _shaped(handle)  # deleted already: that is no error
        del self._messages[message.id]
        self.deleted += 1
        return True

    def change(self, handle: str, visibility_s: int) -> str:
        """Hides a message for so long from now; empty if it is done, else SQS's word for why not."""
        message = self._by_handle(handle)
        if message is None:
            return "InvalidParameterValue" if _shaped(handle) else "ReceiptHandleIsInvalid"
        if message.handle != handle or message.visible_ms <= self._now_ms():
            return "MessageNotInflight"
        self._hide(message, visibility_s)
        return ""

    def purge(self) -> None:
        """Forgets everything."""
        self._messages.clear()
        self._ready.clear()
        self._hidden.clear()

    def put(self, message: Message) -> None:
        """A message that another queue gave up."""
        self._messages[message.id] = message
        self._ready.append(message)
        self._changed.set()

    def _take(self, most: int, visibility_s: int) -> list[Message]:
        self._show_due()
        taken: list[Message] = []
        while self._ready and len(taken) < most:
            message = self._ready.popleft()
            if message.id not in self._messages:
                continue
            if self.dead is not None and message.receives >= self.max_receives:
                del self._messages[message.id]
                message.receives = 0
                self.dead.put(message)
                continue
            message.receives += 1
            message.first_received_ms = message.first_received_ms or self._now_ms()
            message.handle = f"{message.id}#{uuid4().hex}"
            self._hide(message, visibility_s)
            taken.append(message)
        return taken

    def _hide(self, message: Message, visibility_s: int) -> None:
        message.visible_ms = self._now_ms() + visibility_s * 1000
        heapq.heappush(self._hidden, (message.visible_ms, message.handle, message))
        if not visibility_s:
            self._changed.set()

    def _show_due(self) -> None:
        now = self._now_ms()
        while self._hidden and self._hidden[0][0] <= now:
            due, handle, message = heapq.heappop(self._hidden)
            current = message.handle == handle and message.visible_ms == due
            if current and message.id in self._messages:
                message.visible_ms = 0
                self._ready.append(message)

    def _by_handle(self, handle: str) -> Message | None:
        return self._messages.get(handle.partition("#")[0])


def _shaped(handle: str) -> bool:
    return handle.count("-") == 4 and "#" in handle

"""An event loop whose time stands still, and that runs only when told to: what happens next is the explorer's choice.

Everything that is ready runs to the end of what it can do without the world (``run``); then the worker waits for an
acknowledgement, an answer, a record, or for the clock. One loop per worker: a crash is a loop that is thrown away.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any


class StepLoop(asyncio.AbstractEventLoop):
    """``clock`` gives epoch milliseconds. ``errors`` are exceptions that nobody has caught."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._made = 0
        self._closed = False
        self.tasks: list[asyncio.Task[Any]] = []
        self.errors: list[str] = []

    def run(self) -> None:
        """Until nothing is left that could go on."""
        outer = events._get_running_loop()
        events._set_running_loop(self)
        try:
            while True:
                self._due()
                if not self._ready:
                    break
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            events._set_running_loop(outer)
        self.tasks = [task for task in self.tasks if not task.done()]

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Call it inside the loop, then run."""
        self.call_soon(function, *args)
        self.run()

    def next_timer_ms(self) -> int | None:
        """When the next timer is due."""
        times = [when for when, _, handle in self._timers if not handle.cancelled()]
        return round(1000 * min(times)) if times else None

    def throw_away(self) -> None:
        """The process is no more: nothing runs, and what was under way is closed without a word."""
        self._closed = True
        self._ready.clear()
        self._timers.clear()
        outer = events._get_running_loop()
        events._set_running_loop(self)
        try:
            for task in self.tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                coro = task.get_coro()
                if coro is not None and not task.done():
                    coro.close()
        finally:
            events._set_running_loop(outer)
        self.tasks.clear()

    def _due(self) -> None:
        now_s = self.time() + 1e-6
        while self._timers and self._timers[0][0] <= now_s:
            self._ready.append(heapq.heappop(self._timers)[2])

    # ------------------------------------------------------------------ what asyncio asks of a loop

    def time(self) -> float:
        return self._clock() / 1000

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._closed

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self._closed:
            self._ready.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._made += 1
        heapq.heappush(self._timers, (when, self._made, handle))
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        if self._closed:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coro.close()
        self.tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._closed:
            self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

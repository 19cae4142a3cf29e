"""Work that runs beside the agent, and what happens to it when its partition goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from streams.engine.errors import PartitionLost

log = logging.getLogger(__name__)

Work = Coroutine[Any, Any, None]


class Tasks:
    """An unexpected exception in any task ends the process through ``crash``: it must never be outlived."""

    def __init__(self, crash: Callable[[BaseException], None]) -> None:
        self._crash = crash
        self._stoppable: dict[asyncio.Task[None], int] = {}
        self._finishing: dict[asyncio.Task[None], int] = {}

    def spawn(self, work: Work, partition: int = -1) -> None:
        """Run until done, or until the partition is lost."""
        self._start(work, partition, self._stoppable)

    def finish(self, work: Work, partition: int) -> None:
        """Run to its end even while the partition is being given away."""
        self._start(work, partition, self._finishing)

    async def leave(self, partition: int, patience_s: float) -> None:
        """Wait for what must finish, but no longer than ``patience_s``; stop the rest."""
        ending = [task for task, home in self._finishing.items() if home == partition]
        if ending:
            await asyncio.wait(ending, timeout=patience_s)
        for task, home in self._stoppable.items():
            if home == partition:
                task.cancel()

    def stop(self) -> None:
        """Cancel everything."""
        for task in (*self._stoppable, *self._finishing):
            task.cancel()

    def _start(self, work: Work, partition: int, tasks: dict[asyncio.Task[None], int]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        tasks[task] = partition
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        partition = self._stoppable.pop(task, None)
        partition = self._finishing.pop(task, -1) if partition is None else partition
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, PartitionLost):
            log.info("partition %d went to another worker before its last rows were written", partition)
            return
        log.critical("dispatch cannot go on", exc_info=error)
        self._crash(error)

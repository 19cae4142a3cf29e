"""What an agent iterates over: batches, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, cast

from faust.streams import Stream
from faust.topics import Topic

from streams.engine.batch import Batch

if TYPE_CHECKING:
    from streams.engine.consumer import EngineConsumer


class BatchTopic(Topic):
    """A source topic: its one agent (concurrency 1) receives `Batch` objects."""


class EngineStream(Stream[Any]):
    """Yields the batches of a BatchTopic; those whose partition has been taken away meanwhile are dropped.

    Nothing is acknowledged here: a batch is done when its references are released, so an agent that raises
    leaves its batch undone. Other channels are streamed by Faust itself.
    """

    def __aiter__(self) -> AsyncGenerator[Any, None]:
        if not isinstance(self.channel, BatchTopic):
            return cast(AsyncGenerator[Any, None], super().__aiter__())
        batches = self._batches()
        self._active_agens.add(batches)
        return batches

    async def _batches(self) -> AsyncGenerator[Batch, None]:
        self._finalized = True
        started_by_aiter = await self.maybe_start()
        consumer = cast("EngineConsumer", self.app.consumer)
        queue = cast(Any, self.channel).queue
        try:
            while not self.should_stop:
                batch: Batch = await queue.get()
                if not batch.stale:
                    consumer.on_batch_started(batch)
                    yield batch
                if not queue.empty():
                    await asyncio.sleep(0)  # the other agents are not to wait for all that is at hand
        except StopAsyncIteration:
            return  # Faust's way of ending an agent
        finally:
            self._channel_stop_iteration(self.channel)
            if started_by_aiter:
                await self.stop()
                self.service_reset()

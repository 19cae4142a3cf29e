"""Commits: which offsets may go, and what must have been acknowledged before.

Rules:
1. A commit takes a snapshot of the commit points, flushes what was emitted before, then commits the snapshot.
2. After a failure nothing commits. Who may not commit any more ends: all that it does would be done again.
3. One commit at a time. Whoever gives the partitions away ends one that is under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from aiokafka.errors import (
    CommitFailedError,
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from faust.exceptions import ConsumerNotStarted
from faust.types import TP

from streams.engine.batch import Assignment

if TYPE_CHECKING:
    from streams.engine.app import EngineApp
    from streams.engine.consumer_thread import EngineConsumerThread

_logger = logging.getLogger(__name__)


class Commits:
    """``assigned`` are the sources of the moment."""

    def __init__(self, app: EngineApp) -> None:
        self._app = app
        self._lock = asyncio.Lock()
        self._under_way: asyncio.Future[None] | None = None

    async def commit(self, assigned: Mapping[TP, Assignment], thread: EngineConsumerThread) -> bool:
        """Commit the contiguous done prefix of every partition. True when something was committed. Raises
        ProduceError when the process is ending.
        """
        async with self._lock:
            points = {
                assignment: point
                for assignment in assigned.values()
                if (point := assignment.tracker.commit_point()) is not None
            }
            if not points:
                return False
            await self._app.producer.flush()
            return await self._commit_points(points, thread)

    def give_up(self) -> None:
        """The partitions are gone: nobody waits for the broker's answer any longer."""
        if self._under_way is not None:
            self._under_way.cancel()

    async def _commit_points(self, points: Mapping[Assignment, int], thread: EngineConsumerThread) -> bool:
        offsets = {assignment.tp: at for assignment, at in points.items() if not assignment.tracker.closed}
        if not offsets or self._app.failure is not None:
            return False
        observer = self._app.observer
        observer.on_committing()
        self._under_way = asyncio.ensure_future(thread.run(thread.commit_offsets, offsets))
        try:
            await self._under_way
        except (CommitFailedError, IllegalStateError) as exc:
            _logger.info("Not committed, the partitions are being taken away: %s", exc)
            return False
        except (GroupAuthorizationFailedError, TopicAuthorizationFailedError) as exc:
            self._app.fail(f"offsets of the group {self._app.settings.app_id} cannot be committed: {exc!r}")
            return False
        except (KafkaError, ConsumerNotStarted) as exc:
            _logger.warning("Not committed, will be tried again: %r", exc)
            return False
        except asyncio.CancelledError:
            if self._under_way.cancelled():
                return False  # the partitions were given away before the broker answered
            raise
        for assignment, at in points.items():
            assignment.tracker.committed = at
            observer.on_commit(assignment.tp, at)
        self._app.monitor.on_tp_commit(cast(Any, offsets))
        return True

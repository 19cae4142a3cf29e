"""What must never go unnoticed: work that does not progress, background tasks that have died.

A worker that cannot work ends; its orchestrator starts a new one and the group hands its partitions over.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.engine.app import EngineApp


class Watch:
    """Checked about once a second while the worker runs."""

    def __init__(self, app: EngineApp) -> None:
        self._app = app

    def check(self) -> None:
        """Report lag; end the process for a stall, a dead task, or a record that nobody acknowledges."""
        app = self._app
        app.producer.check_delivery_timeout()
        task = app.consumer.thread.dead
        if task is not None:
            app.fail(f"the driver's background task for {task} has ended")
            return
        now_s = time.monotonic()
        limit_s = app.settings.stall_timeout_s
        for tp, lag in app.consumer.lag():
            app.observer.on_lag(tp, lag)
            tracker = app.consumer.assigned[tp].tracker
            if lag == 0:
                tracker.progressed_s = now_s  # the clock runs only while there is something to do
            elif now_s - tracker.progressed_s > limit_s:
                app.fail(
                    f"{tp.topic}[{tp.partition}] has {lag} records waiting and nothing finished for {limit_s:.0f} s"
                )
                return

"""Running a worker in this process: signals, exit code, and a deadline for everything."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading

from streams.engine.app import EngineApp
from streams.engine.loops import Loop, LoopPolicy

_FINAL_GRACE_S = 5.0
_logger = logging.getLogger(__name__)


def run(app: EngineApp) -> int:
    """Run until SIGTERM or SIGINT (returns 0) or a failure (returns 1). Never hangs at the end."""
    app.owns_process = True
    asyncio.set_event_loop_policy(LoopPolicy())  # for the consumer's thread too
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(serve(app))


async def serve(app: EngineApp) -> int:
    """Like `run`, on the running loop."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    start = loop.create_task(app.start())
    stopping = loop.create_task(stop.wait())
    crashed = loop.create_task(app.wait_until_stopped())
    try:
        await asyncio.wait([start, stopping], return_when=asyncio.FIRST_COMPLETED)
        if start.done() and start.exception() is None:
            await asyncio.wait([stopping, crashed], return_when=asyncio.FIRST_COMPLETED)
        return await _end(app, start)
    finally:
        for task in (start, stopping, crashed):
            task.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _end(app: EngineApp, start: asyncio.Task[None]) -> int:
    if start.done() and (error := start.exception()) is not None and app.failure is None:
        app.fail(f"the worker could not start: {error}", error)
    limit_s = app.settings.shutdown_timeout_s + _FINAL_GRACE_S
    guard = threading.Timer(limit_s, _give_up)  # also covers threads that the interpreter would wait for
    guard.daemon = True
    guard.start()
    try:
        async with asyncio.timeout(limit_s):
            await app.stop()
    except TimeoutError:
        _logger.error("The worker did not stop in time")
    finally:
        app.disarm()
        guard.cancel()
    if app.failure is None:
        _logger.info("Stopped")
    return 0 if app.failure is None else 1


def _give_up() -> None:
    os._exit(1)

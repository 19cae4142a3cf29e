"""The ingress process: binds the port, serves, and leaves without dropping what it has begun.

Several processes share a port by ``SO_REUSEPORT``; the kernel spreads connections over them. They are forked before
anything with threads exists, and if one ends the others end too: whoever runs us starts all of them again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping

import uvloop
from aiohttp import web

from streams.hangup import on_hangup
from streams.ingress.connections import Connections
from streams.ingress.server import Ingress
from streams.metrics import Metrics, watch_event_loop
from streams.producer import KafkaProducer
from streams.providers.base import Exchange, Provider
from streams.settings import IngressSettings, Settings

_BACKLOG = 1024
_KEEPALIVE_S = 75.0
_LINGER_S = 2.0
_LOOK_S = 1.0

log = logging.getLogger(__name__)


class PortTaken(RuntimeError):
    """The ingress cannot listen where it is told to. The message says what to do."""


@contextlib.asynccontextmanager
async def running(
    settings: Settings,
    providers: Mapping[str, Provider],
    *,
    exchange: Exchange | None = None,
    metrics: Metrics | None = None,
    listener: socket.socket | None = None,
    metrics_port: int = 0,
    reread: asyncio.Event | None = None,
) -> AsyncIterator[tuple[str, int]]:
    """A serving ingress; gives its address. On leaving, requests under way are finished first.

    Raises :class:`PortTaken` before anything is started. ``metrics_port`` serves ``/metrics`` and health a second time,
    for processes that share their port with others. ``reread`` asks for all secrets to be read again.
    """
    options = settings.ingress
    bound = listener or listen(options)
    metrics = metrics or Metrics(tenants=settings.tenants)
    producer = KafkaProducer(settings.kafka, options)
    ingress = Ingress(settings, providers, producer, exchange=exchange, metrics=metrics)
    producer.start()
    connections = Connections(
        ingress.handle,
        headers_timeout_s=options.read_timeout_s,
        most=options.max_connections,
        access_log=None,
        auto_decompress=False,  # bounded in streams.ingress.body
        keepalive_timeout=_KEEPALIVE_S,
        lingering_time=_LINGER_S,
    )
    watches = [
        asyncio.create_task(work)
        for work in (watch_event_loop(metrics), connections.watch(), _renew(ingress, reread or asyncio.Event()))
    ]
    runner = web.ServerRunner(connections, shutdown_timeout=options.drain_timeout_s)
    try:
        await runner.setup()
        await web.SockSite(runner, bound, backlog=_BACKLOG).start()
        if metrics_port:
            await _second_port(runner, options, metrics_port)
        host, port = bound.getsockname()[:2]
        log.info("ingress listens on %s:%d for %s", host, port, ", ".join(ingress.paths) or "nobody")
        yield host, port
    finally:
        ingress.drain()
        await runner.cleanup()
        await producer.stop(options.drain_timeout_s)
        if ingress.visits is not None:
            await ingress.visits.settled()
        for watch in watches:
            watch.cancel()


async def _renew(ingress: Ingress, reread: asyncio.Event) -> None:
    """Until cancelled: look whether secrets have changed."""
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reread.wait(), _LOOK_S)
        asked = reread.is_set()
        reread.clear()
        if asked:
            log.info("SIGHUP: secrets are read again")
        await ingress.renew(at_all=asked)


def listen(options: IngressSettings, *, shared: bool = False) -> socket.socket:
    """A listening socket; raises :class:`PortTaken`. ``shared`` lets other processes of ours bind it too."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((options.host, options.port))
        bound.listen(_BACKLOG)  # only now is a port that somebody else listens on found out
    except OSError as exc:
        bound.close()
        why = os.strerror(exc.errno).lower() if exc.errno else str(exc)
        raise PortTaken(
            f"[ingress] cannot listen on {options.host}:{options.port}: {why}; "
            "stop the other process or set another host or port (STREAMS_INGRESS_PORT)"
        ) from exc
    bound.setblocking(False)
    return bound


def serve(settings: Settings, make: Callable[[], tuple[Mapping[str, Provider], Exchange | None]]) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code. ``make`` builds adapters and exchange in each process.

    Raises :class:`PortTaken`.
    """
    count = settings.ingress.workers
    if count == 1:
        return _serve_one(settings, make, None, 0)
    listeners = [listen(settings.ingress)]  # fails where anybody else listens
    listeners[0].close()
    first = settings.ingress.metrics_port
    children = [_fork(settings, make, first + index if first else 0) for index in range(count)]
    return _supervise(children)


def _serve_one(
    settings: Settings,
    make: Callable[[], tuple[Mapping[str, Provider], Exchange | None]],
    listener: socket.socket | None,
    metrics_port: int,
) -> int:
    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        reread = asyncio.Event()
        on_hangup(reread.set)
        providers, exchange = make()
        _calm_collector()
        async with running(
            settings, providers, exchange=exchange, listener=listener, metrics_port=metrics_port, reread=reread
        ):
            await stop.wait()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    return 0


def _calm_collector() -> None:
    """Requests leave no cycles behind: what lives now lives on, and young garbage is looked for less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def _fork(
    settings: Settings, make: Callable[[], tuple[Mapping[str, Provider], Exchange | None]], metrics_port: int
) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        code = _serve_one(settings, make, listen(settings.ingress, shared=True), metrics_port)
    except Exception:
        log.exception("an ingress process failed")
    finally:
        os._exit(code)


def _supervise(children: list[int]) -> int:
    left = set(children)
    asked = False

    def stop(number: int = 0, frame: object = None) -> None:
        nonlocal asked
        asked = asked or bool(number)
        for child in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)

    def reread(number: int, frame: object) -> None:
        for child in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGHUP)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    if not sys.stderr.isatty():
        signal.signal(signal.SIGHUP, reread)
    failed = False
    while left:
        child, status = os.wait()
        left.discard(child)
        if not asked:
            log.error("an ingress process ended by itself; the others are asked to end")
            failed = True
            stop()
        failed = failed or os.waitstatus_to_exitcode(status) != 0
    return 1 if failed else 0


async def _second_port(runner: web.ServerRunner, options: IngressSettings, port: int) -> None:
    try:
        await web.TCPSite(runner, options.host, port).start()
    except OSError as exc:
        raise PortTaken(f"[ingress] metrics_port {port} cannot be used: {exc.strerror or exc}") from exc

"""The pages of a worker or of the pollers: ``/metrics``, ``/health/live``, ``/health/ready``.

Live means: the event loop answers and nothing fatal has happened. Ready means: the group has given us our partitions,
their tables are restored, delivery has begun (which is also so for a worker that got none), and Kafka has answered
within the last ten seconds.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from typing import Protocol

from aiohttp import hdrs, web

from streams.metrics import Metrics, exposition

log = logging.getLogger(__name__)


class PortTaken(RuntimeError):
    """The status pages cannot listen where they are told to. The message says what to do."""


class Place(Protocol):
    """Where to listen."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


def listen(settings: Place, section: str = "worker") -> socket.socket:
    """A bound socket; raises PortTaken. ``section`` of the configuration is named in its message."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((settings.host, settings.port))
    except OSError as exc:
        bound.close()
        why = os.strerror(exc.errno).lower() if exc.errno else str(exc)
        raise PortTaken(
            f"[{section}] cannot listen on {settings.host}:{settings.port}: {why}; "
            f"stop the other process or set another host or port (STREAMS_{section.upper()}_PORT)"
        ) from exc
    bound.setblocking(False)
    return bound


class StatusServer:
    """``is_live`` and ``is_ready`` are asked at each request; ``before_scrape`` brings slow gauges up to date."""

    def __init__(
        self,
        settings: Place,
        metrics: Metrics,
        is_live: Callable[[], bool],
        is_ready: Callable[[], bool],
        before_scrape: Callable[[], None] = lambda: None,
        section: str = "worker",
    ) -> None:
        self._settings = settings
        self._section = section
        self._metrics = metrics
        self._is_live = is_live
        self._is_ready = is_ready
        self._before_scrape = before_scrape
        self._runner: web.ServerRunner | None = None
        self._bound: socket.socket | None = None

    def bind(self) -> None:
        """Take the port; raises PortTaken. `start` does it if nobody has."""
        if self._bound is None:
            self._bound = listen(self._settings, self._section)

    @property
    def url(self) -> str:
        """Where they are; empty while the port is not ours."""
        if self._bound is None:
            return ""
        host, port = self._bound.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self) -> None:
        """Serve until `stop`."""
        self.bind()
        assert self._bound is not None
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None))
        await self._runner.setup()
        await web.SockSite(self._runner, self._bound).start()
        log.info("/metrics and /health at http://%s:%d", *self._bound.getsockname()[:2])

    async def stop(self) -> None:
        """Close the port. Safe to call twice."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._bound is not None:
            self._bound.close()
            self._bound = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        match request.path:
            case "/metrics":
                self._before_scrape()
                content_type, body = exposition(self._metrics.registry, request.headers.get(hdrs.ACCEPT, ""))
                return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})
            case "/health/live":
                return _health(self._is_live())
            case "/health/ready":
                return _health(self._is_live() and self._is_ready())
        return web.Response(status=404)


def _health(good: bool) -> web.Response:
    return web.Response(status=200 if good else 503, text="ok\n" if good else "not now\n")

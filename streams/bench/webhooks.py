"""Signed webhooks to Kafka: the real ingress, against a handler that reads the body and answers.

Both run aiohttp's low-level server on uvloop and get the same requests over the same number of kept-alive connections,
each with one request under way. Ours also verifies the signature, stores the payload with acks=all, and counts.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import time
from hashlib import sha256
from typing import Any

from streams.bench.child import Config, Meter, profile_on_signals
from streams.bench.deployment import PARTITIONS, SIGNING_KEY, environment, wait_ready, write_config
from streams.bench.figures import Comparison, Reading, Target
from streams.bench.lab import EMBEDDED, BenchFailed, Child, Lab, Options, lab, reading, say
from streams.bench.logs import make_topics
from streams.broker import free_port

_REQUESTS = 24_000
_CONNECTIONS = 64
_PATH = "/webhooks/mailgun"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


def compare(options: Options) -> list[Comparison]:
    """One comparison."""
    with lab(options, preferred=EMBEDDED) as place:
        prefix = "hooks."
        make_topics(place.bootstrap, [f"{prefix}webhooks.mailgun"], PARTITIONS)
        sides: dict[str, list[Reading]] = {"bare": [], "ingress": []}
        for round_ in range(1, options.rounds + 1):
            for role, readings in sides.items():
                readings.append(_measure(place, role, prefix))
                say(f"  round {round_}: {role:8} {readings[-1].value:>9,.0f} requests/CPU-s")
        if options.profile:
            _measure(place, "ingress", prefix, place.profile_of("webhooks:ingress"))
        return [
            Comparison(
                "webhooks",
                "signed Mailgun webhooks, verified and stored with acks=all",
                "bare handler that reads the body",
                "requests/CPU-s",
                tuple(sides["ingress"]),
                tuple(sides["bare"]),
                Target(0.4),
                place.broker,
            )
        ]


def _measure(place: Lab, role: str, prefix: str, profile: str = "") -> Reading:
    port = free_port()
    config = write_config(place, prefix, port)
    server = place.start(
        f"webhooks:{role}", {"port": port, "config": str(config), "profile": profile}, environment(config)
    )
    try:
        wait_ready(server, port)
        load = {"port": port, "subject": server.pid, "count": place.amount(_REQUESTS, 200), "signal": bool(profile)}
        return reading(place.run("webhooks:load", load))
    finally:
        _stop(server)


def _stop(server: Child) -> None:
    server.process.stop(5.0)


# --------------------------------------------------------------------------------------------- the two servers


def ingress(config: Config, meter: Meter) -> int:
    """What ``streams ingress`` runs."""
    from streams.adapters import build_adapters
    from streams.ingress import serve
    from streams.providers._http import HttpExchange
    from streams.settings import load_settings

    if config["profile"]:
        profile_on_signals(config["profile"])
    settings = load_settings(config["config"])
    return serve(settings, lambda: (build_adapters(settings), HttpExchange()))


def bare(config: Config, meter: Meter) -> int:
    """As little as a server can do with a request."""
    import uvloop
    from aiohttp import web

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        return web.Response(status=200)

    async def serve() -> None:
        runner = web.ServerRunner(web.Server(handle, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", config["port"], backlog=1024).start()
        await asyncio.Event().wait()

    uvloop.run(serve())
    return 0


# --------------------------------------------------------------------------------------------- the load


def load(config: Config, meter: Meter) -> int:
    """Post all requests over all connections; the server is metered meanwhile."""
    import uvloop

    requests = [_request(n, config["port"]) for n in range(config["count"])]
    warm_up = requests[: max(100, len(requests) // 20)]

    async def run() -> None:
        loop = asyncio.get_running_loop()
        posts = [(await loop.create_connection(_Post, "127.0.0.1", config["port"]))[1] for _ in range(_CONNECTIONS)]
        await _post_all(posts, warm_up)
        meter.begin()
        await _post_all(posts, requests)
        meter.end(len(requests))

    uvloop.run(run())
    return 0


class _Post(asyncio.Protocol):
    """One kept-alive connection with at most one request under way."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answered: asyncio.Future[None] | None = None
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def post(self, request: bytes) -> asyncio.Future[None]:
        """Send; the result is set when a complete 200 has come."""
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answered

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end or self._answered is None:
            return
        length = _LENGTH.search(head)
        if len(body) < (int(length[1]) if length else 0):
            return
        ok = self._buffer.startswith(b"HTTP/1.1 200")
        self._buffer = b""
        if ok:
            self._answered.set_result(None)
        else:
            self._answered.set_exception(BenchFailed(f"the server answered {head[:80]!r} {body[:120]!r}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(BenchFailed("the server closed the connection"))


async def _post_all(posts: list[_Post], requests: list[bytes]) -> None:
    left = iter(requests)

    async def one(post: _Post) -> None:
        for request in left:
            await post.post(request)

    await asyncio.gather(*(one(post) for post in posts))


def _request(number: int, port: int) -> bytes:
    body = webhook(number, int(time.time()))
    return (
        f"POST {_PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: Go-http-client/2.0\r\n"
        f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n"
    ).encode() + body


def webhook(number: int, signed_s: int) -> bytes:
    """A signed ``delivered`` webhook of Mailgun's shape and size."""
    token = sha256(str(number).encode()).hexdigest()[:50]
    signature = hmac.new(SIGNING_KEY.encode(), f"{signed_s}{token}".encode(), sha256).hexdigest()
    address = f"customer.{number}@mail.example.com"
    event = {
        "event": "delivered",
        "id": token[:22],
        "timestamp": signed_s + 0.25,
        "log-level": "info",
        "recipient": address,
        "recipient-domain": "mail.example.com",
        "tags": ["order", "confirmation"],
        "campaigns": [],
        "user-variables": {"message_id": f"{number:020d}-{'a' * 20}", "attempt": "1"},
        "flags": {"is-routed": False, "is-authenticated": True, "is-system-test": False, "is-test-mode": False},
        "message": {
            "headers": {
                "to": address,
                "message-id": f"20260101.{number:08x}@mg.shop.example.com",
                "from": "Shop <orders@mg.shop.example.com>",
                "subject": f"Your order {number} is on its way",
            },
            "attachments": [],
            "size": 4821,
        },
        "envelope": {
            "transport": "smtp",
            "sender": "orders@mg.shop.example.com",
            "sending-ip": "192.0.2.1",
            "targets": address,
        },
        "delivery-status": {
            "attempt-no": 1,
            "code": 250,
            "message": "OK",
            "description": "",
            "mx-host": "mx.mail.example.com",
            "tls": True,
            "certificate-verified": True,
            "session-seconds": 0.4,
        },
        "storage": {
            "url": "https://storage-us-east4.api.mailgun.net/v3/domains/mg.shop.example.com/messages/BAABAAEF",
            "key": "BAABAAEF",
        },
    }
    return json.dumps(
        {"signature": {"timestamp": str(signed_s), "token": token, "signature": signature}, "event-data": event}
    ).encode()

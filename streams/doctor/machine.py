"""This machine: the ingress's port and public address, the data directory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from streams.doctor.finding import Finding, bad, good
from streams.ingress import PortTaken, listen
from streams.providers.base import Exchange, HttpRequest, HttpResponse
from streams.settings import IngressSettings, WorkerSettings

_DEADLINE_S = 5.0


async def check_ingress(options: IngressSettings, exchange: Exchange) -> list[Finding]:
    """Whether the ingress can listen (or does already), and whether it is reached from outside."""
    return [await _port(options, exchange), *([await _public(options, exchange)] if options.public_url else [])]


async def _port(options: IngressSettings, exchange: Exchange) -> Finding:
    check = "ingress port"
    address = f"{options.host}:{options.port}"
    try:
        listen(options).close()
    except PortTaken as exc:
        host = "127.0.0.1" if options.host in ("0.0.0.0", "") else options.host  # noqa: S104 - compared, not bound
        if await _live(f"http://{host}:{options.port}", exchange) == "":
            return good(check, f"an ingress is running at {address}")
        return bad(check, str(exc), f"end what uses {address} (`ss -ltnp`), or set [ingress] port")
    return good(check, f"{address} is free")


async def _public(options: IngressSettings, exchange: Exchange) -> Finding:
    check = "ingress reachable"
    why = await _live(options.public_url.rstrip("/"), exchange)
    if not why:
        return good(check, f"{options.public_url} answers")
    advice = "start `streams ingress`; then look at name, certificate, firewall and proxy between it and the internet"
    return bad(check, f"{options.public_url}/health/live does not answer: {why}", advice)


async def _live(base: str, exchange: Exchange) -> str:
    """Empty if an ingress answers there, else why not."""
    answer = await exchange(HttpRequest("GET", f"{base}/health/live"), _DEADLINE_S)
    if not isinstance(answer, HttpResponse):
        return answer.detail
    return "" if answer.status == 200 and answer.body.strip() == b"ok" else f"status {answer.status}, not an ingress"


def check_data_dir(worker: WorkerSettings, least_bytes: int) -> Iterator[Finding]:
    """Whether a worker can write its tables, and has room for them. Nothing is left behind."""
    check, path = "data directory", Path(worker.data_dir).absolute()
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".streams-doctor-"):
            pass
    except OSError as exc:
        advice = f"set [worker] data_dir to a directory this user may write, or change the rights of {existing}"
        yield bad(check, f"{path} is not writable: {exc.strerror or exc}", advice)
        return
    free = shutil.disk_usage(existing).free
    if free < least_bytes:
        advice = f"free at least {_gib(least_bytes)} on its disk, or set [worker] data_dir elsewhere"
        yield bad(check, f"only {_gib(free)} free for {path}", advice)
    else:
        yield good(check, f"{path} is writable, {_gib(free)} free")


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"

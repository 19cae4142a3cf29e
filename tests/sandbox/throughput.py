"""What the sandbox costs: prints sends, recipients and reported events per CPU-second of its process.

`python -m tests.sandbox.throughput`. Not a test: figures depend on the machine. The load comes from raw sockets in this
process, so that the client is not what is measured.
"""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

import uvloop

from tests.sandbox.process import start

AUTH = "Basic " + b64encode(b"api:key-sandbox").decode()


class Client(asyncio.Protocol):
    """Sends one request after the other on one connection."""

    def __init__(self, requests: list[bytes], done: asyncio.Future[None]) -> None:
        self._requests, self._done, self._buffer = requests, done, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._requests.pop())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        length = int(head[head.find(b"content-length:") + 15 :].split(b"\r\n")[0])
        if len(self._buffer) < end + 4 + length:
            return
        assert head.startswith(b"http/1.1 200"), self._buffer
        self._buffer = b""
        if self._requests:
            self._transport.write(self._requests.pop())
        else:
            self._transport.close()
            self._done.set_result(None)


class Receiver(asyncio.Protocol):
    """Answers 200 to every POST; reads just enough."""

    received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._buffer = cast("asyncio.Transport", transport), b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        marker = self._buffer.find(b"Content-Length: ")
        if len(self._buffer) >= end + 4 + int(self._buffer[marker + 16 : end].split(b"\r\n")[0]):
            self._buffer = b""
            Receiver.received += 1
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def post(path: str, kind: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: sandbox\r\nAuthorization: {AUTH}\r\nContent-Type: {kind}\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def simple(number: int) -> bytes:
    form = {"from": "a@mg.example.com", "to": f"u{number}@example.net", "subject": "hi", "text": "hello " * 40,
            "v:message_id": f"m-{number}", "o:tag": "bench"}  # fmt: skip
    return post("/v3/mg.example.com/messages", "application/x-www-form-urlencoded", urlencode(form).encode())


def batch(number: int, multipart: bool) -> bytes:
    people = [f"u{number}-{index}@example.net" for index in range(1000)]
    variables = {address: {"mid": f"m-{address}", "name": "Somebody"} for address in people}
    fields = {"from": "a@mg.example.com", "to": ",".join(people), "subject": "hi %recipient.name%",
              "html": "<p>dear %recipient.name%</p>" * 40, "v:message_id": "%recipient.mid%",
              "recipient-variables": json.dumps(variables)}  # fmt: skip
    if not multipart:
        return post("/v3/mg.example.com/messages", "application/x-www-form-urlencoded", urlencode(fields).encode())
    parts = [f'--b0undary\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    body = ("".join(parts) + "--b0undary--\r\n").encode()
    return post("/v3/mg.example.com/messages", "multipart/form-data; boundary=b0undary", body)


def ses_simple(number: int) -> bytes:
    body = {
        "FromEmailAddress": "a@example.com",
        "Destination": {"ToAddresses": [f"u{number}@example.net"]},
        "Content": {"Simple": {"Subject": {"Data": "hi"}, "Body": {"Text": {"Data": "hello " * 40}}}},
        "EmailTags": [{"Name": "message_id", "Value": f"m-{number}"}],
        "ConfigurationSetName": "events",
    }
    return post("/v2/email/outbound-emails", "application/json", json.dumps(body).encode())


async def load(url: str, requests: list[bytes], connections: int) -> None:
    loop, parts = asyncio.get_running_loop(), urlsplit(url)
    waiting = []
    for number in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        waiting.append(done)
        share = requests[number::connections]
        await loop.create_connection(lambda share=share, done=done: Client(share, done), parts.hostname, parts.port)  # type: ignore[misc]
    await asyncio.gather(*waiting)


async def stats(url: str) -> dict[str, Any]:
    def read() -> dict[str, Any]:
        with urlopen(url + "/sandbox/stats") as answer:
            return dict(json.load(answer))

    return await asyncio.to_thread(read)


async def measure(name: str, url: str, requests: list[bytes], connections: int, unit: str) -> None:
    loop = asyncio.get_running_loop()
    before, begun = await stats(url), loop.time()
    await load(url, requests, connections)
    while (after := await stats(url))["pending_webhooks"]:
        await asyncio.sleep(0.05)
    wall, cpu = loop.time() - begun, after["cpu_s"] - before["cpu_s"]
    if unit == "events":
        count = sum(sum(kinds.values()) for kinds in after["reported"].values()) - sum(
            sum(kinds.values()) for kinds in before["reported"].values()
        )
    else:
        count = after["recipients"] - before["recipients"]
    print(f"{name:44} {count:7} {unit:10} {count / cpu:9.0f} per CPU-s   {count / wall:9.0f} per s")


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Receiver, "127.0.0.1", 0)
    hook = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    with tempfile.TemporaryDirectory() as directory:
        process, url = await asyncio.to_thread(start, Path(directory, "quiet.jsonl"))
        try:
            await measure("mailgun, simple forms, 64 connections", url, [simple(n) for n in range(20000)], 64, "sends")
            await measure("mailgun, simple forms, 1 connection", url, [simple(-n) for n in range(2000)], 1, "sends")
            await measure(
                "mailgun, batches of 1000, urlencoded", url, [batch(n, False) for n in range(80)], 4, "recipients"
            )
            await measure(
                "mailgun, batches of 1000, multipart", url, [batch(-n, True) for n in range(1, 80)], 4, "recipients"
            )
            await measure("ses, SendEmail, 64 connections", url, [ses_simple(n) for n in range(10000)], 64, "sends")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
        process, url = await asyncio.to_thread(start, Path(directory, "loud.jsonl"), hook, hook)
        try:
            batches = [batch(n, True) for n in range(20)]
            await measure("mailgun, batches with webhooks", url, batches, 4, "events")
            await measure("ses, SendEmail with SNS events", url, [ses_simple(n) for n in range(2000)], 16, "events")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
    server.close()


if __name__ == "__main__":
    uvloop.run(main())

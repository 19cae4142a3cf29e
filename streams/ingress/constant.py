"""The one answer that is given thousands of times a second: "stored", without a body, written in one piece.

aiohttp builds every response anew; that costs as much as verifying and storing the webhook. This one is built once per
second, for its date. It serves HTTP/1.1 connections that stay open; any other gets an ordinary response.
"""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus

from aiohttp import HttpVersion11
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web import BaseRequest, Response, StreamResponse


class ConstantAnswer(StreamResponse):
    """A response with ``status`` and no body. Keeps nothing of a request: one object answers all."""

    def __init__(self, status: int) -> None:
        super().__init__(status=status)
        self._second = 0
        self._bytes = b""

    @property
    def keep_alive(self) -> bool:
        return True

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the sender has left")
        second = int(time.time())
        if second != self._second:
            self._second, self._bytes = second, self._written(second)
        transport.write(self._bytes)
        return None

    async def write_eof(self, data: object = b"") -> None:
        """All has been written."""

    def _written(self, second: int) -> bytes:
        length = "" if self.status == HTTPStatus.NO_CONTENT else "Content-Length: 0\r\n"
        phrase = HTTPStatus(self.status).phrase
        return f"HTTP/1.1 {self.status} {phrase}\r\n{length}Date: {formatdate(second, usegmt=True)}\r\n\r\n".encode()


def answer_to(request: BaseRequest, constant: ConstantAnswer) -> StreamResponse:
    """``constant`` where the connection stays open, else a response that ends it properly."""
    if request.keep_alive and request.version == HttpVersion11:
        return constant
    return Response(status=constant.status)

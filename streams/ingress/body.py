"""Reads a request's body within a size and a time, compressed ones too.

Rules:

1. A body that lies there already costs no timer and no task switch.
2. Not more than the limit is ever held: neither of a chunked stream nor of what a compressed one unfolds to.
3. Bodies that are still arriving share :class:`Arriving`: a thousand strangers with half a body each are not a
   thousand times the limit. Whoever sends a body at once is served all the same.
"""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import hdrs
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import BaseRequest, PayloadAccessError, RequestPayloadError

_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


@dataclass(slots=True)
class Arriving:
    """Bytes held of bodies that have not arrived as a whole, of all requests of a process together."""

    most: int = 64 * 1024 * 1024
    now: int = 0


class Unusable(StrEnum):
    """Why there is no body."""

    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    TOO_SLOW = "too_slow"
    TOO_MANY = "too_many"


async def read_body(request: BaseRequest, limit: int, timeout_s: float, arriving: Arriving) -> bytes | Unusable:
    """The body, decompressed, at most ``limit`` bytes."""
    length = request.content_length
    if length is not None and length > limit:
        return Unusable.TOO_LARGE
    encoding = request.headers.get(hdrs.CONTENT_ENCODING)
    content = request.content
    if content.is_eof() and content.exception() is None:
        raw: bytes | Unusable = content.read_nowait()
    else:
        raw = await _read_slowly(request, limit, timeout_s, arriving)
    if isinstance(raw, Unusable):
        return raw
    if len(raw) > limit:
        return Unusable.TOO_LARGE
    return raw if encoding is None else _decompressed(raw, encoding.strip().lower(), limit)


async def _read_slowly(request: BaseRequest, limit: int, timeout_s: float, arriving: Arriving) -> bytes | Unusable:
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            while chunk := await request.content.readany():
                body += chunk
                arriving.now += len(chunk)
                if len(body) > limit:
                    return Unusable.TOO_LARGE
                if arriving.now > arriving.most:
                    return Unusable.TOO_MANY
    except TimeoutError:
        return Unusable.TOO_SLOW
    except (RequestPayloadError, PayloadAccessError, HttpProcessingError):
        return Unusable.MALFORMED
    finally:
        arriving.now -= len(body)
    return bytes(body)


def _decompressed(raw: bytes, encoding: str, limit: int) -> bytes | Unusable:
    if encoding in ("", "identity"):
        return raw
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return Unusable.MALFORMED
    unfold = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        body = unfold.decompress(raw, limit + 1)
    except zlib.error:
        return Unusable.MALFORMED
    if len(body) > limit:
        return Unusable.TOO_LARGE
    return body if unfold.eof and not unfold.unused_data else Unusable.MALFORMED

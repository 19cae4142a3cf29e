"""All files of a request, within one deadline; what several requests name at about the same time is fetched once.

Rules:

1. Every failure is a sentence that names the attachment and never the URL's path or query, which may be a secret.
2. What passes (a 503, a broken connection) is tried again while the deadline allows; what does not, is not.
3. What the server says a file is must be what the sender said it is: a log-in page is no invoice.
4. Memory is bounded: files per request by its own limit, files kept for others by ``kept_bytes`` and a short time.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from aiohttp.abc import AbstractResolver

from streams.attachments.guard import Bucket, Refused, Web, target_of
from streams.attachments.https import File, HttpsFiles
from streams.attachments.s3 import S3Files
from streams.core.message import Attachment

UNKNOWN_TYPE = "application/octet-stream"

_TRIES = 3
_PAUSE_S = 0.3
_KEPT_S = 30.0
_media_type = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,62}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,62}").fullmatch
_ANYTHING = frozenset({"", UNKNOWN_TYPE, "binary/octet-stream", "application/force-download", "application/x-download"})
_ALIKE = (
    {"application/zip", "application/x-zip-compressed"},
    {"image/jpeg", "image/jpg"},
    {"text/xml", "application/xml"},
)


@dataclass(frozen=True, slots=True)
class FetcherConfig:
    """See ``[attachments]``; ``total_bytes`` is what all attachments of a request may have together."""

    max_bytes: int = 10 * 1024 * 1024
    total_bytes: int = 25 * 1024 * 1024
    deadline_s: float = 15.0
    allow_hosts: tuple[str, ...] = ()
    s3_buckets: tuple[str, ...] = ()
    s3_region: str = ""
    s3_endpoint: str = ""
    kept_bytes: int = 32 * 1024 * 1024


class Fetcher:
    """``tls``, ``resolver`` and ``clock`` are for tests and for authorities of one's own. :meth:`close` at the end."""

    def __init__(
        self,
        config: FetcherConfig,
        *,
        tls: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._https = HttpsFiles(config.allow_hosts, tls, resolver)
        self._s3 = S3Files(config.s3_region, config.s3_endpoint)
        self._clock = clock
        self._kept: OrderedDict[str, tuple[File, float]] = OrderedDict()
        self._bytes = 0
        self._under_way: dict[str, asyncio.Task[File | Refused]] = {}

    async def fetch(self, attachments: Sequence[Attachment]) -> tuple[Attachment, ...] | str:
        """The attachments with their bytes, those by URL fetched; or a sentence about the first that could not be."""
        by_url = [one.url for one in attachments if one.url]
        files = await asyncio.gather(*(self._file(url) for url in dict.fromkeys(by_url)))
        found = dict(zip(dict.fromkeys(by_url), files, strict=True))
        complete: list[Attachment] = []
        for number, one in enumerate(attachments):
            if one.url:
                file = found[one.url]
                filled = file if isinstance(file, Refused) else _filled(one, file)
                if isinstance(filled, Refused):
                    return f"attachments[{number}].url {filled.why}"
                one = filled
            complete.append(one)
        total = sum(len(one.data) for one in complete)
        if total > self._config.total_bytes:
            return f"attachments have {total} bytes together, at most {self._config.total_bytes} are allowed"
        return tuple(complete)

    async def close(self) -> None:
        """Give up what is under way, and all connections."""
        for task in self._under_way.values():
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        await self._https.close()

    async def _file(self, url: str) -> File | Refused:
        kept = self._kept.get(url)
        if kept is not None and self._clock() < kept[1]:
            return kept[0]
        task = self._under_way.get(url)
        if task is None:
            task = self._under_way[url] = asyncio.create_task(self._within_deadline(url))
            task.add_done_callback(lambda _: self._under_way.pop(url, None))
        return await asyncio.shield(task)

    async def _within_deadline(self, url: str) -> File | Refused:
        target = target_of(url, self._config.allow_hosts, self._config.s3_buckets)
        if isinstance(target, Refused):
            return target
        try:
            async with asyncio.timeout(self._config.deadline_s):
                found = await self._tried(target)
        except TimeoutError:
            return Refused(f"could not be fetched within {self._config.deadline_s:g} s")
        if isinstance(found, File):
            self._keep(url, found)
        return found

    async def _tried(self, target: Web | Bucket) -> File | Refused:
        config, found = self._config, Refused("was not fetched")
        for number in range(_TRIES):
            if number:
                await asyncio.sleep(_PAUSE_S * 2**number)
            if isinstance(target, Bucket):
                answer = await self._s3.fetch(target, config.max_bytes, config.deadline_s)
            else:
                answer = await self._https.fetch(target, config.max_bytes)
            if isinstance(answer, File) or not answer.again:
                return answer
            found = answer
        return found

    def _keep(self, url: str, file: File) -> None:
        if (old := self._kept.pop(url, None)) is not None:
            self._bytes -= len(old[0].data)
        self._kept[url] = (file, self._clock() + _KEPT_S)
        self._bytes += len(file.data)
        while self._kept and (
            self._bytes > self._config.kept_bytes or self._clock() >= next(iter(self._kept.values()))[1]
        ):
            _, (dropped, _) = self._kept.popitem(last=False)
            self._bytes -= len(dropped.data)


def _filled(attachment: Attachment, file: File) -> Attachment | Refused:
    said = file.content_type.partition(";")[0].strip().lower()
    wanted = attachment.content_type.partition(";")[0].strip().lower()
    if wanted == UNKNOWN_TYPE:
        kind = said if _media_type(said) and said not in _ANYTHING else UNKNOWN_TYPE
        return replace(attachment, content_type=kind, data=file.data, url="")
    if said in _ANYTHING or said == wanted or any({said, wanted} <= alike for alike in _ALIKE):
        return replace(attachment, data=file.data, url="")
    shown = said if _media_type(said) else "something else"
    return Refused(f"is {shown}, not {wanted}")

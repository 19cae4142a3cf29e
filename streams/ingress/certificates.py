"""Fetches signing certificates for adapters that ask for one: once at a time, and few at all.

The adapter decides which addresses are allowed and remembers good and bad answers; here a hundred webhooks that need
the same certificate wait for one fetch, and made-up addresses cannot start more than a few.
"""

from __future__ import annotations

import asyncio

from streams.providers.base import CertificateNeeded, Exchange, Inbound, Provider, Verdict, judge

_MOST_AT_ONCE = 8


class CertificateFetches:
    """The fetches under way. Without an exchange nothing is fetched."""

    def __init__(self, exchange: Exchange | None) -> None:
        self._exchange = exchange
        self._under_way: dict[tuple[int, str], asyncio.Task[Verdict]] = {}

    async def judge(self, adapter: Provider, inbound: Inbound, needed: CertificateNeeded, now_ms: int) -> Verdict:
        """The adapter's verdict once the certificate is there; still ``CertificateNeeded`` if it cannot be had."""
        if self._exchange is None or needed.retry_at_ms > now_ms:
            return needed
        key = (id(adapter), needed.url)
        task = self._under_way.get(key)
        if task is not None:
            await asyncio.wait([task])
            return adapter.verify(inbound, now_ms)
        if len(self._under_way) >= _MOST_AT_ONCE:
            return needed
        task = asyncio.create_task(judge(adapter, inbound, self._exchange, now_ms))
        self._under_way[key] = task
        task.add_done_callback(lambda _: self._under_way.pop(key))
        return await task

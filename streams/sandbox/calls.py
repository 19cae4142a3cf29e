"""The last API calls, so that a test can say what came too early. Bounded: the oldest leave first."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from aiohttp import web

from streams.sandbox.faults import Fault

_MOST: Final = 100_000
_FIELDS: Final = ("provider", "account", "sends", "began_ms", "answered_ms", "status", "retry_after", "fault", "key")


class Calls:
    """In the order of their answers, which for a fault that gives none is when its connection was cut."""

    def __init__(self) -> None:
        self._calls: deque[tuple[Any, ...]] = deque(maxlen=_MOST)

    def add(self, provider: str, account: str, sends: bool, began_ms: int, answered_ms: int,
            response: web.StreamResponse, fault: Fault | None, key: str) -> None:  # fmt: skip
        """Keeps one call; ``response`` is what the client was told, or would have been, ``fault`` what struck, ``key``
        the API key or access key id that came with it.
        """
        retry_after = response.headers.get("Retry-After", "")
        struck = "" if fault is None else fault.kind.value
        status = response.status
        self._calls.append((provider, account, sends, began_ms, answered_ms, status, retry_after, struck, key))

    def since(self, since_ms: int, provider: str | None) -> list[dict[str, Any]]:
        """Calls answered from then on, of one provider or of all."""
        return [
            dict(zip(_FIELDS, call, strict=True))
            for call in self._calls
            if call[4] >= since_ms and provider in (None, call[0])
        ]

"""The last calls, so that a test can look at a copy as it was sent. Bounded by number and by bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

_MAX_CALLS: Final = 500
_MAX_BYTES: Final = 32 * 1024 * 1024

Rendered = Callable[[str], dict[str, Any] | None]


class Recent:
    """Calls by id; the oldest leave first."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, tuple[int, Rendered]] = OrderedDict()
        self._bytes = 0

    def add(self, call_id: str, size: int, rendered: Rendered) -> None:
        """Keeps a call; `size` is what it roughly holds in memory, in bytes."""
        if size > _MAX_BYTES:
            return
        self._calls[call_id] = (size, rendered)
        self._bytes += size
        while len(self._calls) > _MAX_CALLS or self._bytes > _MAX_BYTES:
            _, (dropped, _) = self._calls.popitem(last=False)
            self._bytes -= dropped

    def rendered(self, call_id: str, recipient: str) -> dict[str, Any] | None:
        """The copy of a recipient, or None when the call or the recipient is not known (any more)."""
        call = self._calls.get(call_id)
        return None if call is None else call[1](recipient)

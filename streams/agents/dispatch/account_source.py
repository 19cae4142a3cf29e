"""What dispatch asks about accounts; the answers come from the settings and the topic ``tenants``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from streams.agents.dispatch.config import LaneConfig
from streams.core.accounts import Account
from streams.core.event import Reason
from streams.core.tenant import Tenant
from streams.core.warm_up import WarmUp
from streams.providers.base import Provider

Signature = tuple[int, int, int]
"""What tells one state of a file from another: time, size and inode; zeros if it is not there."""

Files = tuple[tuple[str, Signature], ...]
"""Paths and their states."""


_ASK_AGAIN_MS = 300_000
_TRY_AGAIN_MS = 60_000


@dataclass(slots=True)
class Opened:
    """What came of opening an account: an adapter, or the reason why there is none.

    ``digest`` tells whether anything was different; ``files`` are looked at for changes; ``asks`` is True where a
    secret lies in a place that tells nobody of changes. ``since_ms``: since when the digest has been the same.
    """

    adapter: Provider | None
    reason: Reason | None = None
    digest: bytes = b""
    files: Files = ()
    asks: bool = False
    at_ms: int = 0
    since_ms: int = 0
    warm_up: WarmUp | None = None
    limits: Callable[[LaneConfig], LaneConfig] = field(default=lambda base: base)
    """The lane's configuration from that of the provider."""

    @property
    def can_change(self) -> bool:
        """Whether a secret of it may be another one now; variables of the environment stay what they are."""
        return bool(self.files) or self.asks

    def is_due(self, now_ms: int) -> bool:
        """Whether to open it anew although no file has changed: it could not be, or its secret tells nobody."""
        wait_ms = _TRY_AGAIN_MS if self.reason is not None else _ASK_AGAIN_MS if self.asks else None
        return wait_ms is not None and now_ms - self.at_ms >= wait_ms

    def differs(self, before: Opened) -> bool:
        """Whether it is known to have been opened with other secrets."""
        if before.digest:
            return before.digest != self.digest
        return before.files != self.files or before.reason is not None


class AccountSource(Protocol):
    """``tenant`` and ``any_configured`` answer at once, the others may block and are asked in a thread."""

    def tenant(self, name: str) -> Tenant | None:
        """The tenant's record, as far as it is known."""

    def any_configured(self) -> bool:
        """Whether the settings give any tenant an account."""

    def open(self, account: Account, now_ms: int) -> Opened:
        """Resolve the references and build the adapter; a mistake is the reason, never an exception."""

    def watch(self, account: Account) -> Opened:
        """What to look at for an account whose adapter is built already."""

    def changed(self, opened: Opened) -> bool:
        """Whether a file that it was opened with is another one now."""

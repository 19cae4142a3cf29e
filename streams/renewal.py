"""Adapters whose secrets are read again when they change: for the ingress, the pollers, and what a worker asks besides.

Rules:

1. A file counts as changed when it has rested from one look to the next: who replaces two of them is not cut in half.
2. What cannot be read leaves the adapter as it was, is told, and is tried again.
3. Secrets in the environment stay what they are; those of a secrets manager are asked for now and then.
4. Files are described before the adapters are built, so that no change is missed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping

from streams.accounts import Accounts
from streams.adapters import build_adapters
from streams.agents.configuration import tenants
from streams.agents.dispatch.account_source import Files
from streams.core.accounts import Account
from streams.providers.base import Provider
from streams.settings import Settings

log = logging.getLogger(__name__)

Tell = Callable[[str, str], None]
"""A provider, and what came of its changed secrets: ``read`` or ``failed``."""


class Renewal:
    """Keeps ``adapters``, by ``name`` and ``name/account``, up to date: :meth:`look` blocks and is called in a thread.

    ``tell`` None: somebody else tells the same.
    """

    def __init__(
        self,
        settings: Settings,
        env: Mapping[str, str] | None = None,
        tell: Tell | None = None,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.tell = tell
        self._clock_ms = clock_ms
        self._source = Accounts(settings, tenants(_Nothing()), env)
        self._accounts = {account.lane: account for account in _configured(settings)}
        self.watched = {name: self._source.watch(account) for name, account in self._accounts.items()}
        for opened in self.watched.values():
            opened.at_ms = clock_ms()
        self._moving: dict[str, Files] = {}
        self.adapters: dict[str, Provider] = build_adapters(settings, env)

    def look(self, *, at_all: bool = False) -> dict[str, Provider]:
        """The adapters that are new, by name; ``at_all`` reads every secret that can have changed."""
        now_ms = self._clock_ms()
        moving = {
            name: self._source.watch(self._accounts[name]).files
            for name, opened in self.watched.items()
            if self._source.changed(opened)
        }
        due = [
            name
            for name, opened in self.watched.items()
            if (opened.can_change and at_all) or opened.is_due(now_ms) or _has_rested(name, moving, self._moving)
        ]
        self._moving = moving
        return {name: adapter for name in due if (adapter := self._renewed(name, now_ms)) is not None}

    def _renewed(self, name: str, now_ms: int) -> Provider | None:
        before = self.watched[name]
        opened = self.watched[name] = self._source.open(self._accounts[name], now_ms)
        if opened.adapter is None:
            opened.digest = before.digest
            self._told(name, "failed", opened.reason.detail if opened.reason is not None else "")
            return None
        if not opened.differs(before):
            return None
        self.adapters[name] = opened.adapter
        self._told(name, "read", "")
        return opened.adapter

    def _told(self, name: str, result: str, why: str) -> None:
        if self.tell is None:
            return
        if result == "read":
            log.info("credentials of %s were read anew", name)
        else:
            log.error("%s keeps its credentials: %s", name, why)
        self.tell(name.partition("/")[0], result)


class _Nothing:
    """No tenants: only what is configured is renewed here."""

    def get(self, key: bytes, /) -> bytes | None:
        return None

    def items(self) -> list[tuple[bytes, bytes]]:
        return []

    async def caught_up(self) -> None:
        """There is nothing to be read."""


def _configured(settings: Settings) -> Iterator[Account]:
    for name, provider in settings.providers.items():
        yield Account(name)
        yield from (Account(name, account, base=account) for account in provider.accounts)


def _has_rested(name: str, moving: Mapping[str, Files], before: Mapping[str, Files]) -> bool:
    return name in moving and moving[name] == before.get(name)

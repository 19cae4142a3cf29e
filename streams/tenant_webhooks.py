"""Webhooks of accounts that tenants have brought: whose keys verify what arrives at ``/webhooks/PROVIDER/TENANT``.

Rules:

1. The topic ``tenants`` is read when somebody asks, and again after a while; however many ask for tenants that do not
   exist, it is read every few seconds at most.
2. An account that cannot be opened is none: its webhooks are not found here, and the provider keeps them and tries
   again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from streams.accounts import Accounts
from streams.agents.configuration import Configured, tenants
from streams.agents.dispatch.account_source import Opened
from streams.configured import configured_tenants, topics_of
from streams.core.accounts import Account, account_of
from streams.core.tenant import Tenant
from streams.kafka import KafkaClient, KafkaUnavailable, TopicMissing
from streams.providers.base import Provider
from streams.renewal import Renewal, Tell
from streams.settings import Settings, librdkafka_options
from streams.topics import TENANTS

log = logging.getLogger(__name__)

_FRESH_S = 20.0
_PATIENCE_S = 3.0
_LOOK_S = 2.0
_MOST = 10_000


class _Rows:
    """The topic as it was last read."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def get(self, key: bytes, /) -> bytes | None:
        return self.rows.get(key)

    def items(self) -> list[tuple[bytes, bytes]]:
        return list(self.rows.items())

    async def caught_up(self) -> None:
        """Whoever reads it decides when."""


class TenantWebhooks(dict[str, Provider]):
    """The configured adapters, and on request those of tenants' own accounts."""

    def __init__(
        self,
        settings: Settings,
        env: Mapping[str, str] | None = None,
        *,
        read: Callable[[], dict[bytes, bytes]] | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.renewal = Renewal(settings, env)
        super().__init__(self.renewal.adapters)
        self._settings = settings
        self._rows = _Rows()
        self._known: Configured[Tenant] = tenants(self._rows, configured_tenants(settings))
        self._accounts = Accounts(settings, self._known, env)
        self._read = read or self._read_topic
        self._clock_s = clock_s
        self._read_s = float("-inf")
        self._reading = asyncio.Lock()
        self._opened: dict[str, tuple[Account, Opened, float]] = {}

    async def renew(self, tell: Tell, *, at_all: bool) -> bool:
        """Take over configured adapters whose secrets are others now; whether there are any."""
        self.renewal.tell = tell
        changed = await asyncio.to_thread(self.renewal.look, at_all=at_all)
        self.update(changed)
        return bool(changed)

    async def of_tenant(self, provider: str, tenant: str) -> Provider | None:
        """The adapter of the tenant's own account there; None if it has none, or if it cannot be opened."""
        if provider not in self._settings.providers:
            return None
        await self._refresh(tenant)
        account = account_of(self._known.get(tenant), provider)
        if not account.settings:
            return None
        now_s = self._clock_s()
        before, opened, looked_s = self._opened.get(account.lane, (None, None, 0.0))
        if before == account and opened is not None and now_s - looked_s < _LOOK_S:
            return opened.adapter
        if before != account or opened is None or opened.adapter is None or self._accounts.changed(opened):
            opened = await asyncio.to_thread(self._accounts.open, account, 0)
            if opened.reason is not None:
                log.warning("webhooks of %s are not taken: %s", account.lane, opened.reason.detail)
        if len(self._opened) >= _MOST:
            self._opened.clear()
        self._opened[account.lane] = (account, opened, now_s)
        return opened.adapter

    async def _refresh(self, tenant: str) -> None:
        """Read the topic again where it is old, or somewhat old and does not know the tenant."""
        if self._is_fresh(tenant):  # who is known does not wait for what strangers make us read
            return
        async with self._reading:
            if self._is_fresh(tenant):
                return
            try:
                self._rows.rows = await asyncio.to_thread(self._read)
            except (KafkaUnavailable, TopicMissing) as exc:
                log.warning("the tenants cannot be read: %s", exc)
            self._read_s = self._clock_s()

    def _is_fresh(self, tenant: str) -> bool:
        age_s = self._clock_s() - self._read_s
        return age_s < _PATIENCE_S or (age_s < _FRESH_S and self._rows.get(tenant.encode()) is not None)

    def _read_topic(self) -> dict[bytes, bytes]:
        kafka = self._settings.kafka
        with KafkaClient(kafka.bootstrap, librdkafka_options(kafka)) as client:
            return client.table(topics_of(self._settings).name(TENANTS))

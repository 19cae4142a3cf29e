"""Paths of tenants' own accounts, ``/webhooks/PROVIDER/TENANT``: looked up when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, runtime_checkable
from urllib.parse import unquote

from streams.core.request_fields import is_name
from streams.providers.base import Provider

_PREFIX = "/webhooks/"
_MOST = 10_000

R = TypeVar("R")


@runtime_checkable
class FindsTenants(Protocol):
    """Adapters that also know those of tenants."""

    async def of_tenant(self, provider: str, tenant: str) -> Provider | None:
        """The adapter of the tenant's own account there; None if there is none."""


@runtime_checkable
class Renews(Protocol):
    """Adapters that read their secrets again."""

    async def renew(self, tell: Callable[[str, str], None], *, at_all: bool) -> bool:
        """Take over those whose secrets have changed (``at_all``: look at every secret); whether there are any.

        ``tell`` is given a provider and what came of it: read, or failed.
        """


class TenantRoutes(Generic[R]):
    """``make`` gives the route of a provider, tenant and adapter; it is kept for as long as the adapter is the same."""

    def __init__(self, tenants: FindsTenants, make: Callable[[str, str, Provider], R | None]) -> None:
        self._tenants = tenants
        self._make = make
        self._made: dict[str, tuple[Provider, R]] = {}

    async def find(self, path: str) -> R | None:
        """The route of a path that is none of the configured ones."""
        provider, slash, tenant = path.removeprefix(_PREFIX).partition("/")
        if not path.startswith(_PREFIX) or not slash or not tenant or "/" in tenant:
            return None
        tenant = unquote(tenant)
        if not is_name(tenant):  # no request can be of such a tenant
            return None
        adapter = await self._tenants.of_tenant(provider, tenant)
        if adapter is None:
            self._made.pop(path, None)
            return None
        known = self._made.get(path)
        if known is not None and known[0] is adapter:
            return known[1]
        route = self._make(provider, tenant, adapter)
        if route is not None:
            if len(self._made) >= _MOST:
                self._made.clear()
            self._made[path] = (adapter, route)
        return route

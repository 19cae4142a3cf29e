"""Accounts of tenants, from the settings and the topic ``tenants``: who has which, and their adapters when needed.

Rules:

1. References are resolved when an account is opened, not when a worker starts; whatever is wrong with one account is
   the reason why its messages wait, and nobody else's concern.
2. A file is described before it is read, so that a change in between is seen as a change.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, get_type_hints

from streams.agents.configuration import Configured
from streams.agents.dispatch.account_source import Opened, Signature
from streams.agents.dispatch.config import LaneConfig
from streams.configured import lane_config, warm_up
from streams.core.accounts import Account, account_of, forbidden, has_accounts, is_reference, references_in
from streams.core.event import Reason, ReasonKind
from streams.core.tenant import Tenant
from streams.providers import registry
from streams.settings import ProviderSettings, Secret, Settings, SettingsError, provider_options
from streams.settings.accounts import LANE_KEYS, account_settings
from streams.settings.read import fields_of, file_name, is_secret, suggestion

_GONE: Signature = (0, 0, 0)

log = logging.getLogger(__name__)


class Accounts:
    """An :class:`~streams.agents.dispatch.account_source.AccountSource`."""

    def __init__(self, settings: Settings, tenants: Configured[Tenant], env: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._tenants = tenants
        self._env: Mapping[str, str] = os.environ if env is None else env

    def tenant(self, name: str) -> Tenant | None:
        """The tenant's record, as far as it is known."""
        return self._tenants.get(name)

    def any_configured(self) -> bool:
        """Whether the settings give any tenant an account."""
        return any(has_accounts(tenant) for tenant in self._tenants.fallback.values())

    def open(self, account: Account, now_ms: int) -> Opened:
        """Resolve the references and build the adapter; a mistake is the reason, never an exception."""
        why = _fault(self._settings, account)
        opened = Opened(None) if why else self.watch(account)
        opened.at_ms = opened.since_ms = now_ms
        if why:
            opened.reason = _reason(account, f"{_who(account)}: {why}")
            return opened
        try:
            self._open(account, opened)
        except SettingsError as exc:
            opened.reason = _reason(account, str(exc).removeprefix("configuration: "))
        except (ValueError, OSError) as exc:
            opened.reason = _reason(account, " ".join(str(exc).split()))
        except Exception as exc:  # noqa: BLE001 - whatever a tenant wrote is nobody else's concern
            where = traceback.extract_tb(exc.__traceback__)[-1]  # not what it says: that may be the secret
            log.error("%s: the account cannot be opened: %r at %s:%s", _who(account), type(exc), where[0], where[1])
            opened.reason = _reason(account, f"the account cannot be opened ({type(exc).__name__})")
        return opened

    def _open(self, account: Account, opened: Opened) -> None:
        provider = self._settings.providers[account.provider]
        module = registry.load(provider.type)
        merged = account_settings(provider, account.base, account.settings, _who(account), module.Config, self._env)
        config = provider_options(module.Config, merged, env=self._env)
        opened.digest = _digest(config)
        adapter = registry.create(provider.type, account.provider, config)
        prepare = getattr(adapter, "prepare", None)
        if prepare is not None:
            prepare()
        opened.adapter = adapter
        opened.warm_up = warm_up(merged)
        most = adapter.limits.max_recipients
        opened.limits = lambda base: _limits(merged, base, most)

    def watch(self, account: Account) -> Opened:
        """What to look at for an account whose adapter is built already."""
        provider = self._settings.providers[account.provider]
        table = {**provider.options, **provider.accounts.get(account.base, {}), **account.settings}
        references = set(_references(table))
        paths = [one.partition(":")[2] for one in references if one.startswith("file:")]
        files = tuple((path, signature(path)) for path in sorted(paths))
        return Opened(None, files=files, asks=any(one.startswith("aws-") for one in references))

    def changed(self, opened: Opened) -> bool:
        """Whether a file that it was opened with is another one now."""
        return any(signature(path) != before for path, before in opened.files)


def faults(settings: Settings, tenant: Tenant) -> Iterator[str]:
    """What is wrong with a tenant's record, as far as it can be told without its secrets."""
    for provider in (*tenant.accounts, *tenant.account_settings, *([tenant.provider] if tenant.provider else ())):
        if provider not in settings.providers:
            yield f"tenant {tenant.tenant}: there is no provider {provider}{suggestion(provider, settings.providers)}"
            return
    if tenant.retry_policy and tenant.retry_policy not in settings.retry:
        close = suggestion(tenant.retry_policy, settings.retry)
        yield f"tenant {tenant.tenant}: there is no retry policy {tenant.retry_policy}{close}"
    for name in dict.fromkeys((*tenant.accounts, *tenant.account_settings)):
        account = account_of(tenant, name)
        if why := _fault(settings, account):
            yield f"{_who(account)}: {why}"
        yield from _key_faults(settings, account)


def _fault(settings: Settings, account: Account) -> str:
    """Why the account may not be opened; empty if it may."""
    provider = settings.providers[account.provider]
    usual = {**provider.options, **provider.accounts.get(account.base, {})}
    return forbidden(account, settings.dispatch.tenant_secrets, settings.dispatch.tenant_hosts, usual)


def _key_faults(settings: Settings, account: Account) -> Iterator[str]:
    provider = settings.providers[account.provider]
    config = registry.load(provider.type).Config
    if account.base and account.base not in provider.accounts:
        close = suggestion(account.base, provider.accounts)
        yield f"{_who(account)}: {provider.name} has no account {account.base}{close}"
    hints = get_type_hints(config)
    known = {file_name(item): is_secret(item) or hints[item.name] is Secret for item in fields_of(config)}
    for key, value in account.settings.items():
        if key not in known and key not in LANE_KEYS:
            yield f"{_who(account)}: {provider.name}.{key} is not a known key{suggestion(key, known)}"
        elif known.get(key) and not is_reference(value):
            yield (
                f"{_who(account)}: {provider.name}.{key} is a secret: give a reference "
                "(env:NAME, file:PATH or aws-secretsmanager:ID), not the secret itself"
            )


def _limits(merged: ProviderSettings, base: LaneConfig, most: int) -> LaneConfig:
    own = lane_config(merged, most, base.visibility_delay_s)
    return replace(own, batch_size=min(own.batch_size, most))


def _references(table: Mapping[str, Any]) -> Iterator[str]:
    """What a setting may be read as: a variable of the environment may hold a list, too."""
    for value in table.values():
        for one in value if isinstance(value, list | tuple) else (value,):
            if isinstance(one, str):
                yield from references_in(str(one))


def _digest(config: Any) -> bytes:
    """Of a provider's configuration with its secrets."""
    values = [(item.name, _revealed(getattr(config, item.name))) for item in fields_of(type(config))]
    return blake2b(repr(values).encode(), digest_size=16).digest()


def _revealed(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_revealed(one) for one in value]
    return value.reveal() if isinstance(value, Secret) else value


def signature(path: str) -> Signature:
    """What tells this state of a file from another; zeros if there is none."""
    try:
        found = Path(path).expanduser().stat()
    except (OSError, ValueError, RuntimeError):  # no path at all, or nobody's home
        return _GONE
    return found.st_mtime_ns, found.st_size, found.st_ino


def _who(account: Account) -> str:
    return f"tenant {account.tenant}" if account.tenant else f"[providers.{account.provider}]"


def _reason(account: Account, detail: str) -> Reason:
    shown = detail if detail.startswith(_who(account)) else f"{_who(account)}: {detail}"
    return Reason(ReasonKind.CREDENTIALS, "account", detail=shown[:300])

"""A provider's settings as one of its accounts has them: only what differs is given, the rest is the provider's.

Rules:

1. Keys of the lane (rate, concurrency, warm-up …) may differ too; what makes it a provider (type, enabled) may not.
2. Who moves an account to another place (a host, a URL, a region), or changes how it is encrypted, brings its own
   secrets: ours are not sent there.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

from streams.settings.model import ProviderSettings
from streams.settings.read import EnvText, Place, Reader, fields_of, is_secret
from streams.settings.secret import Secret, SettingsError

FIXED_KEYS = frozenset({"name", "type", "enabled", "options", "accounts"})
LANE_KEYS = frozenset(item.name for item in fields(ProviderSettings)) - FIXED_KEYS
_PLACE = re.compile(r"(?:^|_)(?:url|uri|hosts?|port|endpoint|server|proxy|region|tls|ca)(?:$|_)")


def account_settings(
    provider: ProviderSettings,
    account: str,
    own: Mapping[str, str],
    who: str,
    config: type,
    env: Mapping[str, str],
) -> ProviderSettings:
    """``provider`` with the keys of its configured ``account`` (empty: none) and, over them, ``own`` of ``who``.

    ``config`` is the type's own ``Config``. Raises SettingsError naming who wrote the key and which one it is.
    """
    merged = provider
    if account:
        if account not in provider.accounts:
            raise SettingsError(f"{who}: {provider.name} has no account {account}")
        merged = _over(merged, provider.accounts[account], env)
    if own:
        if any(_PLACE.search(key) for key in own):
            merged = _without_secrets(merged, config)
        merged = _over(merged, {key: EnvText(value, who) for key, value in own.items()}, env)
    return merged


def _over(provider: ProviderSettings, given: Mapping[str, Any], env: Mapping[str, str]) -> ProviderSettings:
    place = Place("configuration", ("providers", provider.name))
    hints = typing.get_type_hints(ProviderSettings)
    items = {item.name: item for item in fields(ProviderSettings)}
    changes: dict[str, Any] = {}
    options = dict(provider.options)
    for key, value in given.items():
        if key in FIXED_KEYS:
            raise SettingsError(f"{getattr(value, 'variable', place)}: {key} cannot differ between accounts")
        if key in LANE_KEYS:
            changes[key] = Reader(env).value(hints[key], value, place.at(key), items[key])
        else:
            options[key] = value
    return replace(provider, options=MappingProxyType(options), **changes)


def _without_secrets(provider: ProviderSettings, config: type) -> ProviderSettings:
    hints = typing.get_type_hints(config)
    secret = {item.name for item in fields_of(config) if is_secret(item) or hints[item.name] is Secret}
    kept = {key: value for key, value in provider.options.items() if key not in secret}
    return replace(provider, options=MappingProxyType(kept))

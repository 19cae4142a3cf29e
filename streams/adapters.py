"""Provider adapters from settings: one per configured provider, and one more per further account of it.

Keys are ``name`` and ``name/account``. Nothing is contacted; a wrong option raises SettingsError naming its key.
"""

from __future__ import annotations

from collections.abc import Mapping

from streams.providers import registry
from streams.providers.base import Provider
from streams.settings import Settings, SettingsError, provider_options


def build_adapters(settings: Settings, env: Mapping[str, str] | None = None) -> dict[str, Provider]:
    """Every adapter of a deployment, disabled providers included (their webhooks still come)."""
    adapters: dict[str, Provider] = {}
    for name, provider in settings.providers.items():
        try:
            module = registry.load(provider.type)
        except ValueError as exc:
            raise SettingsError(f"[providers.{name}] type: {exc}") from exc
        for account in ("", *provider.accounts):
            config = provider_options(module.Config, provider, account, env=env)
            try:
                adapters[f"{name}/{account}" if account else name] = registry.create(provider.type, name, config)
            except SettingsError:
                raise
            except ValueError as exc:
                raise SettingsError(f"[providers.{name}] {exc}") from exc
    return adapters

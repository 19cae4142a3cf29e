"""The sources of a deployment: every kind looks for its keys in the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec

from streams.pollers.source import Source
from streams.providers import registry
from streams.providers.base import Provider
from streams.settings import Settings, SettingsError

KINDS = ("sqs", "mns", "mailbox")
"""Modules of this package; each exports ``sources(settings, adapters, env) -> Iterable[Source]``, as may a provider
module from elsewhere.
"""


def build_sources(
    settings: Settings, adapters: Mapping[str, Provider], env: Mapping[str, str] | None = None
) -> dict[str, Source]:
    """Every configured source by name; nothing is contacted. Raises SettingsError."""
    found: dict[str, Source] = {}
    for source in _all(settings, adapters, env):
        if source.name in found:
            raise SettingsError(f"two sources to poll are called {source.name}; rename a provider or a mailbox")
        found[source.name] = source
    return found


def _all(settings: Settings, adapters: Mapping[str, Provider], env: Mapping[str, str] | None) -> Iterator[Source]:
    for kind in KINDS:
        name = f"{__package__}.{kind}"
        if find_spec(name) is not None:
            yield from import_module(name).sources(settings, adapters, env)
    for type_ in sorted({provider.type for provider in settings.providers.values()} - set(registry.types())):
        yield from getattr(registry.load(type_), "sources", _none)(settings, adapters, env)


def _none(*_: object) -> Iterator[Source]:
    return iter(())

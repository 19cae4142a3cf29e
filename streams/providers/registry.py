"""Finds an adapter by the ``type`` of a configured provider: a module of this package, nothing else to register.

Each exports ``Config``, a frozen dataclass of its keys in ``[providers.NAME]``, and ``create(name, config)``.
"""

from __future__ import annotations

import pkgutil
import re
from importlib import import_module
from typing import Any, Protocol, cast

from streams import providers
from streams.providers.base import Provider

_NOT_PROVIDERS = frozenset({"base", "registry"})
_TYPE = re.compile(r"[a-z][a-z0-9_]{0,31}")


class ProviderModule(Protocol):
    """What a provider module exports."""

    Config: type[Any]

    def create(self, name: str, config: Any) -> Provider:
        """The adapter for the provider ``name``, with its own ``Config``."""


def types() -> tuple[str, ...]:
    """The provider types there are, in alphabetical order."""
    names = (module.name for module in pkgutil.iter_modules(providers.__path__))
    return tuple(sorted(name for name in names if not name.startswith("_") and name not in _NOT_PROVIDERS))


def load(type_name: str) -> ProviderModule:
    """The module of a provider type; raises ValueError with one clear line if there is none."""
    if not _TYPE.fullmatch(type_name) or type_name not in types():
        raise ValueError(f"there is no provider type {type_name!r}; known are {', '.join(types())}")
    return cast(ProviderModule, import_module(f"{providers.__name__}.{type_name}"))

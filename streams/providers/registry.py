"""Finds an adapter by the ``type`` of a configured provider; nothing has to be registered.

A type is one of three:

* a module of this package, by its name (``mailgun``);
* any module that can be imported, by its dotted name (``acme.mail.postie``): the type is its last part (``postie``);
* an installed package's entry point in the group ``streams.providers``, by the entry point's name.

Each exports ``Config``, a frozen dataclass of its keys in ``[providers.NAME]``, and ``create(name, config)``. What
comes along cannot be replaced: a module elsewhere that ends in the name of one of ours is refused.
"""

from __future__ import annotations

import dataclasses
import pkgutil
import re
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, cast

from streams import providers
from streams.providers.base import Provider

GROUP = "streams.providers"
"""The entry points that are looked at."""

_NOT_PROVIDERS = frozenset({"base", "registry"})
_TAKEN = frozenset({"bounces", "tracking"})
"""Topics ``webhooks.*`` of our own."""

_TYPE = re.compile(r"[a-z][a-z0-9_]{0,31}")


class ProviderModule(Protocol):
    """What a provider module exports."""

    Config: type[Any]

    def create(self, name: str, config: Any) -> Provider:
        """The adapter for the provider ``name``, with its own ``Config``."""


@cache
def types() -> tuple[str, ...]:
    """The provider types that come along, in alphabetical order."""
    names = (module.name for module in pkgutil.iter_modules(providers.__path__))
    return tuple(sorted(name for name in names if not name.startswith("_") and name not in _NOT_PROVIDERS))


def short(type_name: str) -> str:
    """The type as it is named in topics and paths (``webhooks.postie``, ``/webhooks/postie``). Imports nothing."""
    return type_name.rpartition(".")[2]


def load(type_name: str) -> ProviderModule:
    """The module of a provider type; raises ValueError with one clear line if there is none, or none that fits."""
    if type_name in types():
        return cast(ProviderModule, import_module(f"{providers.__name__}.{type_name}"))
    if "." in type_name:
        return _checked(type_name, _imported(type_name))
    entry = _entry_point(type_name)
    if entry is None:
        raise ValueError(
            f"there is no provider type {type_name!r}; known are {', '.join(types())}, "
            f"entry points {GROUP}, and modules elsewhere by their dotted name"
        )
    return _checked(type_name, _loaded(entry))


def create(type_name: str, name: str, config: Any) -> Provider:
    """The adapter of a configured provider. Raises ValueError if it does not say the type that its module has."""
    adapter = load(type_name).create(name, config)
    if adapter.type != short(type_name) or adapter.name != name:
        raise ValueError(
            f"{type_name} made an adapter with name {adapter.name!r} and type {adapter.type!r}; "
            f"they must be {name!r} and {short(type_name)!r}"
        )
    return adapter


def _imported(path: str) -> Any:
    if not all(part.isidentifier() for part in path.split(".")):
        raise ValueError(f"{path!r} is not the name of a module; known are {', '.join(types())}")
    try:
        return import_module(path)
    except Exception as exc:  # importing somebody's module may raise anything
        known = f"; known are {', '.join(types())}" if isinstance(exc, ModuleNotFoundError) else ""
        raise ValueError(f"{path} cannot be imported: {type(exc).__name__}: {_line(exc)}{known}") from exc


def _entry_point(name: str) -> EntryPoint | None:
    if not _TYPE.fullmatch(name):
        return None
    found = list(entry_points(group=GROUP, name=name))
    if len({entry.value for entry in found}) > 1:
        raise ValueError(f"two packages bring a provider type {name!r}: {', '.join(entry.value for entry in found)}")
    return found[0] if found else None


def _loaded(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except Exception as exc:
        raise ValueError(
            f"entry point {entry.name} ({entry.value}) cannot be loaded: {type(exc).__name__}: {_line(exc)}"
        ) from exc


def _checked(type_name: str, module: Any) -> ProviderModule:
    """A module from elsewhere, if it exports what it must and its name is free."""
    name = short(type_name)
    if not _TYPE.fullmatch(name):
        raise ValueError(f"{type_name}: {name!r} is not usable as a type ({_TYPE.pattern})")
    if name in _TAKEN or name in types() or name in _NOT_PROVIDERS:
        raise ValueError(f"{type_name}: {name!r} is taken; give the module another name")
    config = getattr(module, "Config", None)
    frozen = getattr(getattr(config, "__dataclass_params__", None), "frozen", False)
    if not (isinstance(config, type) and dataclasses.is_dataclass(config) and frozen):
        raise ValueError(f"{type_name} exports no Config, a frozen dataclass of its keys")
    if not callable(getattr(module, "create", None)):
        raise ValueError(f"{type_name} exports no create(name, config)")
    return cast(ProviderModule, module)


def _line(exc: BaseException) -> str:
    return " ".join(str(exc).split())

"""Finds the configuration, lays the environment over it, and checks what spans sections.

Rules:

1. The file is the argument, else ``STREAMS_CONFIG``, else ``./streams.toml`` if it exists; without a file the
   environment alone must do.
2. ``STREAMS_SECTION__KEY`` overrides any key (``STREAMS_PROVIDERS__MAILGUN__RATE``; ``-`` in a name is written ``_``),
   and ``STREAMS_SECTION_KEY`` does for the plain sections (``STREAMS_KAFKA_BOOTSTRAP``). The environment wins.
3. The first problem is reported, as one line.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from streams.settings.alerts import AlertSettings
from streams.settings.doors import DoorSettings
from streams.settings.flow import LimitSettings
from streams.settings.kafka import KafkaSettings
from streams.settings.mail import AttachmentSettings, StagingSettings, SuppressionSettings, TrackingSettings
from streams.settings.mailbox import MailboxSettings
from streams.settings.model import (
    BUILT_IN_RETRIES,
    MAX_PROVIDERS,
    BreakerSettings,
    DispatchSettings,
    ProviderSettings,
    RetrySettings,
    RoutingSettings,
    Settings,
    TenantSettings,
)
from streams.settings.processes import IngressSettings, PollSettings, WorkerSettings
from streams.settings.read import EnvText, Place, Reader, fields_of, file_name, suggestion
from streams.settings.secret import SettingsError
from streams.settings.validate import check

T = TypeVar("T")

PLAIN_SECTIONS: Mapping[str, type] = MappingProxyType(
    {
        "kafka": KafkaSettings,
        "worker": WorkerSettings,
        "ingress": IngressSettings,
        "poll": PollSettings,
        "routing": RoutingSettings,
        "breaker": BreakerSettings,
        "suppression": SuppressionSettings,
        "dispatch": DispatchSettings,
        "limits": LimitSettings,
        "staging": StagingSettings,
        "attachments": AttachmentSettings,
        "tracking": TrackingSettings,
        "alerts": AlertSettings,
    }
)
NAMED_SECTIONS: Mapping[str, type] = MappingProxyType(
    {
        "providers": ProviderSettings,
        "tenants": TenantSettings,
        "doors": DoorSettings,
        "retry": RetrySettings,
        "mailboxes": MailboxSettings,
    }
)

_PREFIX = "STREAMS_"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_TENANT = re.compile(r"[^\s./]{1,128}")
_EMBEDDED_DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "kafka": {"partitions": 4, "replication_factor": 1, "min_insync_replicas": 1},
        "worker": {"session_timeout_s": 6},  # the embedded broker holds a join for half of it
    }
)
_GENERIC_KEYS = frozenset(item.name for item in fields(ProviderSettings)) - {"name", "options"}


def load_settings(path: str | Path | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process; raises SettingsError (the commands answer it with exit code 2)."""
    environment = os.environ if env is None else env
    source, table = _read_file(path, environment)
    _overlay(table, environment)
    return _settings(table, Place(source), Reader(environment))


def provider_options(
    cls: type[T], provider: ProviderSettings, account: str = "", env: Mapping[str, str] | None = None
) -> T:
    """The provider type's own ``Config`` from what is left of ``[providers.NAME]``, with an account's keys over it.

    A field ``name`` of ``cls`` is the provider's name. Raises SettingsError like :func:`load_settings`.
    """
    environment = os.environ if env is None else env
    place = Place("configuration", ("providers", provider.name))
    table = dict(provider.options)
    if account:
        if account not in provider.accounts:
            raise SettingsError(f"{place}: there is no account {account}{suggestion(account, provider.accounts)}")
        place = Place("configuration", ("providers", provider.name, "accounts", account))
        table |= {key: value for key, value in provider.accounts[account].items() if key not in _GENERIC_KEYS}
    given = {"name": provider.name} if any(item.name == "name" for item in fields_of(cls)) else {}
    return Reader(environment).table(cls, table, place, given)


def _read_file(path: str | Path | None, env: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    chosen = path or env.get("STREAMS_CONFIG")
    file = Path(chosen or "streams.toml")
    if not chosen and not file.exists():
        return f"there is no {file} here", {}
    try:
        return str(file), tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as exc:
        raise SettingsError(f"{file}: not valid TOML: {exc}") from exc
    except UnicodeDecodeError as exc:
        raise SettingsError(f"{file}: not UTF-8 text") from exc
    except OSError as exc:
        raise SettingsError(f"{file}: the configuration file cannot be read: {exc.strerror or exc}") from exc


# ---------------------------------------------------------------------------------------------- environment


def _overlay(table: dict[str, Any], env: Mapping[str, str]) -> None:
    for variable in sorted(env):
        if not variable.startswith(_PREFIX):
            continue
        name = variable.removeprefix(_PREFIX).lower()
        steps = tuple(name.split("__")) if "__" in name else _plain_path(name, env[variable], variable)
        if steps:
            _put(table, _real_names(table, steps), EnvText(env[variable], variable))


def _plain_path(name: str, value: str, variable: str) -> tuple[str, ...]:
    """The path of ``STREAMS_SECTION_KEY``, or nothing if the variable is not meant for us."""
    section, _, key = name.partition("_")
    if section not in PLAIN_SECTIONS or value.startswith(("tcp://", "udp://")):
        return ()  # Kubernetes sets STREAMS_INGRESS_PORT=tcp://… beside a service called streams-ingress
    known = [file_name(item) for item in fields_of(PLAIN_SECTIONS[section])]
    if key in known:
        return section, key
    close = get_close_matches(key, known, 1, 0.8)
    if close:
        meant = f"{_PREFIX}{section}_{close[0]}".upper()
        raise SettingsError(f"{variable} is not a known setting; did you mean {meant}?")
    return ()


def _real_names(table: Mapping[str, Any], steps: tuple[str, ...]) -> tuple[str, ...]:
    """The path with names as the file spells them: ``mailgun_eu`` finds ``[providers.mailgun-eu]``."""
    real: list[str] = []
    here: Any = table
    for step in steps:
        names = here if isinstance(here, Mapping) else {}
        found = next((name for name in names if name.lower().replace("-", "_") == step), step)
        real.append(found)
        here = names.get(found)
    return tuple(real)


def _put(table: dict[str, Any], path: tuple[str, ...], value: EnvText) -> None:
    here = table
    if path[0] not in PLAIN_SECTIONS and path[0] not in NAMED_SECTIONS:
        known = {**PLAIN_SECTIONS, **NAMED_SECTIONS}
        raise SettingsError(f"{value.variable}: {path[0]} is not a known section{suggestion(path[0], known)}")
    for step in path[:-1]:
        inner = here.setdefault(step, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"{value.variable}: {step} is not a section")
        here = inner
    here[path[-1]] = value


# ---------------------------------------------------------------------------------------------- sections


def _settings(table: dict[str, Any], place: Place, reader: Reader) -> Settings:
    known = {**PLAIN_SECTIONS, **NAMED_SECTIONS}
    for name, content in table.items():
        if name not in known:
            raise SettingsError(f"{place.source}: [{name}] is not a known section{suggestion(name, known)}")
        if not isinstance(content, Mapping):
            raise SettingsError(f"{place.source}: {name} must be a section: [{name}]")
    defaults = _EMBEDDED_DEFAULTS if table.get("kafka", {}).get("profile") == "embedded" else {}
    sections: dict[str, Any] = {
        name: reader.table(cls, {**defaults.get(name, {}), **table.get(name, {})}, place.at(name))
        for name, cls in PLAIN_SECTIONS.items()
    }
    settings = Settings(
        **sections,
        providers=_providers(table.get("providers", {}), place.at("providers"), reader),
        tenants=_named(TenantSettings, table.get("tenants", {}), place.at("tenants"), reader, _TENANT),
        doors=_named(DoorSettings, table.get("doors", {}), place.at("doors"), reader, _NAME),
        mailboxes=_named(MailboxSettings, table.get("mailboxes", {}), place.at("mailboxes"), reader, _NAME),
        retry=MappingProxyType(
            {**BUILT_IN_RETRIES, **_named(RetrySettings, table.get("retry", {}), place.at("retry"), reader, _NAME)}
        ),
    )
    check(settings, place.source)
    return settings


def _providers(table: Mapping[str, Any], place: Place, reader: Reader) -> Mapping[str, ProviderSettings]:
    if len(table) > MAX_PROVIDERS:
        raise SettingsError(
            f"{place.source}: [providers] has {len(table)} entries; at most {MAX_PROVIDERS} are supported"
        )
    read: dict[str, ProviderSettings] = {}
    for name, content in table.items():
        here = _entry(name, content, place, _NAME)
        generic = {key: value for key, value in content.items() if key in _GENERIC_KEYS}
        options = {key: value for key, value in content.items() if key not in _GENERIC_KEYS}
        given = {"name": name, "options": MappingProxyType(options)}
        read[name] = reader.table(ProviderSettings, generic, here, given)
    return MappingProxyType(read)


def _named(
    cls: type[T], table: Mapping[str, Any], place: Place, reader: Reader, pattern: re.Pattern[str]
) -> Mapping[str, T]:
    entries = {}
    for name, content in table.items():
        entries[name] = reader.table(cls, content, _entry(name, content, place, pattern), {"name": name})
    return MappingProxyType(entries)


def _entry(name: str, content: Any, place: Place, pattern: re.Pattern[str]) -> Place:
    section = place.at(name)
    if not isinstance(content, Mapping):
        raise SettingsError(f"{place.source}: [{place.key}] {name} must be a section: [{place.key}.{name}]")
    if not pattern.fullmatch(name):
        raise SettingsError(f"{place.source}: [{place.key}.{name}] is not a usable name ({pattern.pattern})")
    return section

"""The reference page of the configuration, generated from the dataclasses; a test compares.

python -m streams.settings.reference >docs/configuration.md
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field
from enum import Enum
from typing import Any

from streams.settings.doors import DoorSettings
from streams.settings.load import PLAIN_SECTIONS
from streams.settings.mailbox import MailboxSettings
from streams.settings.model import ProviderSettings, RetrySettings, RoutingRule, TenantSettings
from streams.settings.read import bounds, fields_of, file_name, is_secret, number, quoted
from streams.settings.secret import Secret

_INTRODUCTION = """# Configuration

One file in [TOML](https://toml.io): the one given to the command, else the one that `STREAMS_CONFIG` names, else
`./streams.toml`. [`streams.example.toml`](../streams.example.toml) is one to start from. A wrong or missing key is one
line that names it, at start, with exit code 2; `streams doctor` looks for what a file alone cannot tell.

**Environment.** Every key can be overridden: `STREAMS_SECTION__KEY`, for instance `STREAMS_KAFKA__BOOTSTRAP` or
`STREAMS_PROVIDERS__MAILGUN__RATE` (`-` in a name is written `_`). For sections with one name `STREAMS_SECTION_KEY`
works too: `STREAMS_KAFKA_BOOTSTRAP`. Lists are given with commas or as JSON, tables as JSON.

`STREAMS_LOG` is no key: the level of what worker and ingress write to standard error, `INFO` if not given; with `DEBUG`
the libraries speak as well.

**Secrets** are never written into the file, only where to find them: `env:NAME`, `file:PATH` (one trailing line end is
dropped), or `aws-secretsmanager:ID`, also `aws-secretsmanager:ID#KEY` for one key of a JSON secret. They are fetched at
start and shown nowhere.

This page is generated from the code: `python -m streams.settings.reference`.
"""

_ROW = "| `{name}` | {type} | {default} | {doc} |"
_HEAD = ("| key | type | default | meaning |", "|---|---|---|---|")


def page() -> str:
    """The page with the keys of all provider types there are."""
    from streams.providers import registry

    return markdown({kind: registry.load(kind).Config for kind in registry.types()})


def markdown(configs: Mapping[str, type] | None = None) -> str:
    """The whole page; ``configs`` are the provider types' own keys."""
    lines = [_INTRODUCTION.rstrip()]
    for name, cls in PLAIN_SECTIONS.items():
        lines += ["", f"## [{name}]", "", _summary(cls), "", *_table(cls)]
        if name == "routing":
            lines += ["", "### [[routing.rules]]", "", _summary(RoutingRule), "", *_table(RoutingRule)]
    lines += ["", "## [providers.NAME]", "", _summary(ProviderSettings), "", *_table(ProviderSettings)]
    for kind, config in sorted((configs or {}).items()):
        lines += ["", f'### type = "{kind}"', "", *_table(config)]
    lines += ["", "## [tenants.NAME]", "", _summary(TenantSettings), "", *_table(TenantSettings)]
    lines += ["", "## [doors.NAME]", "", _summary(DoorSettings), "", *_table(DoorSettings)]
    lines += ["", "## [mailboxes.NAME]", "", _summary(MailboxSettings), "", *_table(MailboxSettings)]
    lines += ["", "## [retry.NAME]", "", _summary(RetrySettings), "", *_table(RetrySettings)]
    return "\n".join(lines) + "\n"


def _summary(cls: type) -> str:
    return " ".join((cls.__doc__ or "").split())


def _table(cls: type) -> Iterator[str]:
    yield from _HEAD
    hints = typing.get_type_hints(cls)
    for item in fields_of(cls):
        if item.metadata.get("hidden") or item.name == "name":
            continue
        yield _ROW.format(
            name=file_name(item), type=_type(hints[item.name], item), default=_default(item), doc=_meaning(item)
        )


def _type(kind: Any, item: Field[Any]) -> str:
    if kind is Secret or is_secret(item):
        return "secrets" if typing.get_origin(kind) is tuple else "secret"
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        inner = [one for one in typing.get_args(kind) if one is not type(None)]
        return " or ".join(_type(one, item) for one in inner)
    if origin is typing.Literal:
        return " ".join(f"`{value}`" for value in typing.get_args(kind))
    if origin is tuple:
        return f"list of {_plural(typing.get_args(kind)[0])}"
    if origin is not None:
        return "table"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " ".join(f"`{member.value}`" for member in kind)
    return {str: "text", int: "whole number", float: "number", bool: "true or false"}.get(kind, "table")


def _plural(kind: Any) -> str:
    return {str: "texts", int: "whole numbers", float: "numbers", Secret: "secrets"}.get(kind, "tables")


def _default(item: Field[Any]) -> str:
    if item.default is MISSING and item.default_factory is MISSING:
        return "**required**"
    value = item.default if item.default is not MISSING else None
    if value is None or value in ("", ()):
        return "–"
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{number(value)}`" if isinstance(value, float) else f"`{value}`"


def _meaning(item: Field[Any]) -> str:
    parts = [item.metadata.get("doc", "")]
    least, most = item.metadata.get("least"), item.metadata.get("most")
    if least is not None or most is not None:
        parts.append(f"{bounds(least, most).capitalize()}.")
    if item.metadata.get("example"):
        parts.append(f"Example: `{file_name(item)} = {quoted(item.metadata['example'])}`.")
    return " ".join(part for part in parts if part).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())

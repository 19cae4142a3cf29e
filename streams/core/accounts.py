"""Which account of a provider a tenant's messages take.

Rules:

1. A tenant's record decides: settings of its own, else one of the configured accounts, else the provider's own.
2. An account's name says which one it is, not how it is opened: a new password leaves the name alone, another domain or
   host makes another account. So nobody asks the new account about a message that the old one was given.
3. Secrets are references. What a record of the topic ``tenants`` may refer to, and which hosts and files it may name,
   is bounded (:func:`forbidden`).
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

from streams.core.tenant import Tenant

OWN = "@"
"""Begins the name of an account that a tenant has brought itself; configured accounts have no such names."""

REFERENCES = ("env:", "file:", "aws-secretsmanager:")
LANE_KEYS = frozenset({"rate", "burst", "concurrency", "batch_size", "deadline_s"})
"""Settings of the lane, which say nothing about which account it is."""

_NAMES_HOST = re.compile(r"(?:^|_)(?:url|uri|hosts?|endpoint|server|proxy)(?:$|_)")
_NAMES_FILE = re.compile(r"(?:^|_)(?:files?|dir|directory|certificates?)$")
_HOST = re.compile(
    r"(?:https?://)?((?:[A-Za-z0-9-]{1,63}\.)*[A-Za-z0-9-]{1,63}\.?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?/?"
)
_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Account:
    """``name`` is empty for the provider's own; ``base`` is the configured account below ``settings``."""

    provider: str
    name: str = ""
    tenant: str = ""
    base: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def lane(self) -> str:
        """``mailgun``, ``mailgun/shop`` or ``mailgun/@acme-1f3a5c7e``."""
        return lane_of(self.provider, self.name)


def lane_of(provider: str, account: str) -> str:
    """The name of a lane."""
    return f"{provider}/{account}" if account else provider


def provider_of(lane: str) -> str:
    """Whose lane it is."""
    return lane.partition("/")[0]


def without_identity(lane: str) -> str:
    """``mailgun/@acme`` of ``mailgun/@acme-1f3a5c7e``: the tenant's account there, whatever its settings were."""
    name, dash, _ = lane.rpartition("-")
    return name if dash and f"/{OWN}" in name else lane


def account_of(tenant: Tenant | None, provider: str) -> Account:
    """The account that this tenant's messages take at ``provider``."""
    if tenant is None:
        return Account(provider)
    base = tenant.accounts.get(provider, "")
    own = tenant.account_settings.get(provider)
    if not own:
        return Account(provider, base, tenant.tenant, base)
    return Account(provider, f"{OWN}{tenant.tenant}-{_identity(base, own)}", tenant.tenant, base, own)


def has_accounts(tenant: Tenant) -> bool:
    """Whether the tenant has any account that is not the provider's own."""
    return bool(tenant.accounts or any(tenant.account_settings.values()))


def is_reference(text: str) -> bool:
    """Whether a setting names a secret."""
    return text.startswith(REFERENCES)


def forbidden(
    account: Account, secrets: Iterable[str], hosts: Iterable[str] = (), usual: Mapping[str, Any] = _NONE
) -> str:
    """Why a tenant's own account may not be opened; empty if it may.

    ``secrets`` are prefixes of references, ``hosts`` patterns of hosts (a ``*`` stands for one label or a part of it);
    ``usual`` are the provider's own settings, whose places are allowed anyway. Whoever may write tenants could else
    read any file and variable of a worker, have it sent to a host of his choice, and reach hosts that only we reach.
    """
    prefixes, patterns = tuple(secrets), tuple(hosts)
    for key, value in account.settings.items():
        if any(not _plain(one).startswith(prefixes) for one in references_in(value)):
            shown = ", ".join(prefixes) or "none"
            return f"{key}: tenants may refer to secrets that begin with {shown} ([dispatch] tenant_secrets)"
        if value == usual.get(key, ""):
            continue
        if _NAMES_FILE.search(key):
            return f"{key}: tenants may not name files of ours"
        if _NAMES_HOST.search(key) and not _is_one_of(value, patterns):
            return f"{key}: tenants may name only hosts that [dispatch] tenant_hosts allows"
    return ""


def references_in(value: str) -> list[str]:
    """Every reference that a setting may be read as: the whole, and each item where it is a list."""
    try:
        return [text for text in _texts(value) if is_reference(text)]
    except RecursionError:
        return [value] if is_reference(value) else []


def _texts(value: object) -> Iterator[str]:
    """Lists are written as JSON, or with commas."""
    if isinstance(value, str):
        yield value
        if value.lstrip()[:1] in ("[", "{"):
            with suppress(ValueError):
                yield from _texts(json.loads(value))
        elif "," in value:
            yield from (part.strip() for part in value.split(","))
        else:
            yield value.strip()
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)


def _is_one_of(place: str, patterns: tuple[str, ...]) -> bool:
    """Whether a host, or an URL of nothing but scheme, host and port, names a host of the list."""
    found = _HOST.fullmatch(place)
    if found is None:
        return False
    host = found[1].lower().rstrip(".")
    return any(
        re.fullmatch(re.escape(pattern.lower()).replace(r"\*", "[^.]*"), host) is not None for pattern in patterns
    )


def _plain(reference: str) -> str:
    """Without ``..`` on the way to a file."""
    scheme, _, path = reference.partition(":")
    return f"file:{posixpath.normpath(path)}" if scheme == "file" else reference


def _identity(base: str, settings: Mapping[str, str]) -> str:
    told = [f"{key}={value}" for key, value in sorted(settings.items()) if key not in LANE_KEYS]
    plain = [text for text in told if not is_reference(text.partition("=")[2])]
    return blake2b("\n".join((base, *plain)).encode(), digest_size=4).hexdigest()

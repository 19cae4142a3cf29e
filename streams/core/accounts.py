"""Which account of a provider a tenant's messages take.

Rules:

1. A tenant's record decides: settings of its own, else one of the configured accounts, else the provider's own.
2. An account's name says which one it is, not how it is opened: a new password leaves the name alone, another domain or
   host makes another account. So nobody asks the new account about a message that the old one was given.
3. Secrets are references. What a record of the topic ``tenants`` may refer to is bounded (:func:`forbidden`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from streams.core.tenant import Tenant

OWN = "@"
"""Begins the name of an account that a tenant has brought itself; configured accounts have no such names."""

REFERENCES = ("env:", "file:", "aws-secretsmanager:")
LANE_KEYS = frozenset({"rate", "burst", "concurrency", "batch_size", "deadline_s"})
"""Settings of the lane, which say nothing about which account it is."""


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


def forbidden(account: Account, allowed: Iterable[str]) -> str:
    """Why the references of a tenant's own account may not be followed; empty if they may.

    ``allowed`` are prefixes of references. Whoever may write tenants could else read any file and variable of a worker
    and have it sent to a host of his choice.
    """
    prefixes = tuple(allowed)
    for key, value in account.settings.items():
        if is_reference(value) and not _plain(value).startswith(prefixes):
            shown = ", ".join(prefixes) or "none"
            return f"{key}: tenants may refer to secrets that begin with {shown} ([dispatch] tenant_secrets)"
    return ""


def _plain(reference: str) -> str:
    """Without ``..`` on the way to a file."""
    scheme, _, path = reference.partition(":")
    return f"file:{posixpath.normpath(path)}" if scheme == "file" else reference


def _identity(base: str, settings: Mapping[str, str]) -> str:
    told = [f"{key}={value}" for key, value in sorted(settings.items()) if key not in LANE_KEYS]
    plain = [text for text in told if not is_reference(text.partition("=")[2])]
    return blake2b("\n".join((base, *plain)).encode(), digest_size=4).hexdigest()

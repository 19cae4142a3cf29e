"""A tenant as the compacted topic ``tenants`` describes it; a tenant without a record is served by the defaults."""

from __future__ import annotations

from dataclasses import dataclass, field

from streams.core.message import Mailbox


@dataclass(frozen=True, slots=True)
class Tenant:
    """Defaults of a tenant's requests, and whether they are taken at all. Empty and None mean: not set."""

    tenant: str
    sender: Mailbox | None = None
    reply_to: tuple[Mailbox, ...] = ()
    accounts: dict[str, str] = field(default_factory=dict)
    """Provider name to the tenant's account there, one of ``[providers.NAME.accounts]``."""
    provider: str = ""
    retry_policy: str = ""
    track_opens: bool | None = None
    track_clicks: bool | None = None
    alert_address: str = ""
    enabled: bool = True
    updated_ms: int = 0
    updated_by: str = ""
    account_settings: dict[str, dict[str, str]] = field(default_factory=dict)
    """Provider name to the settings of an account of its own; secrets by reference."""
    rate: float = 0.0
    """Messages per second over all providers, 0 without limit."""
    events_topic: str = ""
    """A topic that gets a copy of each of its events; the deployment's prefix is put before it."""

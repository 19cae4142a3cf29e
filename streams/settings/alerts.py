"""The settings of the section ``[alerts]``."""

from __future__ import annotations

from dataclasses import dataclass

from streams.settings.keys import key


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Mails to tenants about messages that were given up; on where `from` is set. See docs/failures.md."""

    sender: str = key(
        "",
        "From whom alerts come; empty for no alerts.",
        named="from",
        example="Mail service <alerts@example.com>",
    )
    every_min: float = key(
        15.0,
        "The first failure is told at once, then a tenant gets one mail in so many minutes.",
        least=0.01,
        most=1440,
    )
    provider: str = key("", "Provider that takes alerts; empty for the routing rules.", example="ses")

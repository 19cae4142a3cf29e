"""Settings of limits beside the providers' own; see :mod:`streams.settings.model` for the rules."""

# ruff: noqa: RUF009  (key() makes a field, like dataclasses.field)
from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from streams.settings.keys import key


class Excess(StrEnum):
    """What becomes of a message that is one too many for its recipient."""

    PARK = "park"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Limits of tenants and recipients, for the whole fleet. All are off by default."""

    tenant_rate: float = key(
        0.0, "Messages per second of each tenant over all providers; what exceeds it waits; 0 for no limit.", least=0
    )
    recipient_messages: int = key(
        0, "Messages of one tenant to one address within `recipient_window_s`; 0 for no limit.", least=0, most=10_000
    )
    recipient_window_s: float = key(3600.0, "The window of `recipient_messages`.", least=1, most=2_592_000)
    recipient_streams: tuple[str, ...] = key(("bulk",), "Streams to which `recipient_messages` applies.")
    recipient_excess: Excess = key(
        Excess.PARK, "`park` keeps what exceeds it until the window has moved on, `reject` refuses it."
    )

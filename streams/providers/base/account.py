"""What an account can tell of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from streams.providers.base.outbound import Exchange, HttpRequest, HttpResponse, NoResponse


@dataclass(frozen=True, slots=True)
class Quota:
    """What an account may send. ``max_24h`` is -1 for unlimited; rates are recipients per second, 0 if unknown.

    ``enforcement`` is the provider's own word for the account's standing.
    """

    max_send_rate: float
    max_24h: float
    sent_24h: float
    sending_enabled: bool
    enforcement: str


@runtime_checkable
class TellsQuota(Protocol):
    """A provider whose account can be asked for its limits."""

    def quota_request(self, now_ms: int) -> HttpRequest:
        """Ask for the account's quotas."""

    def read_quota(self, answer: HttpResponse | NoResponse) -> Quota | None:
        """The quotas, None if the answer has none."""


@runtime_checkable
class TellsExpiry(Protocol):
    """A provider whose credentials end at a known time."""

    def expires_ms(self) -> int:
        """When they do, in epoch milliseconds; 0 if that is not known."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What an adapter found out about its account; ``advice`` says what to do, empty where all is well."""

    what: str
    detail: str
    advice: str = ""


@runtime_checkable
class ChecksItself(Protocol):
    """A provider that `streams doctor` can ask about its account. Nothing is sent, nothing is changed."""

    async def check(self, exchange: Exchange, now_ms: int) -> Sequence[Checked]:
        """Every finding, the good ones too."""

"""What came of handing one message to a provider: a value, never an exception.

Rules:

1. ``Accepted`` means the provider took responsibility; it never means delivered.
2. ``Deferred`` and ``Rejected`` are used only where the provider certainly did not take the message.
3. Everything else is ``Uncertain``: no answer was read, or the answer does not prove a refusal. An uncertain message is
   never failed over and never sent again blindly.
4. Blame decides who pays: only ``Scope.PROVIDER`` counts towards the circuit breaker, ``Scope.ACCOUNT`` holds the
   account, ``Scope.LANE`` pauses the lane, and a fault of the message or recipient stays with the message.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from streams.core.event import Reason
from streams.core.value import value


class Scope(StrEnum):
    """Whose fault a refusal is."""

    MESSAGE = "message"
    RECIPIENT = "recipient"
    LANE = "lane"
    ACCOUNT = "account"
    PROVIDER = "provider"


class AttemptResult(StrEnum):
    """Label values of ``streams_provider_attempts_total``."""

    ACCEPTED = "accepted"
    THROTTLED = "throttled"
    TRANSIENT = "transient"
    PERMANENT = "permanent"
    TIMEOUT = "timeout"
    CONNECT_ERROR = "connect_error"
    AUTH = "auth"
    UNCERTAIN = "uncertain"


@value
class Accepted:
    """The provider took the message; ``provider_message_id`` without angle brackets, empty if it gave none of use."""

    provider_message_id: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """Certainly not taken, may be taken later. ``retry_after_s`` is the provider's own floor, if it named one."""

    reason: Reason
    scope: Scope
    result: AttemptResult = AttemptResult.TRANSIENT
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Certainly not taken and never will be in this form."""

    reason: Reason
    scope: Scope = Scope.MESSAGE
    result: AttemptResult = AttemptResult.PERMANENT


@dataclass(frozen=True, slots=True)
class Uncertain:
    """Perhaps taken. Only reconciliation may tell."""

    reason: Reason
    result: AttemptResult = AttemptResult.UNCERTAIN
    scope: Scope = Scope.PROVIDER


Outcome = Accepted | Deferred | Rejected | Uncertain


@dataclass(frozen=True, slots=True)
class Split:
    """The whole batch was certainly refused for the sake of one entry: halve it and try again, nobody pays an
    attempt.
    """

    reason: Reason


BatchOutcome = tuple[Outcome, ...] | Split
"""One outcome per entry in the order of the batch, or the order to split it."""

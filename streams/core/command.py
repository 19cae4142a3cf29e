"""What may be asked of dispatch, on the ``outbound`` topics, keyed like the message.

A command carries the attempt it expects; where the ledger has moved on it does nothing (a repeat is harmless).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retry:
    """Send again after attempt ``expected_attempt`` ended without delivery; ``actor`` is empty for our own policies.

    0 as expected attempt means that none was begun (the message was suppressed, say). Whoever asks without knowing the
    attempt has to look it up: an order for whichever was last would send again each time it is redelivered.

    ``final_soft`` marks a provider's final soft failure: the retry policy sets the time. A person's retry is due at
    once.
    """

    message_id: str
    expected_attempt: int
    actor: str = ""
    final_soft: bool = False


@dataclass(frozen=True, slots=True)
class Cancel:
    """Withdraw a message that has not been handed over. An unknown id is remembered as cancelled."""

    message_id: str
    actor: str


@dataclass(frozen=True, slots=True)
class Settle:
    """Track's answer about an uncertain attempt: it has proof that the provider took it."""

    message_id: str
    expected_attempt: int
    provider_message_id: str
    occurred_ms: int


@dataclass(frozen=True, slots=True)
class NoProof:
    """Track's answer to a probe: everything recorded before the probe has been read, and none of it proves
    acceptance.
    """

    message_id: str
    expected_attempt: int


Command = Retry | Cancel | Settle | NoProof

"""Who is believed about an attempt.

Dispatch says which provider has it, and only that provider is believed about it: a report that comes first is held
until then. Our own mailbox and tracking (``EVERYONE``) may speak of all attempts; whoever holds the keys of an account
that a tenant has brought, of that tenant's attempts there alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from streams.core.accounts import OWN, without_identity
from streams.core.marks import OURS, REPORTS
from streams.core.message_state import Attempt
from streams.core.receipt import Receipt


class Standing(Enum):
    """What a report is worth. What does not count is kept, in case dispatch still names its provider."""

    COUNTED = "counted"
    HELD = "held"  # dispatch has not said yet which provider has that attempt
    FOREIGN = "foreign"  # it said, and it was another


EVERYONE = "*"
"""In ``Receipt.vouches``: may speak of every provider's attempts."""

_BETWEEN = "|"


def standing(attempts: tuple[Attempt, ...], receipt: Receipt) -> Standing:
    """Whether the receipt may be believed by what is known now. What counts once counts for ever."""
    if receipt.kind not in REPORTS:
        return Standing.COUNTED
    number, provider = receipt.attempt, receipt.provider
    if number > 0 and provider and not receipt.vouches:
        for a in attempts:  # nearly always the answer
            if a[0] == number and a[2] == provider and a[1] & OURS:
                return Standing.COUNTED
    speaker = speaker_of(receipt)
    if not speaker or speaker == EVERYONE:
        return Standing.COUNTED
    claimed = False
    for a in attempts:
        if a.marks & OURS and a.provider and a.number > 0 and (number < 1 or a.number == number):
            if a.provider == speaker or _speaks_for(speaker, a.provider):
                return Standing.COUNTED
            claimed = True
    return Standing.FOREIGN if claimed else Standing.HELD


def speaks_as_tenant(receipt: Receipt) -> bool:
    """Whether its proof is the key of an account that a tenant has brought."""
    return any(f"/{OWN}" in name for name in receipt.vouches)


def newly_counted(
    kept: Iterable[Receipt], before: tuple[Attempt, ...], after: tuple[Attempt, ...]
) -> tuple[Receipt, ...]:
    """Which of the receipts that were kept count now and did not before."""
    if before is after:
        return ()
    return tuple(
        one
        for one in kept
        if standing(after, one) is Standing.COUNTED and standing(before, one) is not Standing.COUNTED
    )


def believed(own: Iterable[Attempt], report: Attempt) -> bool:
    """Whether the report counts, where these are what dispatch said of the attempt."""
    return any(a.marks & OURS and a.provider and matches(report.provider, a.provider) for a in own) or (
        is_everyones(report)
    )


def matches(speaker: str, provider: str) -> bool:
    """Whether the speaker may tell of an attempt that the provider has."""
    return not speaker or speaker in (EVERYONE, provider) or _speaks_for(speaker, provider)


def _speaks_for(speaker: str, provider: str) -> bool:
    """Whether one of the names in ``speaker`` is the provider, or the provider whose account it is, or the tenant
    whose account it is (``mailgun/@acme`` for ``mailgun/@acme-1f3a5c7e``).
    """
    return bool(provider) and any(
        name == provider or provider.startswith(f"{name}/") or ("/" in name and without_identity(provider) == name)
        for name in speaker.split(_BETWEEN)
    )


def is_everyones(report: Attempt) -> bool:
    """Whether it comes from where all attempts may be spoken of."""
    return not report.provider or report.provider == EVERYONE


def speaker_of(receipt: Receipt) -> str:
    """Who says so: the provider, or all that its proof is as good for; of dispatch: who has the attempt."""
    return _BETWEEN.join(receipt.vouches) if receipt.vouches else receipt.provider

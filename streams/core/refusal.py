"""A refusal at hand-off that says as much as a bounce: the host that was spoken to knows that there is no such address.

Derived from the reason alone, so that a receipt built again from its row says the same.
"""

from __future__ import annotations

from streams.core.classification import Classification, classify
from streams.core.event import Reason, ReasonKind

_ADDRESS_KINDS = frozenset({ReasonKind.BAD_MAILBOX, ReasonKind.BAD_DOMAIN, ReasonKind.MAILBOX_DISABLED})


def bounce_in(reason: Reason | None) -> Classification | None:
    """How to read a refusal that concerns the recipient's address, by an SMTP reply; None for every other reason."""
    if reason is None or reason.kind not in _ADDRESS_KINDS or not reason.code.startswith("5"):
        return None
    if len(reason.code) != 3 or not reason.code.isdecimal():
        return None
    known = classify(int(reason.code), reason.enhanced_code, reason.detail)
    return known if known.kind is reason.kind else None

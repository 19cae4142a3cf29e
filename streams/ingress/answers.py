"""Which status each provider understands. Data, from the contract's table and the providers' documentation.

Mailgun stops at 200 and 406 and repeats after anything else for eight hours; SNS and MNS take 2xx as done and 4xx as
final.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Answers:
    """Statuses of one provider type, by what happened. "Not now" is 503 with ``Retry-After`` everywhere."""

    stored: int
    forged: int
    malformed: int
    too_large: int

    def refusal(self, result: str) -> int:
        """The status for a refusal's result (bad_signature, stale, malformed)."""
        return self.malformed if result == "malformed" else self.forged


NOT_NOW = 503

ANSWERS: Mapping[str, Answers] = MappingProxyType(
    {
        "mailgun": Answers(stored=200, forged=406, malformed=406, too_large=406),
        "ses": Answers(stored=200, forged=403, malformed=400, too_large=413),
        "directmail": Answers(stored=204, forged=403, malformed=400, too_large=413),
    }
)
"""By provider type. A type that is not here sends no webhooks."""

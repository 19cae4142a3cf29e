"""When to try again: named policies as functions of numbers.

Rules:

1. ``tries`` counts the refusals that were the message's own; throttling and held lanes never count.
2. A provider's ``Retry-After`` is a floor, the message's ``expires_at`` a ceiling; beyond the ceiling there is no
   retry.
3. Jitter comes in as an argument in ``[0, 1)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

_DAY_S = 86_400.0


class RetryKind(StrEnum):
    """The shapes of delay."""

    CUBED = "cubed"  # n³ minutes: 8, 27, 64, 125
    EXPONENTIAL = "exponential"  # 4ⁿ minutes
    BACKOFF = "backoff"  # full jitter between 0 and base·2ⁿ
    NONE = "none"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """``max_tries`` includes the first. ``unit_s`` is what ``CUBED`` and ``EXPONENTIAL`` count in, ``factor`` the base
    of ``EXPONENTIAL``, ``base_s`` the first ceiling of ``BACKOFF``; no delay is longer than ``cap_s``.

    ``answers_final`` says whether the policy also answers a provider's own final soft failure of an attempt.
    """

    kind: RetryKind
    max_tries: int = 5
    base_s: float = 2.0
    cap_s: float = _DAY_S
    answers_final: bool = False
    unit_s: float = 60.0
    factor: float = 4.0


POLICIES: dict[str, RetryPolicy] = {
    "cubed": RetryPolicy(RetryKind.CUBED, max_tries=5, answers_final=True),
    "exponential": RetryPolicy(RetryKind.EXPONENTIAL, max_tries=5, answers_final=True),
    "backoff": RetryPolicy(RetryKind.BACKOFF, max_tries=8, cap_s=900.0),
    "none": RetryPolicy(RetryKind.NONE, max_tries=1),
}
"""The policies every deployment has; ``[retry.NAME]`` adds others."""


def delay_s(policy: RetryPolicy, tries: int, jitter: float) -> float | None:
    """Seconds to wait after the ``tries``-th refusal (1 is the first), or None when the policy is exhausted."""
    if tries >= policy.max_tries:
        return None
    match policy.kind:
        case RetryKind.CUBED:
            return min(policy.cap_s, (tries + 1) ** 3 * policy.unit_s)
        case RetryKind.EXPONENTIAL:
            return min(policy.cap_s, policy.factor ** min(tries, 30) * policy.unit_s)
        case RetryKind.BACKOFF:
            return jitter * min(policy.cap_s, policy.base_s * 2.0 ** min(tries, 30))
        case RetryKind.NONE:
            return None


def next_due_ms(
    policy: RetryPolicy,
    *,
    tries: int,
    now_ms: int,
    jitter: float,
    retry_after_s: float | None = None,
    expires_at_ms: int = 0,
) -> int | None:
    """The time of the next try, or None if there is none before the ceiling."""
    wait_s = delay_s(policy, tries, jitter)
    if wait_s is None:
        return None
    due_ms = now_ms + int(1000 * max(wait_s, retry_after_s or 0.0))
    if expires_at_ms and due_ms >= expires_at_ms:
        return None
    return due_ms

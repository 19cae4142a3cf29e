"""What dispatch must be told: lanes, routes, policies and limits, all plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from streams.core.limits import RecipientLimit
from streams.core.message import Stream
from streams.core.retry import POLICIES, RetryPolicy
from streams.core.routing import RouteRule
from streams.core.warm_up import WarmUp
from streams.topics import Topics


@dataclass(frozen=True, slots=True)
class LaneConfig:
    """Limits of one provider account for the whole fleet. ``rate`` is messages per second, 0 without limit.

    ``deadline_s`` bounds one provider call in total. ``visibility_delay_s`` is how long the provider's own records (or,
    where it cannot be asked, its events) may take to show a send: before that, absence proves nothing.
    """

    rate: float = 0.0
    burst: float = 0.0
    concurrency: int = 20
    batch_size: int = 1000
    deadline_s: float = 30.0
    visibility_delay_s: float = 1800.0
    ahead_s: float = 0.0
    """How long before its ``send_at`` a message may be handed over, for the provider to keep; 0: not before."""


@dataclass(frozen=True, slots=True)
class DispatchConfig:
    """Everything that does not change while a worker runs."""

    partitions: int
    worker: str
    topics: Topics = field(default_factory=Topics)
    lanes: Mapping[str, LaneConfig] = field(default_factory=dict)
    warm_ups: Mapping[str, WarmUp] = field(default_factory=dict)
    """By provider; only those under a plan."""
    recipient_limit: RecipientLimit | None = None
    lends: bool = True
    """Whether idle shares of rates are lent between workers."""
    tenant_rate: float = 0.0
    """Messages per second of each tenant, 0 without limit."""
    rules: tuple[RouteRule, ...] = ()
    default_route: tuple[str, ...] = ()
    policies: Mapping[str, RetryPolicy] = field(default_factory=lambda: POLICIES)
    default_policy: str = "backoff"
    batch_wait_ms: Mapping[Stream, int] = field(default_factory=lambda: {Stream.TRANSACTIONAL: 0, Stream.BULK: 20})
    """How long a started batch waits for company; without a free call slot it waits anyway."""
    max_in_flight: int = 20_000
    """Messages of one stream that may be under way in this process before its intake pauses."""
    max_bytes_in_flight: int = 16 << 20
    """The same in bytes of their records."""
    max_bytes_remembered: int = 32 << 20
    """Of messages at rest that are kept in memory until they are due."""
    bulk_share: float = 0.75
    """The part of a provider's concurrency that bulk may use while transactional mail could come."""
    lease_margin_s: float = 15.0
    held_after_s: float = 2.0
    """A message that found no open lane for this long is parked, so that its offset may advance."""
    hold_poll_s: float = 1.0
    hold_long_s: float = 20.0
    """How often held messages look for themselves, when some hundred others already do so more often."""
    account_hold_s: float = 60.0
    throttle_s: float = 1.0
    provider_retry_s: float = 2.0
    recheck_s: float = 60.0
    """Between questions to a provider that could not be asked about an uncertain attempt."""
    uncertain_limit_s: float = 86_400.0
    heartbeat_limit_s: float = 20.0
    """No provider is called when the group has not confirmed us for this long."""
    sum_interval_s: float = 0.25
    handover_s: float = 20.0
    """How long a lost partition's calls may take to end, at most; the engine may have less patience. Later answers are
    only told.
    """

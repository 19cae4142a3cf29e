"""A gate is one provider account: its rate, its call slots, and who waits in front of it.

Rules:

1. Transactional mail goes first; bulk may use only a share of the call slots.
2. What waits is kept in formers, one per (partition, stream, content): whatever has gathered when a slot and tokens are
   free becomes one call. So an idle gate sends at once, and a busy one sends large batches.
3. An address is in a batch at most once; a second message to it waits for the next one.
4. Throttling pauses the gate. It never costs a message a try.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from streams.agents.dispatch.allowance import Allowance
from streams.agents.dispatch.config import LaneConfig
from streams.agents.dispatch.flight import Flight
from streams.core.accounts import lane_of
from streams.core.event import Reason
from streams.core.ids import normalise_address
from streams.core.limits import TokenBucket
from streams.core.message import Stream

FormerKey = tuple[int, Stream, str]
_LEAST_SHARE = 1e-6  # a share of nothing would be a rate without limit


@dataclass(slots=True, eq=False)
class Former:
    """Messages of one partition that may share a call. ``ready`` once it stands in line."""

    key: FormerKey
    flights: list[Flight] = field(default_factory=list)
    ready: bool = False


class Gate:
    """Not thread-safe; ``start_call`` is given each batch whose turn has come, and must answer with
    :meth:`call_ended`.
    """

    def __init__(
        self,
        provider: str,
        config: LaneConfig,
        bulk_share: float,
        clock: Callable[[], int],
        start_call: Callable[[Gate, list[Flight]], None],
        wake_in: Callable[[float, Callable[[], None]], None],
        account: str = "",
    ) -> None:
        self.provider = provider
        """Whose circuit breaker it is, and its name in metrics."""
        self.account = account
        self.lane = lane_of(provider, account)
        """Whose adapter makes the calls."""
        self.ready = True
        """Whether there is an adapter: nothing goes before."""
        self.trouble: Reason | None = None
        """Why the account takes nothing at present; what waits here is held with this reason."""
        self.allowance: Allowance | None = None
        self.used_ms = clock()
        self.spent = 0
        """Messages that went into calls since somebody last looked, and whether any had to wait for a token."""
        self.starved = False
        self.config = config
        self.calls = 0
        self.slots: set[Slot] = set()
        """Of the calls under way that have begun their work."""
        self.paused_until_ms = 0
        self._clock = clock
        self._bucket = TokenBucket(config.rate, config.burst or config.rate, clock())
        self._reserve = TokenBucket(config.rate, 1.0, clock())
        """What transactional mail may spend when bulk has spent the bucket: bulk pays it back."""
        self._reserved = 1.0 - bulk_share
        self._share = 0.0
        self._lent = 0.0
        self._quota_rate = 0.0
        self._bulk_slots = max(1, int(config.concurrency * bulk_share))
        self._bulk_calls = 0
        self._formers: dict[FormerKey, Former] = {}
        self._lines: dict[Stream, deque[Former]] = {stream: deque() for stream in Stream}
        self._start_call = start_call
        self._wake_in = wake_in
        self._waking = False

    def reshare(self, share: float) -> None:
        """This worker owns ``share`` of the partitions, so it has that share of the rate."""
        rate = self.rate
        burst = self.config.burst or rate
        if share:  # a rate of 0 would be one without limit; who owns nothing sends nothing
            net = max(share + self._lent, _LEAST_SHARE)
            self._bucket.reshare(rate * net, burst * net, self._clock())
            self._reserve.reshare(rate * net, burst * net * self._reserved, self._clock())
            if not self._share:  # what was saved up meanwhile, the owner before has spent
                self._bucket.empty()
                self._reserve.empty()
        self._share = share

    def lend(self, fraction: float) -> None:
        """Of the fleet's rate this worker has so much more (borrowed) or less (lent) than its partitions give it."""
        if fraction != self._lent:
            self._lent = fraction
            self.reshare(self._share)

    @property
    def share(self) -> float:
        """The part of the fleet's rate that this worker may use now."""
        return max(self._share + self._lent, _LEAST_SHARE) if self._share else 0.0

    def configure(self, config: LaneConfig) -> None:
        """Other limits for the same account."""
        self.config = config
        self.reshare(self._share)

    def limit(self, rate: float) -> None:
        """The provider's own limit for the whole account, messages per second; 0 if it has none that is known."""
        self._quota_rate = rate
        self.reshare(self._share)

    @property
    def rate(self) -> float:
        """The lower of the configured rate and the account's own, 0 without limit."""
        return min((rate for rate in (self.config.rate, self._quota_rate) if rate), default=0.0)

    def add(self, flight: Flight) -> Former:
        """Put a message into the former of its content; it goes out when :meth:`line_up` has been called for it."""
        message = flight.message
        content = f"{message.content_hash}/{message.message_id}" if flight.single else message.content_hash
        if self.config.ahead_s and message.send_at_ms > self._clock():
            content = f"{content}@{message.send_at_ms}"  # one call, one time of delivery
        key = (flight.partition, message.stream, content)
        former = self._formers.get(key)
        if former is None:
            former = self._formers[key] = Former(key)
        former.flights.append(flight)
        return former

    def line_up(self, former: Former) -> None:
        """The former need not wait for company any longer."""
        if not former.ready:
            former.ready = True
            self._lines[former.key[1]].append(former)

    def pause(self, until_ms: int) -> None:
        """Nothing goes out before ``until_ms``; pauses only grow."""
        self.paused_until_ms = max(self.paused_until_ms, until_ms)

    def resume(self) -> None:
        """Whatever it was paused for is over."""
        self.paused_until_ms, self.trouble = 0, None
        self.pump()

    def call_ended(self, stream: Stream) -> None:
        """A call slot is free again."""
        self.calls -= 1
        if stream is Stream.BULK:
            self._bulk_calls -= 1
        self.pump()

    def call_again(self, stream: Stream) -> None:
        """Half of a refused batch is called at once, beyond the slots: it was in a call already."""
        self.calls += 1
        if stream is Stream.BULK:
            self._bulk_calls += 1

    def pump(self) -> None:
        """Start as many calls as slots, tokens and the pause allow."""
        if not self.ready:
            return
        now_ms = self._clock()
        if now_ms < self.paused_until_ms:
            self._wake((self.paused_until_ms - now_ms) / 1000)
            return
        self.trouble = None
        for stream in (Stream.TRANSACTIONAL, Stream.BULK):
            line = self._lines[stream]
            while line and self.calls < self.config.concurrency:
                if stream is Stream.BULK and self._bulk_calls >= self._bulk_slots:
                    break
                wanted = min(len(line[0].flights), self.config.batch_size)
                size, wait_s = self._spend(stream, wanted, now_ms)
                self.starved = self.starved or size < wanted
                if not size:
                    self._wake(wait_s)
                    return
                self._call(line, stream, size)

    def _spend(self, stream: Stream, wanted: int, now_ms: int) -> tuple[int, float]:
        """Take tokens: for how many messages, or 0 and the seconds to wait.

        Bulk waits until there are enough for all. Transactional mail takes what there is, and if bulk has left
        nothing, as after a batch above the burst, what is reserved for it: bulk waits so much longer.
        """
        bucket, reserve = self._bucket, self._reserve
        wait_s = bucket.take(wanted, now_ms)
        if stream is Stream.BULK:
            return (0, wait_s) if wait_s else (wanted, 0.0)
        size = wanted
        if wait_s:
            size = min(wanted, max(bucket.available(now_ms), reserve.available(now_ms)))
            if not size:
                return 0, min(wait_s, reserve.take(1, now_ms))
            bucket.owe(size, now_ms)
        reserve.owe(size, now_ms)
        return size, 0.0

    def waiting(self) -> Iterator[Flight]:
        """Everything that has not begun a call."""
        for former in self._formers.values():
            yield from former.flights

    def withdraw(self, wanted: Callable[[Flight], bool]) -> list[Flight]:
        """Take out the waiting flights that ``wanted`` names."""
        taken: list[Flight] = []
        for key, former in list(self._formers.items()):
            gone = [flight for flight in former.flights if wanted(flight)]
            if not gone:
                continue
            taken += gone
            former.flights = [flight for flight in former.flights if not wanted(flight)]
            if not former.flights:
                del self._formers[key]
                if former.ready:
                    self._lines[key[1]].remove(former)
        return taken

    def _call(self, line: deque[Former], stream: Stream, size: int) -> None:
        former = line.popleft()
        taken, rest = _distinct(former.flights, size)
        if rest:
            former.flights = rest
            line.append(former)  # behind the others: a large campaign must not starve a small one
        else:
            del self._formers[former.key]
        self.calls += 1
        self.spent += len(taken)
        self.used_ms = self._clock()
        if stream is Stream.BULK:
            self._bulk_calls += 1
        self._start_call(self, taken)

    def _wake(self, seconds: float) -> None:
        if not self._waking:
            self._waking = True
            self._wake_in(seconds, self._woken)

    def _woken(self) -> None:
        self._waking = False
        self.pump()


class Slot:
    """A call's place in the gate's concurrency. It is free again when the answer has been read, not when all rows rest:
    Kafka's acknowledgements must not limit how many calls are under way.
    """

    __slots__ = ("_gate", "_stream")

    def __init__(self, gate: Gate, stream: Stream) -> None:
        self._gate: Gate | None = gate
        self._stream = stream
        gate.slots.add(self)

    def free(self) -> None:
        """Once; again is harmless."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.slots.discard(self)
            gate.call_ended(self._stream)


def _distinct(flights: list[Flight], size: int) -> tuple[list[Flight], list[Flight]]:
    """At most ``size`` flights, no mailbox twice, however it is spelt: providers drop such repeats silently."""
    if size == 1 or len(flights) == 1:
        return flights[:1], flights[1:]
    taken: dict[str, Flight] = {}
    rest: list[Flight] = []
    for flight in flights:
        address = normalise_address(flight.message.recipient.email)
        if len(taken) < size and address not in taken:
            taken[address] = flight
        else:
            rest.append(flight)
    return list(taken.values()), rest

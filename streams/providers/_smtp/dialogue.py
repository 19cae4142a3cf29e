"""A batch becomes outcomes: wires from the pool, transactions on them, and the verdict where none was given.

Rules:

1. In doubt is only the message whose final dot may have left; it is ``Uncertain``. All others without a reply were
   certainly not sent.
2. A kept connection that has died meanwhile is nobody's failure: if nothing was answered on it, one fresh connection
   is tried within the same deadline.
3. A transaction is begun only in the first half of the call's time, the first one always: the rest of the batch waits
   for its next call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from streams.core.event import Reason, ReasonKind
from streams.core.outcome import AttemptResult, Deferred, Outcome, Scope, Uncertain
from streams.providers._payload import detail
from streams.providers._smtp.carrying import Carrier, Job, OutOfTime, Progress
from streams.providers._smtp.envelope import Envelope, refusal
from streams.providers._smtp.opening import NotOpened
from streams.providers._smtp.pool import Pool
from streams.providers._smtp.replies import outcome_of
from streams.providers._smtp.stages import Stage
from streams.providers._smtp.wire import Reply, Wire, WireLost

_K = ReasonKind
_LATER = Deferred(
    Reason(_K.THROTTLED, "slow", "", "the server took too long for the whole batch; the rest goes with the next call"),
    Scope.LANE,
    AttemptResult.THROTTLED,
    1.0,
)

Named = Callable[[Reply, Envelope], str]


def own_message_id(reply: Reply, envelope: Envelope) -> str:
    """The id of a message at a server that gives none of its own: its Message-ID."""
    return envelope.message_id


async def hand_over(pool: Pool, jobs: Sequence[Job], deadline_s: float, named: Named) -> dict[int, Outcome]:
    """An outcome per job, by its number; never raises for the network's sake."""
    run = _Run(pool, named, deadline_s)
    why: Outcome
    try:
        async with asyncio.timeout(deadline_s):
            why = await run.all(list(jobs))
    except TimeoutError:
        reason = Reason(_K.TIMEOUT, "no answer", "", f"no answer within {deadline_s:g} s")
        why = Deferred(reason, Scope.PROVIDER, AttemptResult.TIMEOUT)
    return run.outcomes(jobs, why)


class _Run:
    """One call."""

    def __init__(self, pool: Pool, named: Named, deadline_s: float) -> None:
        self._pool = pool
        self._named = named
        self._half_s = asyncio.get_running_loop().time() + deadline_s / 2
        self._until_s = time.monotonic() + deadline_s
        self._progress = Progress()

    async def all(self, jobs: list[Job]) -> Outcome:
        """Carry all jobs; answers what is to be said of those that got no verdict."""
        while jobs:
            kept = self._pool.kept()
            try:
                wire = kept or await self._pool.fresh()
            except NotOpened as exc:
                return _not_opened(exc)
            room = max(1, self._pool.server.max_messages - wire.messages)
            self._progress.answered = False
            try:
                await self._carry(wire, jobs[:room], kept=kept is not None)
            except OutOfTime:
                return _LATER
            except WireLost as exc:
                if self._progress.doubtful is not None or self._progress.answered or kept is None:
                    return self._lost(exc)
            jobs = [job for job in jobs if job.number not in self._progress.verdicts]
            if jobs and not self._in_time():
                return _LATER
        return _LATER

    async def _carry(self, wire: Wire, jobs: list[Job], *, kept: bool) -> None:
        progress = self._progress
        able: list[Job] = []
        for job in jobs:
            refused = refusal(job.envelope, wire.offers)
            if refused is None:
                able.append(job)
            else:
                progress.verdicts[job.number] = refused
        done = False
        try:
            pipelining = self._pool.server.pipelining
            carrier = Carrier(wire, progress, self._named, pipelining=pipelining, kept=kept, until_s=self._until_s)
            await carrier.carry(able, self._in_time)
            done = True
        finally:
            if done:
                self._pool.keep(wire)
            else:
                wire.close(politely=False)

    def _in_time(self) -> bool:
        return asyncio.get_running_loop().time() < self._half_s

    def _lost(self, exc: WireLost) -> Outcome:
        last = next(reversed(self._progress.verdicts.values()), None)
        if isinstance(last, Deferred) and last.scope in (Scope.LANE, Scope.PROVIDER, Scope.ACCOUNT):
            return last  # a 421 said why
        return Deferred(Reason(_K.NETWORK, "lost", "", detail(str(exc))), Scope.PROVIDER, AttemptResult.CONNECT_ERROR)

    def outcomes(self, jobs: Sequence[Job], why: Outcome) -> dict[int, Outcome]:
        """Every job's, with ``why`` for those that have none."""
        verdicts = self._progress.verdicts
        doubtful = self._progress.doubtful
        if doubtful is not None:
            kind = why.reason.kind if isinstance(why, Deferred) else _K.UNCERTAIN
            said = why.reason.detail if isinstance(why, Deferred) else ""
            reason = Reason(kind, "no answer", "", detail(f"after the whole message: {said}"))
            result = AttemptResult.TIMEOUT if kind is _K.TIMEOUT else AttemptResult.UNCERTAIN
            verdicts[doubtful] = Uncertain(reason, result)
        return {job.number: verdicts.get(job.number, why) for job in jobs}


def _not_opened(exc: NotOpened) -> Outcome:
    if exc.reply is not None:
        return outcome_of(exc.stage, exc.reply)
    if exc.stage is Stage.TLS:
        return Deferred(Reason(_K.CONFIGURATION, "tls", "", detail(exc.detail)), Scope.ACCOUNT, AttemptResult.AUTH)
    if exc.stage is Stage.LOGIN and not exc.timeout and "offers no login" in exc.detail:
        return Deferred(Reason(_K.CREDENTIALS, "login", "", detail(exc.detail)), Scope.ACCOUNT, AttemptResult.AUTH)
    kind = _K.TIMEOUT if exc.timeout else _K.NETWORK
    return Deferred(Reason(kind, "connect", "", detail(exc.detail)), Scope.PROVIDER, AttemptResult.CONNECT_ERROR)

"""Transactions on one wire, one after the other; with PIPELINING (RFC 2920) two round trips each, or one.

A pipelined group is MAIL, RCPT and DATA of a message; with `overlap` it follows the content of the one before without
waiting. RFC 2920 allows that, but servers are less used to it: Dovecot 2.3's submission service crashes. The next one's
content leaves only after its own 354, so what is in doubt when the connection breaks is never more than one message.

Rules:

1. ``doubtful`` names the message whose final dot may have left and whose reply has not come. Everything before that is
   certainly not sent, everything after it has a verdict.
2. The final dot of a large message is written after the rest has been passed on: a connection that breaks meanwhile
   leaves no doubt.
3. A refused envelope is reset before the next (``Wire.dirty``). A server that takes DATA although it refused the
   recipient gets an empty message, as RFC 2920 §3.1 asks; the refusal stands.
4. No final dot leaves after the call's time: timers come late in a process that stood still, and by then others may
   have taken the message over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from streams.core.outcome import Accepted, Outcome
from streams.providers._smtp.envelope import Envelope, commands, stuffed
from streams.providers._smtp.replies import outcome_of
from streams.providers._smtp.server import Pipelining
from streams.providers._smtp.stages import Stage
from streams.providers._smtp.wire import Reply, Wire, WireLost

LARGE = 65_536
"""Bytes from which on rule 2 is worth a second write."""

_STAGES = (Stage.MAIL, Stage.RCPT, Stage.DATA)
_START = 354


@dataclass(frozen=True, slots=True)
class Job:
    """One message of a batch: ``number`` is its place there."""

    number: int
    envelope: Envelope
    sender: str = ""
    own_sender: bool = False


@dataclass(slots=True)
class Progress:
    """What is known so far; read by whoever ends the run from outside (a deadline, a lost connection)."""

    verdicts: dict[int, Outcome] = field(default_factory=dict)
    doubtful: int | None = None
    answered: bool = False
    """Whether the server has answered anything on this wire during this run."""


class OutOfTime(Exception):
    """The server, or this process, took so long that the envelope is abandoned, with its connection."""


class Carrier:
    """Runs jobs over one wire. ``named`` reads the server's own id out of its last reply; ``until_s`` is monotonic."""

    def __init__(
        self,
        wire: Wire,
        progress: Progress,
        named: Callable[[Reply, Envelope], str],
        *,
        pipelining: Pipelining,
        kept: bool,
        until_s: float,
    ) -> None:
        self._wire = wire
        self._progress = progress
        self._named = named
        self._pipelining = pipelining if "pipelining" in wire.offers else Pipelining.OFF
        self._kept = kept
        self._until_s = until_s
        self._open: Job | None = None  # its content waits to be written

    async def carry(self, jobs: list[Job], go_on: Callable[[], bool]) -> None:
        """Hand over what ``go_on`` allows; raises WireLost or OutOfTime. What then has no verdict was not sent."""
        for job in jobs:
            if self._open is not None and self._pipelining is not Pipelining.OVERLAP:
                await self._finish()
            if self._progress.verdicts and not go_on():
                break
            await self._begin(job, go_on)
        if self._open is not None:
            await self._finish()

    async def _finish(self) -> None:
        await self._write_content(b"")
        await self._settle()

    async def _begin(self, job: Job, go_on: Callable[[], bool]) -> None:
        size = len(job.envelope.content)
        lines = commands(job.envelope, self._wire.offers, size)
        if self._pipelining is Pipelining.OFF:
            if self._wire.dirty:
                await self._reset()
            replies = await self._stepwise(lines)
        else:
            group = b"".join(lines)
            resets = self._wire.dirty
            if resets:
                group = b"RSET\r\n" + group
                self._wire.dirty = False
            if self._open is not None:
                await self._write_content(group)
                await self._settle()
                if not go_on():
                    raise OutOfTime
            else:
                self._wire.write(group)
            if resets:
                await self._reply()
            replies = await self._group(job)
        await self._enveloped(job, replies)

    async def _stepwise(self, lines: tuple[bytes, ...]) -> list[Reply]:
        replies = []
        for line in lines:
            self._wire.write(line)
            replies.append(await self._reply())
            if replies[-1].code >= 400:
                break
        return replies

    async def _group(self, job: Job) -> list[Reply]:
        """Three replies; a 421 is the server's last word, whatever it owes."""
        replies: list[Reply] = []
        for stage in _STAGES:
            replies.append(await self._reply())
            if replies[-1].code == 421:
                self._verdict(job, stage, replies[-1])
                raise WireLost("the server closed the session")
        return replies

    async def _enveloped(self, job: Job, replies: list[Reply]) -> None:
        refused = next(((s, r) for s, r in zip(_STAGES[:2], replies, strict=False) if not 200 <= r.code < 300), None)
        last = replies[-1]
        asked = len(replies) == len(_STAGES) and last.code == _START
        if refused is None and not asked:
            refused = (_STAGES[len(replies) - 1], last)
        if refused is None:
            self._open = job
            return
        self._verdict(job, *refused)
        if refused[1].code == 421:
            raise WireLost("the server closed the session")
        self._wire.dirty = True
        if asked:
            self._wire.write(b".\r\n")
            await self._reply()

    async def _write_content(self, rest: bytes) -> None:
        """The open message, its final dot, and ``rest`` behind it."""
        assert self._open is not None
        content = stuffed(self._open.envelope.content)
        if len(content) > LARGE:
            self._wire.write(content)
            await self._wire.drained()
            self._end(b".\r\n" + rest)
        else:
            self._end(b"".join((content, b".\r\n", rest)))

    def _end(self, data: bytes) -> None:
        """The final dot is in it."""
        assert self._open is not None
        if time.monotonic() >= self._until_s:
            raise OutOfTime
        self._progress.doubtful = self._open.number
        self._wire.write(data)

    async def _settle(self) -> None:
        job, self._open = self._open, None
        assert job is not None
        reply = await self._reply()
        self._progress.doubtful = None
        self._wire.messages += 1
        if 200 <= reply.code < 300:
            self._progress.verdicts[job.number] = Accepted(self._named(reply, job.envelope))
        else:
            self._verdict(job, Stage.END, reply)
            if reply.code == 421:
                raise WireLost("the server closed the session")

    async def _reset(self) -> None:
        self._wire.dirty = False
        self._wire.write(b"RSET\r\n")
        reply = await self._reply()
        if reply.code >= 300:
            raise WireLost("the server refused RSET")

    async def _reply(self) -> Reply:
        reply = await self._wire.reply()
        if reply.code == 421 and self._kept and not self._progress.answered:
            raise WireLost("the server had closed the session meanwhile")
        self._progress.answered = True
        return reply

    def _verdict(self, job: Job, stage: Stage, reply: Reply) -> None:
        self._progress.verdicts[job.number] = outcome_of(stage, reply, own_sender=job.own_sender, sender=job.sender)

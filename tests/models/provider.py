"""A provider whose every step is a move: it takes a call or not, it answers or the answer is lost, it reports later.

It can be asked about an attempt, and shows it only after its visibility delay: the worst that the configuration allows.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from streams.core.event import Reason, ReasonKind
from streams.core.outcome import Accepted, BatchOutcome, Deferred, Scope
from streams.providers.base import (
    Batch,
    CannotTell,
    Finding,
    Found,
    HttpRequest,
    HttpResponse,
    Limits,
    NoResponse,
    NotFound,
    Question,
)
from streams.providers.base.outbound import unanswered

REFUSED = Deferred(Reason(ReasonKind.OTHER, detail="503"), Scope.PROVIDER)
TRY_LATER = Deferred(Reason(ReasonKind.OTHER, detail="try later"), Scope.MESSAGE)


@dataclass(slots=True, eq=False)
class Call:
    """A call to the provider. ``answer`` waits for it in the worker, as long as that lives and has not given up."""

    worker: str
    message_id: str
    attempt: int
    deadline_ms: int
    answer: asyncio.Future[Any] | None
    taken: bool = False

    @property
    def open(self) -> bool:
        return self.answer is not None and not self.answer.done()


@dataclass(slots=True, eq=False)
class Asked:
    """A question about an attempt."""

    question: Question
    answer: asyncio.Future[Finding]


@dataclass(slots=True)
class Acceptance:
    """The provider took an attempt; ``reports`` are still to come."""

    message_id: str
    attempt: int
    at_ms: int
    theirs: str
    reports: tuple[str, ...]
    reported: tuple[str, ...] = ()


class ModelProvider:
    """The adapter in one worker. ``world`` is told of calls and questions."""

    type = "model"
    limits = Limits(1000, 1 << 20)
    name = "mailgun"

    def __init__(self, world: Any, worker: str, can_find: bool) -> None:
        self._world = world
        self._worker = worker
        self.can_find = can_find

    def fits(self, batch: Batch) -> str:
        return ""

    def build_request(self, batch: Batch, now_ms: int) -> HttpRequest:
        (entry,) = batch.entries
        return HttpRequest("POST", f"{entry.message_id}/{entry.attempt}", body=b"")

    async def exchange(self, request: HttpRequest, deadline_s: float) -> HttpResponse | NoResponse:
        message_id, _, attempt = request.url.partition("/")
        answer: asyncio.Future[HttpResponse | NoResponse] = asyncio.get_running_loop().create_future()
        self._world.called(self._worker, message_id, int(attempt), deadline_s, answer)
        return await answer

    def read_response(self, batch: Batch, answer: HttpResponse | NoResponse, now_ms: int) -> BatchOutcome:
        if isinstance(answer, NoResponse):
            return (unanswered(answer),)
        if answer.status == 200:
            return (Accepted(answer.body.decode()),)
        return (REFUSED if answer.status == 503 else TRY_LATER,)

    async def find(self, question: Question, exchange: Any, now_ms: int) -> Finding:
        answer: asyncio.Future[Finding] = asyncio.get_running_loop().create_future()
        self._world.asked(self._worker, question, answer)
        return await answer


def finding(taken: list[Acceptance], question: Question, now_ms: int, visibility_ms: int) -> Finding:
    """What the provider's records show of an attempt."""
    for one in taken:
        if (one.message_id, one.attempt) == (question.message_id, question.attempt):
            return Found(one.theirs, one.at_ms) if now_ms - one.at_ms >= visibility_ms else NotFound()
    return NotFound()


__all__ = ["Acceptance", "Asked", "Call", "CannotTell", "ModelProvider", "finding"]

"""Rule 4: "not found" counts only after lease and visibility delay, and when no webhook lies unread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from streams.core.command import NoProof
from streams.core.ledger import LedgerState
from streams.core.message import OnUncertain
from streams.core.outcome import Accepted, AttemptResult, Uncertain
from streams.core.receipt import ReceiptKind
from streams.engine import Backlog, Batch, EngineApp
from streams.providers import mailgun, ses
from streams.providers.base import Batch as Mail
from streams.providers.base import HttpResponse, NoResponse
from streams.topics import Topics
from tests.agents.dispatch_desk import NOW, Desk, reason
from tests.engine.support import create, produce, running, settings_for, until
from tests.rules.mail import mail

UNCERTAIN = Uncertain(reason("read timeout"), AttemptResult.TIMEOUT)
PROVIDERS = {
    "mailgun": mailgun.create("mg", mailgun.Config("mg.example.com", api_key="key")),
    "ses": ses.create("ses", ses.Config("eu-west-1", access_key_id="A", secret_access_key="s")),
}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "answer",
    [
        HttpResponse(500, {}, b""),
        HttpResponse(502, {}, b"<html>bad gateway</html>"),
        HttpResponse(504, {}, b""),
        NoResponse(True, "the connection was reset"),
        NoResponse(True, "read timeout", timeout=True),
    ],
    ids=["500", "502", "504", "reset", "timeout"],
)
def test_rule_04_a_failure_after_the_body_was_sent_is_uncertain(
    provider: str, answer: HttpResponse | NoResponse
) -> None:
    batch: Mail = mail()
    outcomes = PROVIDERS[provider].read_response(batch, answer, NOW)
    assert isinstance(outcomes, tuple)
    assert [type(outcome) for outcome in outcomes] == [Uncertain]


async def test_rule_04_an_attempt_is_not_given_up_while_webhooks_lie_unread() -> None:
    """The proof may be among them: SES's `Send` event, stored by ingress, while normalise is behind."""
    desk = await Desk(recheck_s=60).open()
    read = False
    asked: list[str] = []

    async def webhooks_are_read(provider_type: str) -> bool:
        asked.append(provider_type)
        return read

    desk.dispatch.waker.webhooks_are_read = webhooks_are_read
    desk.providers["mailgun"].answer = lambda batch: UNCERTAIN
    message = desk.message(on_uncertain=OnUncertain.RESEND)
    await desk.give(message)
    await desk.wake(60)
    assert asked == ["function"] and desk.receipts(ReceiptKind.PROBE) == []
    await desk.give(NoProof(message.message_id, 1))
    row = desk.row(message)
    assert row is not None and row.state is LedgerState.UNCERTAIN
    assert len(desk.requests) == 1
    read = True
    desk.providers["mailgun"].answer = lambda batch: Accepted("p-2")
    await desk.wake(61)
    assert len(desk.receipts(ReceiptKind.PROBE)) == 1
    await desk.give(NoProof(message.message_id, 1))
    await desk.wake(1)
    assert len(desk.requests) == 2


async def test_rule_04_webhooks_are_read_when_their_offsets_are_committed(
    kafka: str, topic_prefix: str, request: pytest.FixtureRequest
) -> None:
    topic = Topics(topic_prefix).webhooks("ses")
    await create(kafka, topic)
    settings = settings_for(kafka, f"{topic_prefix}app", embedded=request.node.callspec.params["kafka"] == "embedded")
    async with _backlog(settings) as backlog:
        assert await backlog.is_worked_off(topic), "nothing has ever arrived"
        await produce(kafka, topic, [(n, b"k", b"payload") for n in range(4)])
        assert not await backlog.is_worked_off(topic, timeout_s=0.5)
        app = EngineApp(settings)
        held: list[Batch] = []

        @app.agent(app.batch_topic(topic))
        async def hold(batches: AsyncIterator[Batch]) -> None:
            async for batch in batches:
                held.append(batch)  # noqa: PERF401 - one by one, while the stream goes on

        async with running(app):
            await until(lambda: len(held) == 4, "delivery")
            assert not await backlog.is_worked_off(topic, timeout_s=0.5)
            for batch in held:
                batch.release()
            answers = await asyncio.gather(*(backlog.is_worked_off(topic) for _ in range(50)))
            assert all(answers)


async def test_rule_04_a_broker_that_does_not_answer_proves_nothing(unused_port: int) -> None:
    settings = settings_for(f"127.0.0.1:{unused_port}", "nobody", embedded=True)
    async with _backlog(settings) as backlog:
        assert not await backlog.is_worked_off("webhooks.ses", timeout_s=2)


@contextlib.asynccontextmanager
async def _backlog(settings: object) -> AsyncIterator[Backlog]:
    backlog = Backlog(settings)  # type: ignore[arg-type]
    try:
        yield backlog
    finally:
        await backlog.stop()

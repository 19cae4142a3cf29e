"""Queues of events: whether they can be read, and where a message goes that nobody can get rid of."""

from __future__ import annotations

from collections.abc import AsyncIterator

from streams.doctor.finding import Finding, bad, good
from streams.pollers.source import SourceUnavailable
from streams.pollers.sqs import OFTEN_ENOUGH, SqsSource
from streams.providers.ses import Ses


async def check_sqs(name: str, adapter: Ses) -> AsyncIterator[Finding]:
    """All findings about an account's queue; nothing without one. Nothing is received."""
    if not adapter.config.sqs_queue_url:
        return
    source = SqsSource(name, adapter.config, "", 1)
    try:
        facts = await source.facts()
    except SourceUnavailable as exc:
        advice = (
            f"check [providers.{name}] sqs_queue_url and credentials; the identity needs sqs:ReceiveMessage, "
            "sqs:DeleteMessage, sqs:ChangeMessageVisibility and sqs:GetQueueAttributes on the queue"
        )
        yield bad(f"{name} queue", f"{adapter.config.sqs_queue_url}: {exc}", advice)
        return
    finally:
        await source.aclose()
    yield good(f"{name} queue", f"{facts.messages:,} messages wait; they are fetched by `streams poll`")
    if not facts.dead_letter_arn:
        advice = (
            "give the queue a redrive policy (a dead-letter queue and maxReceiveCount 10), or what cannot be deleted "
            "is fetched for ever"
        )
        yield bad(f"{name} dead letters", "the queue has no redrive policy", advice)
    elif facts.max_receives < OFTEN_ENOUGH:
        advice = f"raise maxReceiveCount to {OFTEN_ENOUGH} or more: each restart of a poller may cost one"
        yield bad(f"{name} dead letters", f"messages are given up after {facts.max_receives} receives", advice)
    elif facts.dead > 0:
        advice = "look at them, and start a redrive from the dead-letter queue to the queue (SQS console)"
        yield bad(f"{name} dead letters", f"{facts.dead:,} messages in {facts.dead_letter_arn}", advice)
    else:
        yield good(f"{name} dead letters", f"after {facts.max_receives} receives to {facts.dead_letter_arn}")

"""What doctor says of an SQS queue: whether it can be read, and where a message goes that nobody can get rid of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streams.doctor.queues import check_sqs
from streams.providers.ses import Config, create
from streams.sandbox import Sandbox, SandboxConfig, SesConfig


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    running = Sandbox(SandboxConfig(tmp_path / "ledger", ses=SesConfig(queue_max_receives=5)))
    await running.start()
    yield running
    await running.stop()


async def found(sandbox: Sandbox, **more: Any) -> dict[str, tuple[bool, str]]:
    config = Config(
        region="us-east-1",
        access_key_id="k",
        secret_access_key="s",
        **{"sqs_queue_url": sandbox.sqs.url, "sqs_endpoint_url": sandbox.url, **more},
    )
    return {one.check: (one.ok, one.detail) async for one in check_sqs("ses", create("ses", config))}


async def test_without_a_queue_there_is_nothing_to_say(sandbox: Sandbox) -> None:
    assert await found(sandbox, sqs_queue_url="") == {}


async def test_a_queue_with_a_redrive_policy_is_well(sandbox: Sandbox) -> None:
    sandbox.sqs.queue.send("{}")
    assert await found(sandbox) == {
        "ses queue": (True, "1 messages wait; they are fetched by `streams poll`"),
        "ses dead letters": (True, "after 5 receives to arn:aws:sqs:us-east-1:111122223333:ses-events-dead"),
    }
    assert sandbox.sqs.queue.visible == 1


async def test_a_queue_without_a_redrive_policy_is_told(sandbox: Sandbox) -> None:
    sandbox.sqs.queue.dead = None
    assert (await found(sandbox))["ses dead letters"] == (False, "the queue has no redrive policy")


async def test_a_queue_that_gives_up_too_soon_is_told(sandbox: Sandbox) -> None:
    sandbox.sqs.queue.max_receives = 2
    assert (await found(sandbox))["ses dead letters"] == (False, "messages are given up after 2 receives")


async def test_messages_that_were_given_up_are_told(sandbox: Sandbox) -> None:
    sandbox.sqs.dead.send("{}")
    ok, detail = (await found(sandbox))["ses dead letters"]
    assert not ok
    assert detail.startswith("1 messages in arn:aws:sqs:")


async def test_a_queue_that_cannot_be_asked_is_told_with_its_url(sandbox: Sandbox) -> None:
    url = sandbox.sqs.url.replace("ses-events", "other")
    ok, detail = (await found(sandbox, sqs_queue_url=url))["ses queue"]
    assert not ok
    assert detail.startswith(f"{url}: get_queue_attributes: AWS.SimpleQueueService.NonExistentQueue")

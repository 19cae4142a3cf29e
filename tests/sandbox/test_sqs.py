"""SQS through boto3, unchanged but for its endpoint: what the queue of the topic does, and what lies in it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from streams.sandbox import AccessCheck, QueueForm, Sandbox
from tests.sandbox.conftest import START, Receiver, settled
from tests.sandbox.test_ses import KEY, SECRET, TAGS, call, client, email, refused


async def send(sandbox: Sandbox, to: str) -> None:
    await call(client(sandbox).send_email, **email(to, ConfigurationSetName="events", EmailTags=TAGS))
    await settled(sandbox)


async def received(sandbox: Sandbox, **more: Any) -> list[dict[str, Any]]:
    found = await call(
        client(sandbox, "sqs").receive_message,
        QueueUrl=sandbox.sqs.url,
        MaxNumberOfMessages=10,
        MessageSystemAttributeNames=["All"],
        **more,
    )
    return list(found.get("Messages", []))


async def bodies(sandbox: Sandbox) -> list[dict[str, Any]]:
    return [json.loads(message["Body"]) for message in await received(sandbox)]


async def test_envelopes_of_the_topic_lie_in_the_queue_beside_the_http_subscription(
    start: START, receiver: Receiver
) -> None:
    sandbox = await start(ses={"queue_form": QueueForm.ENVELOPE, "webhook_url": receiver.url})
    await send(sandbox, "u@example.net")
    queued = await bodies(sandbox)
    posted = [request.json() for request in receiver.requests]
    assert [json.loads(one["Message"])["eventType"] for one in queued] == ["Send", "Delivery"]
    assert [one["MessageId"] for one in queued] == [one["MessageId"] for one in posted]
    assert {one["TopicArn"] for one in queued} == {sandbox.config.ses.topic_arn}


async def test_a_share_of_the_messages_is_told_to_the_queue_too_and_the_rest_to_the_http_subscription_alone(
    start: START, receiver: Receiver
) -> None:
    ses = {"queue_form": QueueForm.ENVELOPE, "queue_share": 0.5, "webhook_url": receiver.url}
    sandbox = await start(ses=ses)
    for number in range(24):
        await send(sandbox, f"u{number}@example.net")
    posted = {request.json()["MessageId"] for request in receiver.requests}
    queued = {found["MessageId"] for _ in range(5) for found in await bodies(sandbox)}
    assert len(posted) == 48
    assert queued
    assert queued < posted
    assert len(queued) % 2 == 0, "a message's events stay together"


async def test_without_a_confirmed_subscription_the_queue_gets_everything(start: START) -> None:
    sandbox = await start(ses={"queue_form": QueueForm.RAW, "queue_share": 0.0})
    await send(sandbox, "u@example.net")
    assert [one["eventType"] for one in await bodies(sandbox)] == ["Send", "Delivery"]


async def test_raw_delivery_is_the_bare_event(start: START) -> None:
    sandbox = await start(ses={"queue_form": QueueForm.RAW})
    await send(sandbox, "bounce@example.net")
    sent, bounced = await bodies(sandbox)
    assert (sent["eventType"], bounced["eventType"]) == ("Send", "Bounce")
    assert bounced["mail"]["tags"]["message_id"] == ["m-1"]


async def test_eventbridge_wraps_the_event(start: START) -> None:
    sandbox = await start(ses={"queue_form": QueueForm.EVENTBRIDGE})
    await send(sandbox, "complaint@example.net")
    events = await bodies(sandbox)
    assert [one["detail-type"] for one in events] == ["Email Sent", "Email Delivered", "Email Complaint Received"]
    assert {one["source"] for one in events} == {"aws.ses"}
    assert events[2]["detail"]["complaint"]["complaintFeedbackType"] == "abuse"


async def test_an_identity_may_report_in_its_own_format_besides(start: START) -> None:
    sandbox = await start(ses={"queue_form": QueueForm.RAW, "identity_notifications": True})
    await send(sandbox, "bounce@example.net")
    published, notified = (await bodies(sandbox))[1:]
    assert (published["eventType"], notified["notificationType"]) == ("Bounce", "Bounce")
    assert notified["bounce"] == published["bounce"]
    assert "tags" not in notified["mail"]


async def test_a_received_message_is_hidden_until_its_time_is_over_or_it_is_given_back(start: START) -> None:
    sandbox = await start()
    sqs, url = client(sandbox, "sqs"), sandbox.sqs.url
    await call(sqs.send_message, QueueUrl=url, MessageBody="one")
    (message,) = await received(sandbox, VisibilityTimeout=60)
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    assert await received(sandbox) == []
    await call(sqs.change_message_visibility, QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    (again,) = await received(sandbox)
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"
    assert again["MessageId"] == message["MessageId"]


async def test_a_long_poll_ends_when_a_message_comes(start: START) -> None:
    sandbox = await start()
    waiting = asyncio.create_task(received(sandbox, WaitTimeSeconds=20))
    sandbox.sqs.queue.send("late")
    (message,) = await asyncio.wait_for(waiting, 10)
    assert message["Body"] == "late"


async def test_a_batch_deletes_entry_by_entry_and_says_which_failed(start: START) -> None:
    sandbox = await start()
    sqs, url = client(sandbox, "sqs"), sandbox.sqs.url
    for text in ("one", "two"):
        sandbox.sqs.queue.send(text)
    one, two = await received(sandbox)
    entries = [
        {"Id": "0", "ReceiptHandle": one["ReceiptHandle"]},
        {"Id": "1", "ReceiptHandle": "nonsense"},
        {"Id": "2", "ReceiptHandle": two["ReceiptHandle"]},
    ]
    answer = await call(sqs.delete_message_batch, QueueUrl=url, Entries=entries)
    assert [entry["Id"] for entry in answer["Successful"]] == ["0", "2"]
    assert [(entry["Id"], entry["Code"]) for entry in answer["Failed"]] == [("1", "ReceiptHandleIsInvalid")]
    assert len(sandbox.sqs.queue) == 0


async def test_what_comes_too_often_goes_to_the_dead_letter_queue(start: START) -> None:
    sandbox = await start(ses={"queue_max_receives": 2})
    sqs, url = client(sandbox, "sqs"), sandbox.sqs.url
    sandbox.sqs.queue.send("poison")
    for _ in range(2):
        assert len(await received(sandbox, VisibilityTimeout=0)) == 1
    assert await received(sandbox) == []
    attributes = await call(sqs.get_queue_attributes, QueueUrl=url, AttributeNames=["All"])
    policy = json.loads(attributes["Attributes"]["RedrivePolicy"])
    assert policy["maxReceiveCount"] == 2
    name = policy["deadLetterTargetArn"].rpartition(":")[2]
    found = await call(sqs.get_queue_url, QueueName=name, QueueOwnerAWSAccountId="111122223333")
    dead = await call(sqs.get_queue_attributes, QueueUrl=found["QueueUrl"], AttributeNames=["All"])
    assert dead["Attributes"]["ApproximateNumberOfMessages"] == "1"


@pytest.mark.parametrize(
    ("method", "arguments", "code"),
    [
        ("receive_message", {"QueueUrl": "http://x/111122223333/none"}, "AWS.SimpleQueueService.NonExistentQueue"),
        ("receive_message", {"MaxNumberOfMessages": 11}, "InvalidParameterValue"),
        ("delete_message_batch", {"Entries": []}, "AWS.SimpleQueueService.EmptyBatchRequest"),
        (
            "delete_message_batch",
            {"Entries": [{"Id": "a", "ReceiptHandle": "x"}, {"Id": "a", "ReceiptHandle": "y"}]},
            "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
        ),
        (
            "delete_message_batch",
            {"Entries": [{"Id": str(number), "ReceiptHandle": "x"} for number in range(11)]},
            "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
        ),
    ],
    ids=["queue", "number", "empty", "ids", "many"],
)
async def test_a_wrong_call_is_refused_with_its_code(
    start: START, method: str, arguments: dict[str, Any], code: str
) -> None:
    sandbox = await start()
    refusal = await refused(getattr(client(sandbox, "sqs"), method), **{"QueueUrl": sandbox.sqs.url, **arguments})
    assert refusal[:2] == (code, 400)


async def test_signatures_are_checked_when_asked(start: START) -> None:
    sandbox = await start(ses={"check": AccessCheck.SIGNATURE})
    good, url = client(sandbox, "sqs", KEY, SECRET), sandbox.sqs.url
    await call(good.get_queue_attributes, QueueUrl=url, AttributeNames=["All"])
    bad = client(sandbox, "sqs", KEY, "wrong")
    assert (await refused(bad.receive_message, QueueUrl=url))[0] == "SignatureDoesNotMatch"

"""SES through boto3, unchanged but for its endpoint; events through SNS, verified with the certificate alone."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import aiohttp
import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from streams.sandbox import AccessCheck, Sandbox
from tests.sandbox.conftest import START, Received, Receiver, ledger_lines, settled

KEY, SECRET = "AKIASANDBOX000000000", "sandbox-secret"
TAGS = [{"Name": "message_id", "Value": "m-1"}]


def client(sandbox: Sandbox, service: str = "sesv2", key: str = KEY, secret: str = SECRET) -> Any:
    return boto3.client(
        service, region_name="us-east-1", endpoint_url=sandbox.url, aws_access_key_id=key,
        aws_secret_access_key=secret, config=Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip


def email(to: str, **more: Any) -> dict[str, Any]:
    return {
        "FromEmailAddress": "Shop <a@example.com>",
        "Destination": {"ToAddresses": [to]},
        "Content": {
            "Simple": {"Subject": {"Data": "hi"}, "Body": {"Html": {"Data": "<p>see https://x.example/y</p>"}}}
        },
        **more,
    }


async def call(method: Any, **arguments: Any) -> Any:
    return await asyncio.to_thread(method, **arguments)


async def refused(method: Any, **arguments: Any) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as caught:
        await call(method, **arguments)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


async def test_boto3_sends_and_the_ledger_has_the_tags(start: START) -> None:
    sandbox = await start()
    answer = await call(client(sandbox).send_email, **email("u@example.net", EmailTags=TAGS))
    (line,) = ledger_lines(sandbox)
    assert line["provider_message_id"] == answer["MessageId"]
    assert line["variables"] == {"message_id": "m-1"}
    assert line["subject"] == "hi"
    assert line["plan"] == {"outcome": "success", "end": "delivered", "events": []}  # no configuration set, no events


async def test_a_raw_message_names_its_recipients_tags_and_configuration_set_in_headers(start: START) -> None:
    sandbox = await start()
    mime = (
        "From: a@example.com\r\nTo: U <u@example.net>, v@example.net\r\nSubject: raw\r\n"
        "X-SES-CONFIGURATION-SET: events\r\nX-SES-MESSAGE-TAGS: message_id=m-2, kind=test\r\n\r\nhello"
    )
    await call(client(sandbox).send_email, Content={"Raw": {"Data": mime.encode()}})
    first, second = ledger_lines(sandbox)
    assert (first["recipient"], second["recipient"]) == ("u@example.net", "v@example.net")
    assert first["variables"] == {"message_id": "m-2", "kind": "test"}
    assert first["plan"]["events"] == ["Send", "Delivery"]
    assert second["plan"]["events"] == ["Delivery"]  # one Send per message


async def test_a_bulk_call_answers_each_entry_in_order_and_renders_its_data(
    start: START, http: aiohttp.ClientSession
) -> None:
    sandbox = await start()
    template = {"Subject": "to {{name}}", "Text": "{{name}} owes {{sum.value}}"}

    def entry(to: str, data: dict[str, Any], number: int) -> dict[str, Any]:
        return {
            "Destination": {"ToAddresses": [to]},
            "ReplacementTags": [{"Name": "message_id", "Value": f"m-{number}"}],
            "ReplacementEmailContent": {"ReplacementTemplate": {"ReplacementTemplateData": json.dumps(data)}},
        }

    answer = await call(
        client(sandbox).send_bulk_email,
        FromEmailAddress="a@example.com",
        DefaultContent={"Template": {"TemplateContent": template, "TemplateData": '{"sum": {"value": 5}}'}},
        DefaultEmailTags=[{"Name": "kind", "Value": "bulk"}],
        ConfigurationSetName="events",
        BulkEmailEntries=[
            entry("a@example.net", {"name": "Ann"}, 1),
            entry("not an address", {"name": "X"}, 2),
            entry("c@example.net", {}, 3),
        ],
    )
    results = answer["BulkEmailEntryResults"]
    assert [result["Status"] for result in results] == ["SUCCESS", "INVALID_PARAMETER", "SUCCESS"]
    ann, missing = ledger_lines(sandbox)
    assert (ann["subject"], ann["variables"]) == ("to Ann", {"kind": "bulk", "message_id": "m-1"})
    assert ann["provider_message_id"] == results[0]["MessageId"]
    assert missing["plan"] == {
        "outcome": "rendering_failure", "end": "rendering_failed", "events": ["Rendering Failure"],
    }  # fmt: skip
    query = {"call_id": ann["call_id"], "recipient": "a@example.net"}
    async with http.get(f"{sandbox.url}/sandbox/rendered", params=query) as copy:
        assert (await copy.json())["text"] == "Ann owes 5"


async def test_stored_templates_can_be_created_used_and_deleted(start: START) -> None:
    sandbox = await start()
    ses = client(sandbox)
    template = {"TemplateName": "welcome", "TemplateData": '{"name": "Ann"}'}
    arguments = email("u@example.net") | {"Content": {"Template": template}}
    assert (await refused(ses.send_email, **arguments))[:2] == ("NotFoundException", 404)
    content = {"Subject": "hi {{name}}", "Text": "x"}
    await call(ses.create_email_template, TemplateName="welcome", TemplateContent=content)
    assert (await call(ses.get_email_template, TemplateName="welcome"))["TemplateContent"] == content
    await call(ses.send_email, **arguments)
    assert ledger_lines(sandbox)[0]["subject"] == "hi Ann"
    await call(ses.delete_email_template, TemplateName="welcome")


@pytest.mark.parametrize(
    ("change", "code", "status"),
    [
        ({"Destination": {"ToAddresses": [f"u{n}@example.net" for n in range(51)]}}, "BadRequestException", 400),
        ({"Destination": {"ToAddresses": ["nobody"]}}, "BadRequestException", 400),
        ({"Destination": {"ToAddresses": ["grün@example.net"]}}, "BadRequestException", 400),
        ({"EmailTags": [{"Name": "a b", "Value": "x"}]}, "BadRequestException", 400),
        ({"ConfigurationSetName": "absent"}, "NotFoundException", 404),
    ],
)
async def test_a_wrong_call_is_refused_with_its_error_code(
    start: START, change: dict[str, Any], code: str, status: int
) -> None:
    sandbox = await start(ses={"configuration_sets": frozenset({"events"})})
    assert (await refused(client(sandbox).send_email, **(email("u@example.net") | change)))[:2] == (code, status)
    assert ledger_lines(sandbox) == []


async def test_the_error_is_on_the_wire_as_aws_writes_it(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start(ses={"check": AccessCheck.ACCESS_KEY})
    async with http.post(f"{sandbox.url}/v2/email/outbound-emails", json={}) as answer:
        assert answer.status == 403
        assert answer.headers["x-amzn-ErrorType"].startswith("MissingAuthenticationTokenException:http://")
        assert (await answer.json())["__type"].endswith("#MissingAuthenticationTokenException")
    code, status, _ = await refused(client(sandbox, key="AKIAOTHER").send_email, **email("u@example.net"))
    assert (code, status) == ("UnrecognizedClientException", 403)


async def test_signatures_are_checked_when_asked(start: START) -> None:
    sandbox = await start(ses={"check": AccessCheck.SIGNATURE})
    ses = client(sandbox)
    await call(ses.send_email, **email("u@example.net"))
    await call(ses.put_suppressed_destination, EmailAddress="a+b@example.net", Reason="BOUNCE")
    await call(ses.get_suppressed_destination, EmailAddress="a+b@example.net")
    await call(ses.list_suppressed_destinations, Reasons=["BOUNCE", "COMPLAINT"], PageSize=10)
    code, status, _ = await refused(client(sandbox, secret="wrong").send_email, **email("u@example.net"))
    assert (code, status) == ("SignatureDoesNotMatch", 403)


async def test_rate_and_daily_quota_are_enforced_and_shown(start: START) -> None:
    sandbox = await start(ses={"max_send_rate": 0.001, "max_24h": 2.0})
    ses = client(sandbox)
    await call(ses.send_email, **email("u@example.net"))
    code, status, text = await refused(ses.send_email, **email("u@example.net"))
    assert (code, status, text) == ("TooManyRequestsException", 429, "Maximum sending rate exceeded.")
    account = await call(ses.get_account)
    assert account["SendQuota"] == {"Max24HourSend": 2.0, "MaxSendRate": 0.001, "SentLast24Hours": 1.0}
    sandbox.ses.account.quota.count(5, sandbox._now_ms())
    assert (await refused(ses.send_email, **email("u@example.net")))[0] == "LimitExceededException"


async def test_account_states_are_switched_by_faults(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start()
    ses = client(sandbox)
    for kind, code in (("paused", "SendingPausedException"), ("suspended", "AccountSuspendedException"),
                       ("unverified", "MessageRejected")):  # fmt: skip
        rule = sandbox.faults.add({"kind": kind, "provider": "ses"})
        assert (await refused(ses.send_email, **email("u@example.net")))[:2] == (code, 400)
        account = await call(ses.get_account)
        assert account["SendingEnabled"] is (kind == "unverified")
        sandbox.faults.remove(rule.id)
    await call(ses.send_email, **email("u@example.net"))


async def test_the_suppression_list_is_kept_and_sends_to_it_bounce(start: START) -> None:
    sandbox = await start()
    ses = client(sandbox)
    await call(ses.put_suppressed_destination, EmailAddress="a+b@example.net", Reason="COMPLAINT")
    found = await call(ses.get_suppressed_destination, EmailAddress="a+b@example.net")
    assert found["SuppressedDestination"]["Reason"] == "COMPLAINT"
    await call(ses.send_email, **email("a+b@example.net", ConfigurationSetName="events"))
    line = next(line for line in ledger_lines(sandbox) if "provider" in line)
    assert (line["plan"]["end"], line["plan"]["events"]) == ("suppressed", ["Send", "Bounce"])
    await call(ses.delete_suppressed_destination, EmailAddress="a+b@example.net")
    assert (await refused(ses.get_suppressed_destination, EmailAddress="a+b@example.net"))[0] == "NotFoundException"
    assert (await call(ses.list_suppressed_destinations))["SuppressedDestinationSummaries"] == []


async def test_insights_show_the_events_of_a_message(start: START) -> None:
    sandbox = await start(webhook_delay_s=0.0)
    ses = client(sandbox)
    answer = await call(ses.send_email, **email("bounce@example.net", ConfigurationSetName="e", EmailTags=TAGS))
    found = await call(ses.get_message_insights, MessageId=answer["MessageId"])
    assert [event["Type"] for event in found["Insights"][0]["Events"]] == ["SEND", "BOUNCE"]
    assert found["EmailTags"] == TAGS


def verify(request: Received, directory: Path, names: list[str]) -> dict[str, Any]:
    """Checks an envelope as a receiver with pinned certificates must; returns it."""
    envelope = request.json()
    certificate = x509.load_pem_x509_certificate(
        (directory / envelope["SigningCertURL"].rpartition("/")[2]).read_bytes()
    )
    text = "".join(f"{name}\n{envelope[name]}\n" for name in names)
    key = certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 2048
    digest = hashes.SHA1() if envelope["SignatureVersion"] == "1" else hashes.SHA256()
    key.verify(b64decode(envelope["Signature"]), text.encode(), padding.PKCS1v15(), digest)
    assert certificate.subject.rfc4514_string() == "CN=sns.amazonaws.com"
    return envelope


NOTIFICATION = ["Message", "MessageId", "Timestamp", "TopicArn", "Type"]
CONFIRMATION = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]


@pytest.mark.parametrize("version", ["1", "2"])
async def test_events_arrive_in_signed_envelopes(
    start: START, receiver: Receiver, tmp_path: Path, http: aiohttp.ClientSession, version: str
) -> None:
    directory = tmp_path / "certificates"
    sandbox = await start(
        ses={"webhook_url": receiver.url, "certificates_dir": directory, "signature_version": version}
    )
    await call(client(sandbox).send_email, **email("bounce@simulator.amazonses.com", ConfigurationSetName="cs",
                                                   EmailTags=TAGS))  # fmt: skip
    requests = await receiver.wait_for(2)
    envelopes = [verify(request, directory, NOTIFICATION) for request in requests]
    bounce = json.loads(envelopes[1]["Message"])
    assert [json.loads(envelope["Message"])["eventType"] for envelope in envelopes] == ["Send", "Bounce"]
    assert (bounce["bounce"]["bounceType"], bounce["bounce"]["bounceSubType"]) == ("Permanent", "General")
    assert bounce["bounce"]["bouncedRecipients"][0]["status"] == "5.1.1"
    assert bounce["mail"]["tags"]["message_id"] == ["m-1"]
    assert bounce["mail"]["tags"]["ses:configuration-set"] == ["cs"]
    assert bounce["mail"]["destination"] == ["bounce@simulator.amazonses.com"]
    await settled(sandbox)
    lines = [line for line in ledger_lines(sandbox) if "webhook" in line]
    assert [line["event_id"] for line in lines] == [envelope["MessageId"] for envelope in envelopes]
    headers = requests[0].headers
    assert headers["Content-Type"] == "text/plain; charset=UTF-8"
    assert headers["x-amz-sns-message-type"] == "Notification"
    assert headers["x-amz-sns-topic-arn"] == sandbox.sns.topic_arn
    async with http.get(f"{sandbox.url}/sandbox/sns/{sandbox.sns.file_name}") as answer:
        assert await answer.read() == (directory / sandbox.sns.file_name).read_bytes()


@pytest.mark.parametrize(
    ("fate", "bounce"),
    [
        ("softbounce", ("Transient", "MailboxFull")),
        ("suppressionlist", ("Permanent", "Suppressed")),
        ("blocked", ("Transient", "ContentRejected")),
        ("delayedbounce", ("Permanent", "General")),
    ],
)
async def test_bounces_have_their_types(start: START, receiver: Receiver, fate: str, bounce: tuple[str, str]) -> None:
    sandbox = await start(ses={"webhook_url": receiver.url})
    await call(client(sandbox).send_email, **email(f"{fate}@example.net", ConfigurationSetName="cs"))
    await settled(sandbox)
    events = [json.loads(request.json()["Message"]) for request in receiver.requests]
    found = next(event["bounce"] for event in events if event["eventType"] == "Bounce")
    assert (found["bounceType"], found["bounceSubType"]) == bounce


@pytest.mark.parametrize(
    ("fate", "name", "key"),
    [("complaint", "Complaint", "complaint"), ("defer", "DeliveryDelay", "deliveryDelay"), ("click", "Click", "click"),
     ("reject", "Reject", "reject"), ("unsubscribe", "Subscription", "subscription"), ("open", "Open", "open")],
)  # fmt: skip
async def test_every_event_type_has_its_object(
    start: START, receiver: Receiver, fate: str, name: str, key: str
) -> None:
    sandbox = await start(ses={"webhook_url": receiver.url})
    await call(client(sandbox).send_email, **email(f"{fate}@example.net", ConfigurationSetName="cs"))
    await settled(sandbox)
    events = [json.loads(request.json()["Message"]) for request in receiver.requests]
    assert next(event for event in events if event["eventType"] == name)[key]
    if name == "Click":
        assert next(event for event in events if event["eventType"] == name)["click"]["link"] == "https://x.example/y"


async def test_sns_retries_5xx_with_the_same_envelope_and_gives_up_after_three_retries(
    start: START, receiver: Receiver
) -> None:
    options = {"webhook_url": receiver.url, "event_types": frozenset({"Send"}), "retry_scale": 0.0005}
    sandbox = await start(ses=options)
    ses = client(sandbox)
    receiver.answers = [500, 429, 200]
    await call(ses.send_email, **email("success@example.net", ConfigurationSetName="cs"))
    await settled(sandbox)
    assert len(receiver.requests) == 3
    assert len({request.body for request in receiver.requests}) == 1
    receiver.answers = [503] * 4 + [403]
    await call(ses.send_email, **email("success@example.net", ConfigurationSetName="cs"))
    await settled(sandbox)
    await call(ses.send_email, **email("success@example.net", ConfigurationSetName="cs"))
    await settled(sandbox)
    answers = [(line["answer"], line["attempts"]) for line in ledger_lines(sandbox) if "webhook" in line]
    assert answers == [("delivered", 3), ("gave_up", 4), ("refused", 1)]


async def test_a_new_subscription_must_be_confirmed_before_events_flow(
    start: START, receiver: Receiver, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    sandbox = await start(ses={"certificates_dir": tmp_path, "check": AccessCheck.SIGNATURE})
    async with http.post(f"{sandbox.url}/sandbox/sns/subscribe", json={"endpoint": receiver.url}) as answer:
        assert (await answer.json())["confirmed"] is False
    (request,) = await receiver.wait_for(1)
    envelope = verify(request, tmp_path, CONFIRMATION)
    assert request.headers["x-amz-sns-message-type"] == "SubscriptionConfirmation"
    assert "x-amz-sns-subscription-arn" not in request.headers
    await call(client(sandbox).send_email, **email("success@example.net", ConfigurationSetName="cs"))
    await settled(sandbox)
    assert {line["answer"] for line in ledger_lines(sandbox) if "webhook" in line} == {"no_subscription"}
    sns = client(sandbox, "sns")
    code, status, _ = await refused(sns.confirm_subscription, TopicArn=sandbox.sns.topic_arn, Token="wrong")
    assert (code, status) == ("InvalidParameter", 400)
    confirmed = await call(
        sns.confirm_subscription, TopicArn=envelope["TopicArn"], Token=envelope["Token"],
        AuthenticateOnUnsubscribe="true",
    )  # fmt: skip
    assert confirmed["SubscriptionArn"] == sandbox.sns.subscription_arn
    await call(client(sandbox).send_email, **email("success@example.net", ConfigurationSetName="cs"))
    await receiver.wait_for(3)


async def test_while_keys_are_rotated_several_are_good_and_each_has_its_own_secret(
    start: START, http: aiohttp.ClientSession
) -> None:
    sandbox = await start()
    both = {"AKIAOLD": "old", "AKIANEW": "new"}
    async with http.put(f"{sandbox.url}/sandbox/ses/keys", json=both) as answer:
        assert answer.status == 200
    await call(client(sandbox, key="AKIAOLD", secret="old").send_email, **email("u@example.net"))
    await call(client(sandbox, key="AKIANEW", secret="new").send_email, **email("u@example.net"))
    mixed = await refused(client(sandbox, key="AKIANEW", secret="old").send_email, **email("u@example.net"))
    assert mixed[:2] == ("SignatureDoesNotMatch", 403)
    async with http.put(f"{sandbox.url}/sandbox/ses/keys", json={"AKIANEW": "new"}) as answer:
        assert answer.status == 200
    revoked = await refused(client(sandbox, key="AKIAOLD", secret="old").send_email, **email("u@example.net"))
    assert revoked[:2] == ("UnrecognizedClientException", 403)

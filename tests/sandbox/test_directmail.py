"""DirectMail's and MNS's official packages, unchanged but for their endpoint, and what the stand-in promises."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import pytest

from streams.sandbox import DirectMailConfig, NoticeForm, PushFormat, Sandbox
from tests.sandbox.conftest import START, Receiver, ledger_lines, settled

ACCESS = ("LTAIsandbox", "sandbox-secret")


def client(sandbox: Sandbox, *, key: str = ACCESS[0], secret: str = ACCESS[1], **more: Any) -> Any:
    from alibabacloud_dm20151123.client import Client
    from alibabacloud_tea_openapi.models import Config

    endpoint = urlsplit(sandbox.url).netloc
    return Client(Config(access_key_id=key, access_key_secret=secret, endpoint=endpoint, protocol="http", **more))


@contextmanager
def queue_of(sandbox: Sandbox, name: str) -> Iterator[Any]:
    from mns.account import Account

    account = Account(sandbox.url, *ACCESS)
    try:
        yield account.get_queue(name)
    finally:
        account.mns_client.close_connection()


def request(recipient: str, **more: Any) -> Any:
    from alibabacloud_dm20151123.models import SingleSendMailRequest

    return SingleSendMailRequest(
        account_name="n@mail.example.com", address_type=1, reply_to_address=False, to_address=recipient,
        subject="Grüße & mehr", html_body="<p>一 https://www.example.com/?a=1&b=2</p>", **more,
    )  # fmt: skip


@pytest.mark.parametrize("algorithm", [{}, {"signature_algorithm": "v2"}], ids=["ACS3", "signature 1.0"])
async def test_the_official_package_sends_with_either_signature(start: START, algorithm: dict[str, str]) -> None:
    sandbox = await start(directmail=DirectMailConfig(check=True))
    dm = client(sandbox, **algorithm)
    headers = json.dumps({"Message-ID": "<m-1.2@mail.example.com>"})
    sent = await asyncio.to_thread(dm.single_send_mail, request("u+x@example.net", headers=headers, tag_name="t"))
    (line,) = ledger_lines(sandbox)
    assert sent.body.env_id == line["provider_message_id"]
    assert (line["recipient"], line["subject"], line["tags"]) == ("u+x@example.net", "Grüße & mehr", ["t"])
    assert line["variables"] == {"message_id": "m-1", "attempt": "2", "msg_id": "m-1.2@mail.example.com"}


@pytest.mark.parametrize("algorithm", [{}, {"signature_algorithm": "v2"}], ids=["ACS3", "signature 1.0"])
async def test_the_official_package_is_told_of_wrong_credentials(start: START, algorithm: dict[str, str]) -> None:
    sandbox = await start(directmail=DirectMailConfig(check=True))

    def code(**more: str) -> str:
        with pytest.raises(Exception) as told:
            client(sandbox, **algorithm, **more).single_send_mail(request("u@example.net"))
        return str(told.value.code)  # type: ignore[attr-defined]

    assert await asyncio.to_thread(code, secret="wrong") == "SignatureDoesNotMatch"
    assert await asyncio.to_thread(code, key="LTAIother") == "InvalidAccessKeyId.NotFound"
    assert ledger_lines(sandbox) == []


async def test_refusals_name_their_code(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start(directmail=DirectMailConfig(senders=frozenset({"n@mail.example.com"})))
    good = {"AccountName": "n@mail.example.com", "AddressType": "1", "ReplyToAddress": "false", "Subject": "s",
            "ToAddress": "u@example.net", "TextBody": "t", "Action": "SingleSendMail", "SignatureNonce": "1"}  # fmt: skip
    cases = {
        "EmailFormatError": {"ToAddress": "nobody"},
        "EmailLengthError": {"Subject": "s" * 257},
        "InvalidMailAddress.NotFound": {"AccountName": "other@mail.example.com"},
        "InvalidTagName": {"ClickTrace": "1"},
        "InvalidAction.NotFound": {"Action": "BatchSendMail"},
        "MissingSubject": {"Subject": ""},
    }
    for code, change in cases.items():
        async with http.post(f"{sandbox.url}/", data=urlencode({**good, **change}).encode()) as answer:
            assert (await answer.json())["Code"] == code
            assert answer.status in (400, 404)
    assert ledger_lines(sandbox) == []


async def test_the_official_package_of_the_message_service_reads_and_deletes(start: START) -> None:
    config = DirectMailConfig(check=True, queue="events", queue_visibility_s=600)
    sandbox = await start(directmail=config)
    await asyncio.to_thread(client(sandbox).single_send_mail, request("click@example.net"))
    async with asyncio.timeout(10):
        while len(sandbox.mns.queue or ()) < 3:
            await asyncio.sleep(0.01)

    def use() -> tuple[list[str], str]:
        from mns.mns_exception import MNSServerException

        bodies: list[str] = []
        with queue_of(sandbox, "events") as queue:
            while len(bodies) < 3:
                messages = queue.batch_receive_message(16, 1)
                bodies += [message.message_body.decode() for message in messages]
                queue.batch_delete_message([message.receipt_handle for message in messages])
            with pytest.raises(MNSServerException) as empty:
                queue.batch_receive_message(16, 0)
        return bodies, str(empty.value.type)

    bodies, empty = await asyncio.to_thread(use)
    assert empty == "MessageNotExist"
    assert [body.partition("event=")[2].partition("&")[0] for body in bodies] == ["deliver", "Open", "Click"]
    assert bodies[2].endswith("&url=https://www.example.com/?a=1&b=2")
    await settled(sandbox)
    assert [line["answer"] for line in ledger_lines(sandbox)[1:]] == ["delivered"] * 3


async def test_the_official_package_changes_visibility_and_is_refused_with_an_old_handle(start: START) -> None:
    sandbox = await start(directmail=DirectMailConfig(check=True, queue="events"))

    def use() -> list[str]:
        from mns.mns_exception import MNSServerException
        from mns.queue import Message

        codes = []
        with queue_of(sandbox, "events") as queue:
            queue.send_message(Message("event=deliver"))
            assert queue.peek_message().dequeue_count == 0
            first = queue.receive_message(1)
            changed = queue.change_message_visibility(first.receipt_handle, 100)
            for handle in (first.receipt_handle, "nonsense"):
                with pytest.raises(MNSServerException) as refused:
                    queue.delete_message(handle)
                codes.append(str(refused.value.type))
            queue.delete_message(changed.receipt_handle)
        with queue_of(sandbox, "other") as other, pytest.raises(MNSServerException) as missing:
            other.receive_message(0)
        return [*codes, str(missing.value.type)]

    assert await asyncio.to_thread(use) == ["MessageNotExist", "ReceiptHandleError", "QueueNotExist"]


async def test_what_was_not_deleted_is_in_the_queue_again_after_a_restart(start: START) -> None:
    sandbox = await start(directmail=DirectMailConfig(queue="events"))
    await asyncio.to_thread(client(sandbox).single_send_mail, request("bounce@example.net"))
    queue = sandbox.mns.queue
    assert queue is not None
    async with asyncio.timeout(10):
        while not len(queue):
            await asyncio.sleep(0.01)
    (before,) = queue._messages
    await sandbox.stop()
    await sandbox.start()
    async with asyncio.timeout(10):
        while not len(sandbox.mns.queue or ()):
            await asyncio.sleep(0.01)
    assert list(sandbox.mns.queue._messages) == [before]  # type: ignore[union-attr]


@pytest.mark.parametrize("form", NoticeForm)
@pytest.mark.parametrize("wrapping", PushFormat)
async def test_a_push_is_repeated_until_it_is_taken(
    start: START, receiver: Receiver, form: NoticeForm, wrapping: PushFormat
) -> None:
    receiver.answers = [500, 403, 204]
    config = DirectMailConfig(form=form, push_format=wrapping, webhook_url=receiver.url)
    sandbox = await start(directmail=config)
    await asyncio.to_thread(client(sandbox).single_send_mail, request("bounce@example.net"))
    pushes = await receiver.wait_for(3)
    assert pushes[0].body == pushes[2].body
    assert b64decode(pushes[0].headers["x-mns-signing-cert-url"]).startswith(b"http://mnstest.oss-cn-hangzhou.")
    assert b"SmtpNxBox" in pushes[0].body
    await settled(sandbox)
    assert ledger_lines(sandbox)[-1]["attempts"] == 3


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [("throttle", 400, "Throttling.User"), ("status", 500, "InternalServiceError"), ("status_after", 502, "")],
)
async def test_faults_answer_in_the_services_own_words(
    start: START, http: aiohttp.ClientSession, kind: str, status: int, code: str
) -> None:
    sandbox = await start()
    sandbox.faults.add({"kind": kind, "provider": "directmail", "count": 1})
    form = {"AccountName": "n@mail.example.com", "AddressType": "1", "ReplyToAddress": "false", "Subject": "s",
            "ToAddress": "u@example.net", "TextBody": "t", "Action": "SingleSendMail", "SignatureNonce": "1"}  # fmt: skip
    async with http.post(f"{sandbox.url}/", data=form) as answer:
        assert answer.status == status
        assert code in await answer.text()
    assert len(ledger_lines(sandbox)) == (kind == "status_after")

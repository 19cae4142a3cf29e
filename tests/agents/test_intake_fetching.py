"""Attachments by URL on their way through intake: fetched once, beside everybody else's mail."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from streams.agents.intake.fetching import Fetching
from streams.core.event import ReasonKind
from streams.core.message import Attachment, Content
from streams.serde.internal import unpack
from streams.serde.public import encode_request
from tests.agents.fake_engine import FakeBatch, record
from tests.agents.test_intake import NOW, Desk, request

URL = "https://files.example/invoice.pdf"


class Files:
    """Gives ``data`` for every URL, when it is let; or a sentence."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.let.set()
        self.data = b"%PDF-1"
        self.refusal = ""
        self.asked = 0
        self.closed = False

    async def fetch(self, attachments: Sequence[Attachment]) -> tuple[Attachment, ...] | str:
        self.asked += 1
        await self.let.wait()
        return self.refusal or tuple(replace(one, data=self.data, url="") if one.url else one for one in attachments)

    async def close(self) -> None:
        self.closed = True


class Office(Desk):
    """An intake that fetches."""

    def __init__(self, at_once: int = 4) -> None:
        self.files = Files()
        self.crashes: list[BaseException] = []
        self.fetching = Fetching(self.files, at_once, self.crashes.append)
        super().__init__(fetching=self.fetching)

    async def settled(self) -> None:
        for _ in range(30):
            await asyncio.sleep(0)

    def attached(self) -> list[bytes]:
        """The files of all contents, inline or on their topic."""
        contents: list[Any] = [m.content for m in self.messages() if m.content]
        contents += [unpack(e.value or b"") for e in self.engine.on("contents")]
        assert all(isinstance(content, Content) for content in contents)
        return [one.data for content in contents for one in content.attachments]


def with_file(*emails: str, key: str = "order-1", **more: Any) -> bytes:
    attachments = [{"filename": "invoice.pdf", "content_type": "application/pdf", "url": URL}]
    return encode_request(request(*emails, attachments=attachments, idempotency_key=key, **more))


async def test_a_file_is_fetched_once_and_lies_in_the_content_that_all_share() -> None:
    one = Office()
    batch = await one.take(with_file("ann@example.com", "bob@example.com"))
    await one.settled()
    assert batch.done
    assert one.files.asked == 1
    assert one.attached() == [b"%PDF-1"]
    assert len(one.messages()) == 2
    assert {m.content_hash for m in one.messages()} == {one.messages()[0].content_hash}


async def test_a_slow_server_holds_up_its_own_request_and_nobody_elses() -> None:
    one = Office()
    one.files.let.clear()
    batch = await one.take(with_file("ann@example.com"), encode_request(request("bob@example.com")))
    assert [m.recipient.email for m in one.messages()] == ["bob@example.com"]
    assert not batch.done, "the record of the request must be delivered again if the process ends now"
    later = await one.take(encode_request(request("cyd@example.com")))
    assert later.done
    one.files.let.set()
    await one.settled()
    assert batch.done
    assert [m.recipient.email for m in one.messages()][-1] == "ann@example.com"


async def test_a_file_that_cannot_be_fetched_refuses_the_request_and_tells_every_recipient() -> None:
    one = Office()
    one.files.refusal = "attachments[0].url was answered with HTTP 404"
    batch = await one.take(with_file("ann@example.com", "bob@example.com"))
    await one.settled()
    assert batch.done
    assert one.messages() == []
    assert {r.reason.kind for r in one.receipts() if r.reason} == {ReasonKind.ATTACHMENT}
    assert len(one.receipts()) == 2
    assert one.dead()[0]["dlq.detail"] == one.files.refusal


async def test_the_same_request_again_is_a_repeat_although_the_file_has_changed() -> None:
    one = Office()
    await one.take(with_file("ann@example.com"))
    await one.settled()
    one.files.data = b"%PDF-2"
    await one.take(with_file("ann@example.com"))
    await one.settled()
    first, second = one.messages()
    assert (first.message_id, first.fingerprint) == (second.message_id, second.fingerprint)
    assert first.content_hash != second.content_hash


async def test_only_so_many_requests_are_fetched_for_at_once() -> None:
    one = Office(at_once=2)
    one.files.let.clear()
    values = [with_file("ann@example.com", key=str(number)) for number in range(3)]
    batch = FakeBatch("send-requests", 2, [record(v, b"k", n, NOW) for n, v in enumerate(values)])
    taking = asyncio.create_task(one.intake.handle(batch))
    await one.settled()
    assert one.files.asked == 2
    assert not taking.done()
    one.files.let.set()
    await taking
    await one.settled()
    assert batch.done
    assert len(one.messages()) == 3


async def test_whoever_lost_the_partition_meanwhile_says_nothing_more() -> None:
    one = Office()
    one.files.let.clear()
    batch = await one.take(with_file("ann@example.com"))
    batch.stale = True
    one.files.let.set()
    await one.settled()
    assert one.messages() == []


async def test_at_the_end_what_is_under_way_is_given_up_and_its_record_is_not_released() -> None:
    one = Office()
    one.files.let.clear()
    batch = await one.take(with_file("ann@example.com"))
    await one.fetching.stop()
    assert one.files.closed
    assert not batch.done
    assert one.crashes == []


async def test_a_bug_ends_the_process_and_not_the_message() -> None:
    one = Office()

    async def broken(attachments: Sequence[Attachment]) -> str:
        raise RuntimeError("a bug")

    one.files.fetch = broken  # type: ignore[method-assign]
    batch = await one.take(with_file("ann@example.com"))
    await one.settled()
    assert not batch.done
    assert [str(error) for error in one.crashes] == ["a bug"]


async def test_without_a_fetcher_a_file_by_url_is_refused() -> None:
    one = Desk()
    await one.take(with_file("ann@example.com"))
    assert one.messages() == []
    assert one.receipts()[0].reason is not None

"""The shop's own tests: real parts, no mock, no mail leaves this machine."""

from __future__ import annotations

import asyncio

import pytest
from shop import Order, confirm

from streams.client import Client, EndedOtherwise
from streams.testing import Sandbox


def test_a_customer_gets_the_confirmation_with_the_invoice(streams_client: Client, streams_sandbox: Sandbox) -> None:
    sent = confirm(streams_client, Order(4711, "Ann", "ann@example.net", b"%PDF"))
    sent.wait_for("message.delivered")
    (mail,) = streams_sandbox.mails(to="ann@example.net")
    assert mail.subject == "Your order 4711"
    assert "<b>Ann</b>" in mail.html
    assert [file.filename for file in mail.files] == ["invoice-4711.pdf"]


def test_confirming_twice_sends_once(streams_client: Client, streams_sandbox: Sandbox) -> None:
    order = Order(4712, "Ben", "ben@example.net")
    assert confirm(streams_client, order).message_id == confirm(streams_client, order).message_id
    confirm(streams_client, Order(4713, "Ben", "ben@example.net")).wait_for("delivered")  # the requests before are done
    assert [mail.subject for mail in streams_sandbox.mails(to="ben@example.net")] == [
        "Your order 4712",
        "Your order 4713",
    ]


def test_a_mail_that_bounces_is_noticed(streams_client: Client) -> None:
    sent = confirm(streams_client, Order(4714, "Cy", "bounce@example.net"))  # the address names its fate
    with pytest.raises(EndedOtherwise) as caught:
        sent.wait_for("delivered")
    assert caught.value.event.metadata == {"order": "4714"}


def test_what_a_provider_refuses_is_noticed(streams_client: Client, streams_sandbox: Sandbox) -> None:
    streams_sandbox.fail(kind="status", status=400, provider="mailgun", count=1)
    sent = confirm(streams_client, Order(4715, "Di", "di@example.net"))
    with pytest.raises(EndedOtherwise, match="ended as rejected"):
        sent.wait_for("delivered")
    assert streams_sandbox.mails(to="di@example.net") == []


def test_two_hundred_customers_at_once(streams_client: Client, streams_sandbox: Sandbox) -> None:
    asked = [
        streams_client.request(
            f"news-{number}", to=f"reader{number}@example.net", subject="News", text="Read all about it.", tenant="shop"
        )
        for number in range(200)
    ]
    for request in asked:
        streams_client.submit(request)
    streams_client.flush()

    async def all_delivered() -> None:
        ids = [identity for request in asked for identity in streams_client.message_ids(request).values()]
        await asyncio.gather(*(streams_client.wait_for_async(identity, "delivered", timeout_s=60) for identity in ids))

    asyncio.run(all_delivered())
    assert streams_sandbox.stats()["duplicates"] == 0

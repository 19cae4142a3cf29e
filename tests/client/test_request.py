"""The builder of requests says at once what intake would refuse."""

from __future__ import annotations

import pytest

from streams.client import InvalidRequest, send_request
from streams.core.message import Mailbox
from streams.core.request import SendRequest, read_request
from streams.serde.public import decode_request


def test_a_built_request_is_one_that_intake_takes() -> None:
    value = send_request(
        "order-1",
        to="Ann <ann@example.com>",
        sender="shop@example.com",
        cc=["c@example.com"],
        subject="Hi",
        text="Hello",
    )
    record = decode_request(value)
    assert isinstance(record, dict)
    found = read_request(record)
    assert isinstance(found, SendRequest)
    assert found.recipients[0].mailbox == Mailbox("ann@example.com", "Ann")
    assert found.cc == (Mailbox("c@example.com"),)


def test_several_recipients_bring_their_own_data() -> None:
    value = send_request("k", to=["a@example.com", {"email": "b@example.com", "data": {"n": [1]}}], template_id="t")
    record = decode_request(value)
    assert isinstance(record, dict)
    assert record["recipients"][1]["data"] == {"n": [1]}


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"to": "nobody", "text": "x", "subject": "x"}, "recipients[0].email", "not an address"),
        ({"to": "a@example.com"}, "", "has no content"),
        ({"to": "a@example.com", "txet": "x"}, "", "unknown field txet"),
        ({"to": "a@example.com", "text": 5}, "", "not a SendRequest"),
    ],
)
def test_a_mistake_is_an_exception_that_names_the_field(fields: dict[str, object], field: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        send_request("k", **fields)  # type: ignore[arg-type]
    assert caught.value.field == field

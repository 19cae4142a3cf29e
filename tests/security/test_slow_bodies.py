"""Payloads made for slow patterns: a MiB of what makes a careless reader go over the same text again and again.

They are read by one event loop: what takes a minute for one stranger's payload takes it from everybody.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from typing import Any

import pytest

from streams.providers.base import Reading, Unreadable
from streams.providers.directmail import events as directmail
from streams.providers.mailgun import events as mailgun
from streams.providers.ses import events as ses

SIZE = 700_000
TEXTS = {
    "blanks": " " * SIZE,
    "blanks at the end of base64": "A" * 8 + " " * SIZE + "!",
    "line ends": "\n" * SIZE,
    "one long word": "a" * SIZE,
    "dots": "a." * (SIZE // 2),
    "codes": "5.1.1 550 " * (SIZE // 10),
    "addresses": "a@b.c," * (SIZE // 6),
    "an address without end": "a@" * (SIZE // 2),
    "brackets": "<" * SIZE,
    "comments": "(" * SIZE,
    "quotes": '"' * SIZE,
    "backslashes": "\\" * SIZE,
    "words of a bounce": "user unknown mailbox full " * (SIZE // 26),
    "fields": "&failed_type=&err_msg=" * (SIZE // 22),
    "directions": "\u202e" * (SIZE // 3),
}
SLOWEST_S = 3.0
"""Ten times of what the slowest takes on a busy machine; a quadratic pattern takes minutes."""


def of_mailgun(text: str) -> tuple[Any, list[bytes]]:
    status = {"message": text, "description": text, "code": 550, "enhanced-code": text}
    event = {
        "event": "failed", "severity": "permanent", "id": text, "timestamp": 1.0, "recipient": text, "reason": text,
        "delivery-status": status, "message": {"headers": {"message-id": text}}, "url": text, "ip": text,
        "client-info": {"user-agent": text}, "user-variables": {"message_id": text}, "tags": [text],
    }  # fmt: skip
    return mailgun, [json.dumps({"event-data": event}).encode()]


def of_ses(text: str) -> tuple[Any, list[bytes]]:
    mail = {"messageId": text, "destination": [text], "tags": {"message_id": [text]}, "commonHeaders": {"to": [text]}}
    one = {"emailAddress": text, "status": text, "diagnosticCode": text, "action": text}
    bounce = {"bounceType": "Permanent", "bounceSubType": text, "bouncedRecipients": [one], "timestamp": text}
    return ses, [json.dumps({"eventType": "Bounce", "mail": mail, "bounce": bounce}).encode()]


def of_directmail(text: str) -> tuple[Any, list[bytes]]:
    fields = ("rcpt", "err_msg", "env_id", "msg_id", "failed_type", "url", "X-Notify-Message-ID", "event", "status")
    classic = [f"event=deliver&rcpt=a@b.c&status=4&{name}={text}".encode() for name in fields]
    wrapped = f"<Message><MessageBody>{text.replace('<', '')}</MessageBody></Message>".encode()
    return directmail, [*classic, text.encode(), b64encode(text.encode()), wrapped]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("provider", [of_mailgun, of_ses, of_directmail])
@pytest.mark.parametrize("name", TEXTS)
def test_no_text_takes_long_to_read(name: str, provider: Any) -> None:
    reader, payloads = provider(TEXTS[name])
    for payload in payloads:
        began_s = time.process_time()
        assert isinstance(reader.read_events(payload, 1), Reading | Unreadable)
        assert time.process_time() - began_s < SLOWEST_S


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "payload",
    [
        b"<Messages>" * (SIZE // 10),
        b"<a>" * (SIZE // 7) + b"</a>" * (SIZE // 7),
        b"<Message " + b" ".join(b'a%d=""' % number for number in range(SIZE // 11)) + b"/>",
        b'{"a":' * (SIZE // 5),
        b'{"a":' + b"1" * SIZE + b"}",
        b'{"event-data":{"timestamp":' + b"1" * SIZE + b"}}",
        b"event=deliver" + b"&failed_type=a " * (SIZE // 15) + b"!",
    ],
)
def test_nothing_nested_or_numerous_takes_long_to_read(payload: bytes) -> None:
    for reader in (mailgun, ses, directmail):
        began_s = time.process_time()
        assert isinstance(reader.read_events(payload, 1), Reading | Unreadable)
        assert time.process_time() - began_s < SLOWEST_S

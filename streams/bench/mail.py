"""What to measure with: requests as users write them, receipts as dispatch and normalise do.

Seeded: the same call gives the same bytes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from streams.bench.logs import Row
from streams.core.event import BounceType, Reason, ReasonKind
from streams.core.ids import message_id, partition_of, partition_of_text, recipient_key
from streams.core.message import Template
from streams.core.receipt import Facts, Receipt, ReceiptKind
from streams.serde.internal import pack
from streams.serde.public import encode_request, encode_template

_BEGAN_MS = 1_767_225_600_000
_WAVE = 1_000  # messages whose receipts mingle
_AGENT = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"
_HARD = Reason(
    ReasonKind.BAD_MAILBOX, "550", "5.1.1", "550 5.1.1 The email account that you tried to reach does not exist"
)
_SOFT = Reason(ReasonKind.GREYLISTED, "451", "4.7.1", "451 4.7.1 Greylisting in action, please come back later")

_LINES = "Thank you for your order. We pack it today and tell you as soon as it is on its way.\n" * 6
TEMPLATE = Template(
    "bench-news",
    "1",
    "News for {{ name }}",
    "Hello {{ name }},\n\n" + _LINES + "Your customer number is {{ number }}.\n",
    "<html><body><p>Hello {{ name }},</p><p>"
    + _LINES
    + "</p><p>Your customer number is {{ number }}.</p></body></html>",
)
"""What campaigns send."""


def template_row() -> Row:
    """The record of :data:`TEMPLATE` for the topic ``templates``."""
    return 0, TEMPLATE.template_id.encode(), encode_template(TEMPLATE)


def single_request(number: int, partitions: int, run: str) -> Row:
    """A transactional request with one recipient and its own content. ``run`` makes idempotency keys new."""
    address = f"customer.{number}@mail{number % 40}.example.com"
    record = {
        "idempotency_key": f"{run}-{number}",
        "tenant": "shop",
        "stream": "transactional",
        "from": {"email": "orders@mg.shop.example.com", "name": "Shop"},
        "recipients": [{"email": address, "name": f"Customer {number}", "data": {}}],
        "subject": f"Your order {number}",
        "text": f"Hello customer {number},\n\n{_LINES}",
        "html": f"<html><body><p>Hello customer {number},</p><p>{_LINES}</p></body></html>",
        "tags": ["order", "confirmation"],
        "metadata": {"order": str(number), "shop": "berlin"},
    }
    return partition_of_text(address, partitions), address.encode(), encode_request(record)


def campaign_request(number: int, recipients: int, partitions: int, run: str) -> Row:
    """A bulk request with many recipients, a template and personal data."""
    first = number * recipients
    record = {
        "idempotency_key": f"{run}-{number}",
        "tenant": "shop",
        "stream": "bulk",
        "from": {"email": "news@mg.shop.example.com", "name": "Shop"},
        "recipients": [
            {
                "email": f"reader.{n}@mail{n % 40}.example.com",
                "name": f"Reader {n}",
                "data": {"name": f"Reader {n}", "number": n},
            }
            for n in range(first, first + recipients)
        ],
        "template_id": TEMPLATE.template_id,
        "data": {"season": "winter"},
        "tags": ["news"],
        "metadata": {"campaign": "winter"},
    }
    return number % partitions, f"campaign-{number}".encode(), encode_request(record)


def receipts(count: int, partitions: int, seed: int = 1) -> Iterator[Row]:
    """``count`` records of the topic ``receipts``: each message is sent, then delivered (some after a deferral) or
    bounced, some are opened and clicked.

    Messages come in waves, so that any stretch has the same mix and the rows that a receipt needs lie somewhere back.
    """
    chance = random.Random(seed)
    made = 0
    for wave in range(count):
        messages = [_history(wave * _WAVE + n, chance) for n in range(_WAVE)]
        for turn in range(max(len(history) for history in messages)):
            for history in messages:
                if turn < len(history):
                    receipt = history[turn]
                    key = receipt.message_id
                    yield partition_of(key, partitions), key.encode(), pack(receipt)
                    made += 1
                    if made == count:
                        return


def _history(number: int, chance: random.Random) -> list[Receipt]:
    address = f"customer.{number}@mail{number % 40}.example.com"
    identity = message_id("shop", f"order-{number}", recipient_key("shop", address))
    at_ms = _BEGAN_MS + number * 7
    theirs = f"20260101.{number:08x}.{number * 2654435761 % 2**32:08x}@mg.shop.example.com"
    facts = Facts(
        tenant="shop",
        stream="transactional",
        idempotency_key=f"order-{number}",
        recipient=address,
        accepted_ms=at_ms,
        tags=("order", "confirmation"),
        metadata={"order": str(number), "shop": "berlin"},
        retry_final=True,
    )
    sent = Receipt(identity, ReceiptKind.SENT, f"sent/{identity}/1", at_ms + 40, 1, "mailgun", theirs, facts=facts)
    return [sent, *_reports(identity, theirs, at_ms, chance)]


def _reports(identity: str, theirs: str, at_ms: int, chance: random.Random) -> list[Receipt]:
    def report(kind: ReceiptKind, after_ms: int, reason: Reason | None = None) -> Receipt:
        hard = kind is ReceiptKind.BOUNCED
        seen = kind in (ReceiptKind.OPENED, ReceiptKind.CLICKED)
        return Receipt(
            identity,
            kind,
            f"mailgun/{chance.getrandbits(64):016x}/{after_ms}",
            at_ms + after_ms,
            1,
            "mailgun",
            theirs,
            reason,
            BounceType.HARD if hard else None,
            hard,
            url="https://shop.example.com/orders/track?ref=mail" if kind is ReceiptKind.CLICKED else "",
            ip="203.0.113.7" if seen else "",
            user_agent=_AGENT if seen else "",
        )

    reports = [report(ReceiptKind.DEFERRED, 2_000, _SOFT)] if chance.random() < 0.05 else []
    if chance.random() < 0.03:
        return [*reports, report(ReceiptKind.BOUNCED, 4_000, _HARD)]
    reports.append(report(ReceiptKind.DELIVERED, 5_000))
    if chance.random() < 0.30:
        reports.append(report(ReceiptKind.OPENED, 60_000))
        if chance.random() < 0.25:
            reports.append(report(ReceiptKind.CLICKED, 70_000))
    return reports

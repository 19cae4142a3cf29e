"""Requests as plain JSON, and the ids that they lead to."""

from __future__ import annotations

from typing import Any

from streams.core.ids import message_id, recipient_key


def ids_of(request: dict[str, Any]) -> set[str]:
    """The message ids that a request makes."""
    tenant, key = request["tenant"], request["idempotency_key"]
    return {message_id(tenant, key, recipient_key(tenant, r["email"])) for r in request["recipients"]}


def single(number: int, fate: str = "success", **fields: Any) -> dict[str, Any]:
    """A transactional request to one address whose name is its fate in the sandbox."""
    return {
        "idempotency_key": f"s{number}",
        "tenant": "acme",
        "stream": "transactional",
        "from": {"email": "shop@mg.example.com", "name": "Shop"},
        "recipients": [{"email": f"{fate}+s{number}@example.net"}],
        "subject": f"Order {number}",
        "text": f"Thank you for order {number}.",
        **fields,
    }


def campaign(number: int, size: int, fate: str = "success", **fields: Any) -> dict[str, Any]:
    """A bulk request to many addresses with one text."""
    return {
        **single(number),
        "idempotency_key": f"c{number}",
        "stream": "bulk",
        "recipients": [{"email": f"{fate}+c{number}r{index}@example.net"} for index in range(size)],
        "subject": f"News {number}",
        **fields,
    }

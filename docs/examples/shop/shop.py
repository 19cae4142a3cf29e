"""A shop that tells its customers what happens to their orders."""

from __future__ import annotations

from dataclasses import dataclass

from streams.client import Client, Sent, attachment, idempotency_key


@dataclass(frozen=True)
class Order:
    number: int
    customer: str
    email: str
    invoice: bytes = b""


def confirm(client: Client, order: Order) -> Sent:
    """Calling it twice for one order sends one mail: the idempotency key says what is meant."""
    return client.send(
        idempotency_key("order", order.number, "confirmed"),
        to=f"{order.customer} <{order.email}>",
        template_id="order-confirmed",
        data={"name": order.customer, "order": order.number},
        attachments=[attachment(order.invoice, f"invoice-{order.number}.pdf")] if order.invoice else [],
        tags=["order"],
        metadata={"order": str(order.number)},
    )

"""SES's account of an event: the event-publishing object (`eventType`, the event's own object, `mail` with tags).
Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec

from streams.sandbox.ledger import Accepted
from streams.sandbox.outcomes import uuid_event_id
from streams.sandbox.sns import iso_ms

_BOUNCES: Final[dict[str, tuple[str, str, str, str]]] = {  # outcome: type, subtype, status, diagnostic
    "bounce": ("Permanent", "General", "5.1.1", "smtp; 550 5.1.1 user unknown"),
    "delayedbounce": ("Permanent", "General", "5.1.1", "smtp; 550 5.1.1 user unknown"),
    "softbounce": ("Transient", "MailboxFull", "5.2.2", "smtp; 552 5.2.2 mailbox full"),
    "blocked": ("Transient", "ContentRejected", "5.7.1", "smtp; 550 5.7.1 blocked by policy"),
    "suppressionlist": ("Permanent", "Suppressed", "5.1.1", "Amazon SES has suppressed sending to this address"),
    "suppressed_bounce": (
        "Permanent", "OnAccountSuppressionList", "5.1.1", "Amazon SES did not send: on the account suppression list",
    ),
}  # fmt: skip
_AGENT: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
_PEER: Final = {"ipAddress": "192.0.2.9", "userAgent": _AGENT}
_MTA: Final = "a8-50.smtp-out.amazonses.com"
KEYS: Final = {
    "Send": "send", "Delivery": "delivery", "Bounce": "bounce", "Complaint": "complaint", "Reject": "reject",
    "Open": "open", "Click": "click", "Rendering Failure": "failure", "DeliveryDelay": "deliveryDelay",
    "Subscription": "subscription",
}  # fmt: skip
DETAIL_TYPES: Final = {
    "Send": "Email Sent", "Delivery": "Email Delivered", "Bounce": "Email Bounced",
    "Complaint": "Email Complaint Received", "Reject": "Email Rejected", "Open": "Email Opened",
    "Click": "Email Clicked", "Rendering Failure": "Email Rendering Failed", "DeliveryDelay": "Email Delivery Delayed",
    "Subscription": "Email Subscribed",
}  # fmt: skip


def event_json(record: Accepted, index: int, at_ms: int, account_id: str) -> str:
    """The `Message` of the SNS notification of event `index` of a record."""
    name = record.plan.events[index]
    content: dict[str, Any] = {"eventType": name, "mail": _mail(record, account_id)}
    content[KEYS[name]] = _event(record, index, name, at_ms)
    return msgspec.json.encode(content).decode()


def as_notification(message: str) -> str:
    """The same event as an identity notification: another discriminator, no tags; empty for kinds it does not have."""
    content = msgspec.json.decode(message)
    kind = content.pop("eventType")
    if kind not in ("Bounce", "Complaint", "Delivery"):
        return ""
    content["mail"].pop("tags", None)
    return msgspec.json.encode({"notificationType": kind, **content}).decode()


def as_eventbridge(event_id: str, message: str, account_id: str, region: str) -> str:
    """The same event as EventBridge wraps it."""
    content = msgspec.json.decode(message)
    kind = content.get("eventType") or content.get("notificationType")
    mail = content["mail"]
    event = {
        "version": "0",
        "id": event_id,
        "detail-type": DETAIL_TYPES[kind],
        "source": "aws.ses",
        "account": account_id,
        "time": content[KEYS[kind]].get("timestamp") or mail["timestamp"],
        "region": region,
        "resources": [mail["sourceArn"]],
        "detail": content,
    }
    return msgspec.json.encode(event).decode()


def _mail(record: Accepted, account_id: str) -> dict[str, Any]:
    bare = re.search(r"[^<>\s]+@[^<>\s]+", record.sender)
    source = bare[0] if bare else record.sender
    domain = source.rpartition("@")[2]
    destination = record.destination or [record.recipient]
    headers = [
        {"name": "From", "value": record.sender},
        {"name": "To", "value": ", ".join(destination)},
        {"name": "Subject", "value": record.subject},
        {"name": "MIME-Version", "value": "1.0"},
    ]
    automatic = {
        "ses:configuration-set": [record.configuration_set],
        "ses:source-ip": ["192.0.2.10"],
        "ses:from-domain": [domain],
        "ses:caller-identity": ["sandbox"],
    }
    return {
        "timestamp": iso_ms(record.accepted_ms),
        "source": source,
        "sourceArn": f"arn:aws:ses:us-east-1:{account_id}:identity/{domain}",
        "sendingAccountId": account_id,
        "messageId": record.provider_message_id,
        "destination": destination,
        "headersTruncated": False,
        "headers": headers,
        "commonHeaders": {
            "from": [record.sender],
            "to": destination,
            "messageId": record.provider_message_id,
            "subject": record.subject,
        },
        "tags": {**automatic, **{name: [value] for name, value in record.variables.items()}},
    }


def _event(record: Accepted, index: int, name: str, at_ms: int) -> dict[str, Any]:
    at, recipient = iso_ms(at_ms), record.recipient
    match name:
        case "Delivery":
            return {
                "timestamp": at, "processingTimeMillis": max(0, at_ms - record.accepted_ms), "recipients": [recipient],
                "smtpResponse": "250 2.0.0 OK", "reportingMTA": _MTA, "remoteMtaIp": "192.0.2.25",
            }  # fmt: skip
        case "Bounce":
            return _bounce(record, index, at)
        case "Complaint":
            return {
                "complainedRecipients": [{"emailAddress": recipient}], "timestamp": at, "complaintSubType": None,
                "feedbackId": uuid_event_id(record, 100 + index), "userAgent": "ISP-FBL/1.0",
                "complaintFeedbackType": "abuse", "arrivalDate": at,
            }  # fmt: skip
        case "Reject":
            return {"reason": "Bad content"}
        case "Open":
            return {**_PEER, "timestamp": at}
        case "Click":
            return {**_PEER, "timestamp": at, "link": record.detail, "linkTags": None}
        case "Rendering Failure":
            missing = f"Attribute '{record.detail}' is not present in the rendering data."
            return {"templateName": record.template, "errorMessage": missing}
        case "DeliveryDelay":
            delayed = {"emailAddress": recipient, "status": "4.2.2", "diagnosticCode": "smtp; 452 4.2.2 over quota"}
            expires = iso_ms(record.accepted_ms + 14 * 3600 * 1000)
            return {
                "timestamp": at,
                "delayType": "MailboxFull",
                "expirationTime": expires,
                "delayedRecipients": [delayed],
            }
        case "Subscription":
            return {
                "contactList": "sandbox", "timestamp": at, "source": "UnsubscribeHeader",
                "newTopicPreferences": {"unsubscribeAll": True, "topicSubscriptionStatus": []},
                "oldTopicPreferences": {"unsubscribeAll": False, "topicSubscriptionStatus": []},
            }  # fmt: skip
    return {}


def _bounce(record: Accepted, index: int, at: str) -> dict[str, Any]:
    kind, subtype, status, diagnostic = _BOUNCES.get(record.plan.outcome, _BOUNCES["bounce"])
    bounced = {"emailAddress": record.recipient, "action": "failed", "status": status, "diagnosticCode": diagnostic}
    return {
        "bounceType": kind,
        "bounceSubType": subtype,
        "bouncedRecipients": [bounced],
        "timestamp": at,
        "feedbackId": uuid_event_id(record, 100 + index),
        "reportingMTA": f"dns; {_MTA}",
    }


def insights(records: list[Accepted], events: list[tuple[Accepted, str, int]]) -> dict[str, Any]:
    """GetMessageInsights of a message: its recipients, each with the events that have happened."""
    first = records[0]
    types = {"Rendering Failure": "RENDERING_FAILURE", "DeliveryDelay": "DELIVERY_DELAY"}
    return {
        "MessageId": first.provider_message_id,
        "FromEmailAddress": first.sender,
        "Subject": first.subject,
        "EmailTags": [{"Name": name, "Value": value} for name, value in first.variables.items()],
        "Insights": [
            {
                "Destination": record.recipient,
                "Isp": "UNKNOWN_ISP",
                "Events": [
                    {"Timestamp": at_ms / 1000, "Type": types.get(name, name.upper()), "Details": {}}
                    for owner, name, at_ms in events
                    if owner is record
                ],
            }
            for record in records
        ],
    }


def template_data(text: str | None) -> dict[str, Any] | None:
    """Decoded TemplateData; None when it is not a JSON object."""
    try:
        data = json.loads(text or "{}")
    except ValueError:
        return None
    return data if isinstance(data, dict) else None

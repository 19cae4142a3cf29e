"""Mailgun's account of an event: the `event-data` object, the signed webhook around it, the form of before 2018. Pure.

Names of plans are webhook ids (`temporary_fail`, `permanent_fail`); in `event-data` both are `failed` with a severity.
"""

from __future__ import annotations

import hmac
import json
from typing import Any, Final
from urllib.parse import urlencode
from zlib import crc32

from streams.sandbox.ledger import Accepted
from streams.sandbox.outcomes import short_event_id

_FAILURES: Final[dict[str, dict[str, Any]]] = {  # by the plan's outcome
    "bounce": {"reason": "bounce", "code": 550, "enhanced-code": "5.1.1", "message": "5.1.1 no such user"},
    "delayedbounce": {"reason": "bounce", "code": 550, "enhanced-code": "5.1.1", "message": "5.1.1 no such user"},
    "softbounce": {"reason": "bounce", "code": 552, "enhanced-code": "5.2.2", "message": "5.2.2 mailbox full"},
    "blocked": {"reason": "espblock", "code": 550, "enhanced-code": "5.7.1", "message": "5.7.1 blocked by policy"},
    "defer": {"reason": "generic", "code": 452, "enhanced-code": "4.2.2", "message": "4.2.2 over quota"},
    "suppressionlist": {"reason": "suppress-bounce", "code": 605},
    "suppressed_bounce": {"reason": "suppress-bounce", "code": 605},
    "suppressed_unsubscribe": {"reason": "suppress-unsubscribe", "code": 606},
    "suppressed_complaint": {"reason": "suppress-complaint", "code": 607},
    "rendering_failure": {"reason": "generic", "code": 600, "message": "template could not be rendered"},
}
_NOT_ATTEMPTED: Final = {
    605: "Not delivering to previously bounced address",
    606: "Not delivering to unsubscribed address",
    607: "Not delivering to a user who marked your messages as spam",
}
_LEVELS: Final = {"permanent_fail": "error", "temporary_fail": "warn", "complained": "warn", "rejected": "warn"}
_CLIENT: Final = {
    "client-type": "browser", "client-os": "Linux", "device-type": "desktop", "client-name": "Firefox",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "bot": "",
}  # fmt: skip
_GEOLOCATION: Final = {"country": "US", "region": "CA", "city": "San Francisco"}
_SHORT_HEADERS: Final = frozenset({"opened", "clicked", "unsubscribed"})


def event_data(record: Accepted, index: int, at_ms: int) -> dict[str, Any]:
    """The object that webhooks and the events API show for event `index` of a record."""
    name = record.plan.events[index]
    failed = name in ("temporary_fail", "permanent_fail")
    data: dict[str, Any] = {
        "event": "failed" if failed else name,
        "id": short_event_id(record, index),
        "timestamp": at_ms / 1000,
        "log-level": _LEVELS.get(name, "info"),
        "recipient": record.recipient,
        "recipient-domain": record.recipient.rpartition("@")[2],
        "tags": record.tags,
        "campaigns": [],
        "user-variables": record.variables,
        "flags": {
            "is-routed": False,
            "is-authenticated": True,
            "is-system-test": False,
            "is-test-mode": record.plan.outcome == "test_mode",
        },
        "message": _message(record, name),
    }
    if failed:
        data |= _failure(record, name, index)
    elif name in _SHORT_HEADERS:
        data |= {"ip": "192.0.2.9", "geolocation": _GEOLOCATION, "client-info": _CLIENT}
        if name == "clicked":
            data["url"] = record.detail
    elif name == "rejected":
        del data["recipient"], data["recipient-domain"]
        data["reject"] = {"reason": "Message failed the content policy", "description": ""}
    elif name in ("accepted", "delivered"):
        data |= _transport(record, name, index)
    return data


def _message(record: Accepted, name: str) -> dict[str, Any]:
    if name in _SHORT_HEADERS:
        return {"headers": {"message-id": record.provider_message_id}}
    headers = {
        "to": ", ".join(record.destination or [record.recipient]),
        "message-id": record.provider_message_id,
        "from": record.sender,
        "subject": record.subject,
    }
    return {"headers": headers, "attachments": [], "size": record.size}


def storage_key(record: Accepted) -> str:
    """How the stored copy of a recipient is called."""
    call = record.call_id.partition("@")[0].rpartition(".")[2]
    return f"{call}{crc32(record.recipient.lower().encode()):08x}"


def _storage(record: Accepted) -> dict[str, Any]:
    key = storage_key(record)
    return {"url": f"{STORAGE_URL}/v3/domains/{record.domain}/messages/{key}", "key": key}


def _transport(record: Accepted, name: str, index: int) -> dict[str, Any]:
    envelope = {"transport": "smtp", "sender": record.sender, "targets": record.recipient}
    if name == "accepted":
        found: dict[str, Any] = {"method": "http", "envelope": envelope, "delivery-status": None}
    else:
        status = _delivery_status(record, index, 250, "OK") | {"description": ""}
        found = {"envelope": envelope | {"sending-ip": "192.0.2.1"}, "delivery-status": status}
    return found | {"storage": _storage(record)}


def _delivery_status(record: Accepted, index: int, code: int, message: str) -> dict[str, Any]:
    return {
        "attempt-no": 1 + record.plan.events[:index].count("temporary_fail"),
        "code": code,
        "message": message,
        "mx-host": "mx." + record.recipient.rpartition("@")[2],
        "tls": True,
        "certificate-verified": True,
        "session-seconds": 0.4,
    }


def _failure(record: Accepted, name: str, index: int) -> dict[str, Any]:
    entry = _FAILURES.get(record.plan.outcome, _FAILURES["bounce"])
    code = int(entry["code"])
    if code in _NOT_ATTEMPTED:
        status: dict[str, Any] = {"attempt-no": 1, "message": "", "code": code, "description": _NOT_ATTEMPTED[code]}
    else:
        status = _delivery_status(record, index, code, entry["message"]) | {"description": ""}
        if "enhanced-code" in entry:
            status["enhanced-code"] = entry["enhanced-code"]
        if name == "temporary_fail":
            status["retry-seconds"] = 600
    delayed = {"is-delayed-bounce": record.plan.outcome == "delayedbounce"}
    found: dict[str, Any] = {
        "severity": "temporary" if name == "temporary_fail" else "permanent",
        "reason": entry["reason"],
        "delivery-status": status,
        "storage": _storage(record),
    }
    return found | {"flags": delayed | {"is-authenticated": True, "is-test-mode": False}}


def signature(key: bytes, timestamp: str, token: str) -> dict[str, str]:
    """The signature block: HMAC-SHA256 over timestamp and token, which does not cover the event."""
    digest = hmac.digest(key, (timestamp + token).encode(), "sha256").hex()
    return {"timestamp": timestamp, "token": token, "signature": digest}


STORAGE_URL: Final = "https://storage-us-east4.api.mailgun.net"
"""Where the real service says that messages are stored."""

NOT_IN_LEGACY: Final = frozenset({"accepted", "temporary_fail", "rejected"})


def legacy_form(data: dict[str, Any], name: str, signed: dict[str, str]) -> bytes:
    """The form of before 2018, for the events that it knew."""
    status = data.get("delivery-status") or {}
    suppressed = status.get("code") in _NOT_ATTEMPTED
    pairs: list[tuple[str, str]] = [
        ("event", "dropped" if suppressed else "bounced" if name == "permanent_fail" else name),
        ("recipient", data["recipient"]),
        ("domain", data["message"]["headers"]["message-id"].rpartition("@")[2]),
        ("Message-Id", f"<{data['message']['headers']['message-id']}>"),
    ]
    if name == "permanent_fail":
        pairs += [("code", str(status["code"])), ("error", status["message"]), ("description", status["description"])]
        if suppressed:
            pairs.append(("reason", "hardfail"))
    if "client-info" in data:
        pairs += [("ip", data["ip"]), *data["geolocation"].items()]
        pairs += [(key, value) for key, value in data["client-info"].items() if key != "bot"]
    if "url" in data:
        pairs.append(("url", data["url"]))
    headers = [[key, value] for key, value in data["message"]["headers"].items()]
    headers.append(["X-Mailgun-Variables", json.dumps(data["user-variables"])])
    pairs.append(("message-headers", json.dumps(headers)))
    pairs += [("tag", tag) for tag in data["tags"]]
    pairs += [
        (key, value if isinstance(value, str) else json.dumps(value)) for key, value in data["user-variables"].items()
    ]
    pairs += signed.items()
    return urlencode(pairs).encode()
